import Checkpoints
import Corpus
import Evaluation
import Operators
import Settings
import System
import Tensors
import Transformer

/// `cox evaluate`: what a model makes of a text.
enum EvaluateCommand {
  static let command = Command(
    "evaluate",
    overview: "Measures a run's newest model on a text.",
    discussion: """
      The text is read as one document without special tokens, in consecutive windows of the
      model's context, nothing carried over: as validation does.
      """,
    arguments: [CommandArgument("run", help: "A run, or one of its checkpoints.")],
    options: [
      .option("loss", "file", help: "A UTF-8 text: its mean loss per token, and bits per byte."),
      .option(
        "max-tokens", "count", .integer(1...Int.max),
        help: "Read at most so many tokens, evenly spaced. (default: all)"),
    ] + SavedModel.engineOptions + [
      .matmul, .flag("json", help: "Print the figures as JSON."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    guard let file = invocation.text("loss") else {
      throw Main.command.refusal("--loss <file> is missing", path: invocation.path)
    }
    let bytes = try Files.read(file)
    let model = try SavedModel(
      invocation.text("run") ?? "", matmul: invocation.matmul, invocation)
    let text = try EvaluationText(bytes, tokenizer: model.tokenizer)
    let length = model.plan.model.sequenceLength
    let limit = invocation.integer("max-tokens")
    guard text.tokenCount > 1 else {
      throw PlainError("\(file) has \(text.tokenCount) tokens; a loss needs two", .badData)
    }
    let sliceCount = model.plan.batch.slices
    let windows = (0..<sliceCount).flatMap {
      text.slice($0, of: sliceCount, sequenceLength: length, tokenLimit: limit).sequences
    }
    let microbatch = model.plan.batch.microbatch
    let transformer = Transformer(
      weights: model.weights, engine: model.engine, tokenCapacity: microbatch * length,
      lookupRowCapacity: 0)
    let sum = transformer.evaluate(windows, microbatch: microbatch, sliceCount: sliceCount)
    let coverage = text.coverage(sequenceLength: length, tokenLimit: limit)
    let loss = sum.lossSum / Double(max(1, sum.tokenCount))
    let bitsPerByte = sum.lossSum / 0.693_147_180_559_945_3 / Double(max(1, coverage.byteCount))
    if invocation.has("json") {
      put(
        JSONNode.object([
          ("loss", .decimal(loss)), ("tokens", .integer(Int(sum.tokenCount))),
          ("bits_per_byte", .decimal(bitsPerByte)), ("bytes", .integer(coverage.byteCount)),
          ("checkpoint", .text(model.checkpoint.name)),
          ("precision", .text(model.engine.precision.rawValue)),
        ]).jsonText(isIndented: false))
    } else {
      put("loss           \(loss) nats per token")
      put("tokens         \(sum.tokenCount)")
      put("bits per byte  \(bitsPerByte)")
    }
    return 0
  }
}
