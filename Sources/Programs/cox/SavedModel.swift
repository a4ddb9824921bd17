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
  init(_ path: String, _ invocation: Invocation) throws {
    checkpoint = try openCheckpoint(path)
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
    engine = Engine(
      team: ThreadTeam(memberCount: threadCount), precision: precision ?? plan.precision)
    let layout = checkpoint.layout
    let master = AlignedStorage(count: layout.count, filledWith: Float(0)).rows
    try checkpoint.loadWeights(into: master)
    weights = ModelWeights(layout: layout, master: master, precision: engine.precision)
    weights.pack(engine)
  }
}
