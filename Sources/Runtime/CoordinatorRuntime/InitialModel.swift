internal import Checkpoints
internal import Interchange
internal import Planning
internal import Settings
internal import System
internal import Tensors
internal import Tokenization

/// The model that a plan's run starts from: `initialization.from`.
///
/// It is read when the run has no checkpoint, and becomes one at position 0: from then on the run
/// does not need it.
struct InitialModel {
  private let from: String
  private let source: ModelSource

  /// Opens and checks it, all but its values.
  init(_ from: String) throws(CoordinatorEnd) {
    self.from = from
    source = try Self.ending { () throws(InterchangeError) in try ModelSource(opening: from) }
  }

  func tokenizer() throws(CoordinatorEnd) -> Tokenizer {
    try Self.ending { () throws(InterchangeError) in try source.tokenizer() }
  }

  /// Writes the run's first checkpoint.
  func write(
    for plan: ResolvedPlan, tokenizer: [UInt8], inRun path: String
  ) throws(CoordinatorEnd) {
    let differences = Self.differences(source.shape, plan.model)
    guard differences.isEmpty else {
      throw CoordinatorEnd(
        kind: .failed,
        message: "initialization.from: the model in \(from) is not the plan's:\n"
          + differences.map { "  \($0)\n" }.joined()
          + "Give the plan the sizes of \(from).", code: 78)
    }
    let phase = PhaseProgram(plan).firstPhaseIndex
    _ = try Self.ending { () throws(InterchangeError) in
      try StartCheckpoint.write(
        source, for: plan, phaseIndex: phase, layout: plan.stateLayout(inPhase: phase),
        tokenizer: tokenizer, inRun: path)
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

  /// What makes two models differ in shape or in what they compute. The longest sequence does not.
  static func differences(_ found: ModelShape, _ planned: ModelShape) -> [String] {
    let pairs: [(String, String, String)] = [
      ("layers", "\(found.layerCount)", "\(planned.layerCount)"),
      ("width", "\(found.modelWidth)", "\(planned.modelWidth)"),
      ("heads", "\(found.headCount)", "\(planned.headCount)"),
      ("key_value_heads", "\(found.keyValueHeadCount)", "\(planned.keyValueHeadCount)"),
      ("head_width", "\(found.headWidth)", "\(planned.headWidth)"),
      ("feed_forward", "\(found.feedForwardWidth)", "\(planned.feedForwardWidth)"),
      ("vocabulary", "\(found.vocabularySize)", "\(planned.vocabularySize)"),
      ("tied_head", "\(found.isHeadTied)", "\(planned.isHeadTied)"),
      ("rope_theta", "\(found.ropeTheta)", "\(planned.ropeTheta)"),
      ("norm_epsilon", "\(found.normEpsilon)", "\(planned.normEpsilon)"),
    ]
    return pairs.filter { $0.1 != $0.2 }.map { "model.\($0.0): \($0.1), the plan \($0.2)" }
  }

  private static func ending<R>(
    _ body: () throws(InterchangeError) -> R
  ) throws(CoordinatorEnd) -> R {
    do {
      return try body()
    } catch {
      let message = "initialization.from: \(error)"
      throw CoordinatorEnd(kind: .failed, message: message, code: error.exitCode.rawValue)
    }
  }
}
