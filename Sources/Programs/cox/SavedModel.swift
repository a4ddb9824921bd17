import Checkpoints
import Operators
import Settings
import System
import Tensors
import Tokenization
import Transformer

/// A model out of a checkpoint, ready to compute with.
struct SavedModel {
  let plan: ResolvedPlan
  let tokenizer: Tokenizer
  let weights: ModelWeights
  let engine: Engine
  let checkpoint: CheckpointReader

  static let engineOptions: [CommandOption] = [
    .option(
      "threads", "count", .integer(1...4096),
      help: "Compute threads. (default: the processors this process may use)"),
    .option(
      "precision", "type", .choice(Precision.allCases.map(\.rawValue)),
      help: "What operands are rounded to. (default: the plan's)"),
  ]

  /// - Parameter path: A run, whose newest checkpoint counts, or a checkpoint.
  /// - Parameter role: Which of the checkpoint's models.
  /// - Parameter matmul: What computes the products.
  init(
    _ path: String, role: ModelRole = .policy, matmul: MatmulChoice = .builtin,
    _ invocation: Invocation
  ) throws {
    checkpoint = try openCheckpoint(path)
    let layout = try checkpoint.layout(of: role)
    plan = try ResolvedPlan(planJSON: String(decoding: try checkpoint.plan(), as: UTF8.self))
    guard let json = try checkpoint.tokenizer() else {
      throw PlainError("\(checkpoint.path) holds no tokenizer", .badData)
    }
    tokenizer = try Tokenizer.load(json: json)
    // A model from elsewhere may have rows that no id reaches, up to a round number.
    guard tokenizer.vocabularySize <= checkpoint.state.model.vocabularySize else {
      throw PlainError(
        "\(checkpoint.path): the tokenizer has \(tokenizer.vocabularySize) ids, the model only "
          + "\(checkpoint.state.model.vocabularySize)", .badData)
    }
    let precision = invocation.text("precision").flatMap { Precision(rawValue: $0) }
    let threadCount = invocation.integer("threads") ?? max(1, allowedProcessors().count)
    let variant = Self.variant(profile: checkpoint.state.profile)
    engine = Engine(
      team: ThreadTeam(memberCount: threadCount), variant: variant,
      precision: precision ?? plan.precision, matmul: try chosenBackend(matmul, variant))
    let master = AlignedStorage(count: layout.count, filledWith: Float(0)).rows
    try checkpoint.loadWeights(of: role, into: master)
    weights = ModelWeights(layout: layout, master: master, form: engine.form)
    weights.pack(engine)
  }

  /// Whether it has learned to chat.
  var isTuned: Bool { checkpoint.state.isTuned(by: plan) }

  /// Says of a model that never learned to chat what is to be expected of it in a conversation.
  func noteIfUntuned() {
    guard !isTuned else { return }
    note("\(checkpoint.name) was never fine-tuned: it continues text and knows no conversation")
  }

  /// Tokens that end a text.
  var stopTokens: Set<UInt32> { Set(SpecialToken.allCases.compactMap { tokenizer.id(of: $0) }) }

  /// Kernels that round as those of the training run did, where this processor has them.
  private static func variant(profile: String) -> KernelVariant {
    // After a BLAS's name stands the profile of our kernels beside it.
    let ours = profile.split(separator: "+").last.map(String.init)
    let found = KernelVariant.available.first { $0.profile == ours }
    if found == nil {
      note(
        "this processor has no kernels of the run's profile \(profile); figures may differ in "
          + "their last digits")
    }
    return found ?? .best
  }
}
