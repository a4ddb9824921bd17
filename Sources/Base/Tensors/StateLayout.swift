/// What a model of a run is for; at most one of each at a time.
public enum ModelRole: String, CaseIterable, Codable, Sendable {
  /// The model that the run is about: it speaks.
  case policy
  /// What the policy was when its phase began.
  case reference
  /// Scores whole answers.
  case reward
  /// Says at each token of an answer what score is to be expected.
  case value
  /// Low-rank matrices that are trained in the policy's place: it is the reference plus their
  /// product.
  case adapter

  public var head: HeadKind {
    switch self {
    case .policy, .reference, .adapter: .language
    case .reward, .value: .score
    }
  }
}

/// What a run's state consists of while a phase runs: its models, and the answers that the policy
/// learns from, where it learns from its own.
///
/// All of it lies in flat `f32` windows, the *parts*, in a fixed order: of each model the master
/// weights and, of a trained one, first and second moment; then the rollouts.
public struct StateLayout: Equatable, Sendable {
  public struct Model: Equatable, Sendable {
    public let role: ModelRole
    public let layout: ParameterLayout
    /// Whether the phase changes it; others have no moments.
    public let isTrained: Bool
  }

  public enum Part: Hashable, Sendable {
    case master(ModelRole)
    case firstMoment(ModelRole)
    case secondMoment(ModelRole)
    case rollouts
  }

  public let shape: ModelShape
  /// Sizes of the adapter, where there is one.
  public let adapter: AdapterChoice?
  /// In the order of ``ModelRole``.
  public let models: [Model]
  /// Elements of the rollouts; 0 where there are none.
  public let rolloutCount: Int
  public let parts: [Part]
  /// The parts cut into chunks.
  public let chunks: StateChunks

  /// - Parameters:
  ///   - trained: Models that the phase changes.
  ///   - frozen: Models that it only carries or asks, or whose weights follow from an adapter's.
  ///   - adapter: Sizes of the adapter, if one is trained.
  public init(
    _ shape: ModelShape, trained: Set<ModelRole>, frozen: Set<ModelRole> = [],
    adapter: AdapterChoice? = nil, rolloutCount: Int = 0
  ) {
    precondition(trained.isDisjoint(with: frozen), "a model is either trained or frozen")
    precondition(
      !frozen.contains(.adapter) && trained.contains(.adapter) == (adapter != nil),
      "an adapter has sizes and is trained")
    self.shape = shape
    self.adapter = adapter
    models = ModelRole.allCases.filter { trained.contains($0) || frozen.contains($0) }.map { role in
      let own = role == .adapter ? adapter : nil
      return Model(
        role: role,
        layout: own.map { ParameterLayout(shape, adapter: $0) }
          ?? ParameterLayout(shape, head: role.head),
        isTrained: trained.contains(role))
    }
    self.rolloutCount = rolloutCount
    var parts: [Part] = []
    var counts: [Int] = []
    for model in models {
      let own: [Part] = model.isTrained
        ? [.master(model.role), .firstMoment(model.role), .secondMoment(model.role)]
        : [.master(model.role)]
      parts += own
      counts += own.map { _ in model.layout.count }
    }
    if rolloutCount > 0 {
      parts.append(.rollouts)
      counts.append(rolloutCount)
    }
    self.parts = parts
    chunks = StateChunks(counts: counts)
  }

  /// A state of one model, the policy, in training.
  public init(training shape: ModelShape) { self.init(shape, trained: [.policy]) }

  /// - Precondition: The state has the model.
  public subscript(_ role: ModelRole) -> Model {
    guard let found = model(role) else { preconditionFailure("the state has no \(role)") }
    return found
  }

  public func model(_ role: ModelRole) -> Model? { models.first { $0.role == role } }

  /// Whether the phase changes what the policy says.
  public var changesPolicy: Bool { self[.policy].isTrained || adapter != nil }

  /// Bytes of all parts: what a checkpoint holds, headers apart.
  public var byteCount: Int { 4 * chunks.counts.reduce(0, +) }

  /// Elements of a part.
  public func count(of part: Part) -> Int {
    switch part {
    case .master(let role), .firstMoment(let role), .secondMoment(let role):
      self[role].layout.count
    case .rollouts: rolloutCount
    }
  }
}
