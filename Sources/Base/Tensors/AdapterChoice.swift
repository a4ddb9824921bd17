/// A matrix that every layer has and that an adapter may stand beside. Raw values are the names in
/// a plan.
public enum AdapterTarget: String, CaseIterable, Codable, Sendable {
  case query, key, value, output, gate, up, down

  /// The matrix of a layer.
  public func role(inLayer layer: Int) -> ParameterRole {
    switch self {
    case .query: .query(layer: layer)
    case .key: .key(layer: layer)
    case .value: .value(layer: layer)
    case .output: .attentionOutput(layer: layer)
    case .gate: .gate(layer: layer)
    case .up: .up(layer: layer)
    case .down: .down(layer: layer)
    }
  }
}

/// Low-rank adapters beside frozen weights: for each matrix `W [N, K]` of the targets, in every
/// layer, `A [r, K]` and `B [N, r]`, and the model computes with `W + s B A`.
///
/// Source: Hu et al. 2021, arXiv:2106.09685, eq. 3.
public struct AdapterChoice: Codable, Equatable, Sendable {
  /// r.
  public let rank: Int
  public let alpha: Double
  /// Each once, in the order of ``AdapterTarget``.
  public let targets: [AdapterTarget]

  public init(rank: Int, alpha: Double, targets: [AdapterTarget]) {
    self.rank = rank
    self.alpha = alpha
    self.targets = AdapterTarget.allCases.filter(targets.contains)
  }

  /// s.
  public var scale: Double { alpha / Double(rank) }

  /// The target with the smallest side, and its `[N, K]`: the rank may be that side at most.
  public func narrowest(in shape: ModelShape) -> (target: AdapterTarget, sides: [Int])? {
    let layout = ParameterLayout(shape)
    return targets.map { ($0, layout[$0.role(inLayer: 0)].shape) }
      .min { min($0.1[0], $0.1[1]) < min($1.1[0], $1.1[1]) }
  }
}
