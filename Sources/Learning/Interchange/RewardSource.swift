internal import Checkpoints
public import Tensors
internal import Tokenization

/// A reward model from elsewhere, for a run that starts from a ``ModelSource``.
public struct RewardSource: Sendable {
  private let reader: CheckpointReader

  /// Opens it, and checks that it can score what the run's model says.
  ///
  /// - Parameters:
  ///   - path: A checkpoint that holds a reward model, or a run whose newest one does.
  ///   - source: What the run starts from.
  /// - Throws: also ``InterchangeError/rewardModel(path:problem:)``: there is none, or it has other
  ///   sizes or another tokenizer than the source.
  public init(opening path: String, for source: ModelSource) throws(InterchangeError) {
    reader = try wrapping(checkpoint: { () throws(CheckpointError) in
      try CheckpointReader.open(path)
    })
    if let problem = try problem(beside: source) {
      throw .rewardModel(path: reader.path, problem: problem)
    }
  }

  private func problem(beside source: ModelSource) throws(InterchangeError) -> String? {
    let state = reader.stateLayout
    guard state.model(.reward) != nil else {
      let roles = state.models.map(\.role.rawValue).joined(separator: " and ")
      return "holds no reward model, only \(roles); name a checkpoint of a reward phase"
    }
    let differences = state.shape.differences(from: source.shape, called: source.path)
    guard differences.isEmpty else {
      return "holds a reward model of other sizes:\n\(differences)"
        + "Name one that was trained on a model of these sizes."
    }
    let own = try wrapping(checkpoint: { () throws(CheckpointError) in try reader.tokenizer() })
    guard try own == source.tokenizer().json() else {
      return "reads with another tokenizer than \(source.path), whose ids mean other text to it; "
        + "name a reward model with the same tokenizer"
    }
    return nil
  }

  /// Reads the weights into their flat space, `[ParameterLayout(shape, head: .score).count]`.
  func loadWeights(into master: SharedRows<Float>) throws(InterchangeError) {
    try wrapping(checkpoint: { () throws(CheckpointError) in
      try reader.loadWeights(of: .reward, into: master)
    })
  }
}

extension ModelShape {
  /// What makes it differ from another in shape or in what it computes, a line for each; empty for
  /// equal ones. The longest sequence does not.
  public func differences(from other: ModelShape, called name: String) -> String {
    let pairs: [(String, String, String)] = [
      ("layers", "\(layerCount)", "\(other.layerCount)"),
      ("width", "\(modelWidth)", "\(other.modelWidth)"),
      ("heads", "\(headCount)", "\(other.headCount)"),
      ("key_value_heads", "\(keyValueHeadCount)", "\(other.keyValueHeadCount)"),
      ("head_width", "\(headWidth)", "\(other.headWidth)"),
      ("feed_forward", "\(feedForwardWidth)", "\(other.feedForwardWidth)"),
      ("vocabulary", "\(vocabularySize)", "\(other.vocabularySize)"),
      ("tied_head", "\(isHeadTied)", "\(other.isHeadTied)"),
      ("rope_theta", "\(ropeTheta)", "\(other.ropeTheta)"),
      ("norm_epsilon", "\(normEpsilon)", "\(other.normEpsilon)"),
    ]
    return pairs.filter { $0.1 != $0.2 }.map { "  model.\($0.0): \($0.1), \(name) \($0.2)\n" }
      .joined()
  }
}
