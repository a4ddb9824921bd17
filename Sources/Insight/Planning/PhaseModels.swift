public import Settings
public import Tensors

extension ResolvedPlan {
  /// What a state consists of while phase `index` runs.
  ///
  /// The policy is always there. Models that a later phase needs are carried along, so that a phase
  /// begins with nothing but the state that the one before it left.
  public func stateLayout(inPhase index: Int) -> StateLayout {
    let phase = phases[index]
    var trained: Set<ModelRole> = phase.kind == .reward ? [.reward] : [.policy]
    var frozen: Set<ModelRole> = []
    var adapter: AdapterChoice?
    switch phase.kind {
    case .evaluate:
      // It changes nothing.
      if let before = phases[..<index].lastIndex(where: { $0.kind.takesSteps }) {
        return stateLayout(inPhase: before)
      }
      // Where adapters are the first to be trained, nobody needs the policy's moments.
      if phases[index...].first(where: \.kind.takesSteps)?.lora != nil {
        trained = []
        frozen = [.policy]
      }
    case .reward: frozen.insert(.policy)
    case .dpo, .grpo: frozen.insert(.reference)
    case .ppo:
      frozen.insert(.reference)
      trained.insert(.value)
    case .sft:
      if let lora = phase.lora {
        adapter = lora
        trained = [.adapter]
        frozen = [.policy, .reference]
      }
    case .tokenizer, .pretrain, .anneal: break
    }
    if phase.kind != .reward, carriesReward(inPhase: index) { frozen.insert(.reward) }
    return StateLayout(
      model, trained: trained, frozen: frozen, adapter: adapter,
      rolloutCount: rolloutShape(ofPhase: index)?.count ?? 0)
  }

  /// The state of the phase that needs most memory for it.
  var largestState: StateLayout {
    let states = phases.indices.filter { phases[$0].kind != .tokenizer }
      .map { stateLayout(inPhase: $0) }
    return states.max { $0.weight < $1.weight } ?? StateLayout(training: model)
  }

  /// Whether there is a reward model before phase `index` that is asked in it or later, before
  /// another one is made.
  private func carriesReward(inPhase index: Int) -> Bool {
    let isMade = phases[..<index].contains { $0.kind == .reward }
    guard isMade || initialization.rewardModel != nil else { return false }
    return phases[index...].prefix { $0.kind != .reward || $0.continuesReward }
      .contains(where: \.asksReward)
  }

  /// How the answers of an iteration are kept; nil for a phase without.
  public func rolloutShape(ofPhase index: Int) -> RolloutShape? {
    phases[index].reinforcement.map {
      RolloutShape(
        answerCount: $0.answerCount, sequenceLength: model.sequenceLength,
        answerTokens: $0.answerTokens)
    }
  }
}

/// How the answers of one iteration lie in the state: a row of `f32` for each, everything that an
/// update needs to know of it.
///
///     prompt row, prompt tokens, answer tokens, whether it ended, score,
///     whether that stands for none, 0, 0
///     tokens of prompt and answer                                       [T + 1]
///     for each answer token: log-probability, the reference's, value,
///     advantage, return                                                 5 x [answer tokens]
///
/// Whole numbers are kept as floats, which hold those below 2^24 exactly.
public struct RolloutShape: Equatable, Sendable {
  public let answerCount: Int
  /// T.
  public let sequenceLength: Int
  /// Most tokens of an answer.
  public let answerTokens: Int

  public static let headCount = 8

  public init(answerCount: Int, sequenceLength: Int, answerTokens: Int) {
    self.answerCount = answerCount
    self.sequenceLength = sequenceLength
    self.answerTokens = answerTokens
  }

  /// Elements of a row.
  public var width: Int { Self.headCount + sequenceLength + 1 + 5 * answerTokens }
  /// Elements of all rows.
  public var count: Int { answerCount * width }
}

extension StateLayout {
  /// Elements of the state and of the gradients that go with it.
  fileprivate var weight: Int {
    chunks.counts.reduce(0, +) + models.reduce(0) { $0 + ($1.isTrained ? $1.layout.count : 0) }
  }
}
