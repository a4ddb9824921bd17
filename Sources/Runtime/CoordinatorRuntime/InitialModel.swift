internal import Checkpoints
internal import Interchange
internal import Planning
internal import Settings
internal import System
internal import Tensors
internal import Tokenization

/// What a plan's run starts from: the model `initialization.from` and, where the plan names one,
/// the reward model `initialization.reward_model`.
///
/// They are read when the run has no checkpoint, and become one at position 0: from then on the run
/// does not need them.
struct InitialModel {
  /// The folders, as the plan names them.
  let names: String
  private let from: String
  private let source: ModelSource
  private let reward: RewardSource?

  /// Opens and checks them, all but their values. Nil where the plan draws its weights.
  init?(_ initialization: ResolvedPlan.Initialization) throws(CoordinatorEnd) {
    guard let from = initialization.from else { return nil }
    self.from = from
    names = ([from] + [initialization.rewardModel].compactMap(\.self)).joined(separator: ", ")
    let source = try Self.ending { () throws(InterchangeError) in try ModelSource(opening: from) }
    self.source = source
    reward = try initialization.rewardModel.map { path throws(CoordinatorEnd) in
      try Self.ending("reward_model") { () throws(InterchangeError) in
        try RewardSource(opening: path, for: source)
      }
    }
  }

  func tokenizer() throws(CoordinatorEnd) -> Tokenizer {
    try Self.ending { () throws(InterchangeError) in try source.tokenizer() }
  }

  /// Writes the run's first checkpoint.
  func write(
    for plan: ResolvedPlan, tokenizer: [UInt8], inRun path: String
  ) throws(CoordinatorEnd) {
    let differences = source.shape.differences(from: plan.model, called: "the plan")
    guard differences.isEmpty else {
      throw CoordinatorEnd(
        kind: .failed,
        message: "initialization.from: the model in \(from) is not the plan's:\n"
          + differences + "Give the plan the sizes of \(from).", code: 78)
    }
    let phase = PhaseProgram(plan).firstPhaseIndex
    _ = try Self.ending { () throws(InterchangeError) in
      try StartCheckpoint.write(
        source, for: plan, phaseIndex: phase, layout: plan.stateLayout(inPhase: phase),
        reward: reward, tokenizer: tokenizer, inRun: path)
    }
  }

  /// The plan with the tokenizer's keys, which follow from the model that the run starts from:
  /// those that the plan leaves out are filled in, those that it gives must agree.
  static func completed(
    _ resolution: PlanResolution, with tokenizer: Tokenizer
  ) throws(CoordinatorEnd) -> ResolvedPlan {
    var plan = resolution.plan
    let derived = Set(resolution.derivations.filter(\.isDerived).map(\.key))
    var differences: [String] = []
    func settle<Value: Equatable>(_ key: String, _ planned: Value, _ found: Value) -> Value {
      if planned != found, !derived.contains(key) {
        differences.append("\(key): \(found), the plan \(planned)")
      }
      return found
    }
    let kind = ResolvedPlan.TokenizerChoice.Kind(rawValue: tokenizer.kind.rawValue) ?? .bpe
    plan.tokenizer.kind = settle("tokenizer.kind", plan.tokenizer.kind, kind)
    if kind == .bpe {
      plan.tokenizer.splitter = settle(
        "tokenizer.splitter", plan.tokenizer.splitter, tokenizer.splitter.rawValue)
    }
    plan.tokenizer.vocabularySize = settle(
      "tokenizer.vocabulary", plan.tokenizer.vocabularySize, tokenizer.vocabularySize)
    if derived.contains("model.vocabulary") {
      plan.model.vocabularySize = tokenizer.vocabularySize
    }
    guard differences.isEmpty else {
      throw CoordinatorEnd(
        kind: .failed,
        message: "initialization.from: the model in \(plan.initialization.from ?? "") reads with "
          + "another tokenizer than the plan's:\n" + differences.map { "  \($0)\n" }.joined()
          + "Remove these keys: the tokenizer comes with the model.", code: 78)
    }
    return plan
  }

  /// - Parameter key: Of the plan's `initialization`.
  private static func ending<R>(
    _ key: String = "from", _ body: () throws(InterchangeError) -> R
  ) throws(CoordinatorEnd) -> R {
    do {
      return try body()
    } catch {
      let message = "initialization.\(key): \(error)"
      throw CoordinatorEnd(kind: .failed, message: message, code: error.exitCode.rawValue)
    }
  }
}
