import Checkpoints
import Corpus
import Evaluation
import Operators
import Settings
import System
import Telemetry
import Tensors
import Tokenization
import Transformer

/// `cox evaluate`: what a model makes of a text.
enum EvaluateCommand {
  static let command = Command(
    "evaluate",
    overview: "Measures a run's newest model on a text.",
    discussion: """
      With --loss the text is read as one document without special tokens, in consecutive windows
      of the model's context, nothing carried over: as validation does. With --logits it is read
      as generate reads a prompt, in one piece that begins a document, and what the model makes of
      each of its tokens is written for other programs to look at.
      """,
    arguments: [CommandArgument("run", help: "A run, or one of its checkpoints.")],
    options: [
      .option("loss", "file", help: "A UTF-8 text: its mean loss per token, and bits per byte."),
      .option("logits", "file", help: "A UTF-8 text that fits the context: its logits."),
      .option(
        "out", "file", default: "logits.safetensors",
        help: "Where --logits writes: f32 [tokens, vocabulary], and the ids as metadata."),
      .option(
        "max-tokens", "count", .integer(1...Int.max),
        help: "Read at most so many tokens, evenly spaced. (default: all)"),
    ] + SavedModel.engineOptions + [
      .matmul, .flag("json", help: "Print the figures as JSON."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    try check(invocation)
    if let file = invocation.text("logits") { return try writeLogits(file, invocation) }
    let file = invocation.text("loss") ?? ""
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
    let sum = withProgress("reading \(file)") { progress in
      transformer.evaluate(
        windows, microbatch: microbatch, sliceCount: sliceCount, progress: progress.update)
    }
    let coverage = text.coverage(sequenceLength: length, tokenLimit: limit)
    let loss = sum.lossSum / Double(max(1, sum.tokenCount))
    guard loss.isFinite else {
      throw PlainError(
        "the loss of \(file) is \(loss): the model's weights are too large or no numbers",
        .badData)
    }
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

  /// Refuses two measures at once, none, and options that the chosen one would not read.
  private static func check(_ invocation: Invocation) throws {
    let isLoss = invocation.has("loss")
    var problem: String?
    if isLoss == invocation.has("logits") {
      problem = "give --loss <file> or --logits <file>, one of them"
    } else if isLoss, invocation.has("out") {
      problem = "--out is where --logits writes; --loss prints"
    } else if !isLoss {
      problem = ["max-tokens", "matmul"].first(where: invocation.has).map {
        "--\($0) is for --loss; --logits reads the whole text, with the builtin products"
      }
    }
    if let problem { throw Main.command.refusal(problem, path: invocation.path) }
  }

  /// Feeds the text token by token, as a text under way is continued, and keeps every row: the bits
  /// that a training pass over the same text computes.
  private static func writeLogits(_ path: String, _ invocation: Invocation) throws -> Int32 {
    let bytes = try Files.read(path)
    let model = try SavedModel(invocation.text("run") ?? "", invocation)
    let ids = (model.tokenizer.bos.map { [$0] } ?? []) + (try model.tokenizer.encode(bytes))
    let shape = model.checkpoint.layout.shape
    guard !ids.isEmpty, ids.count <= shape.sequenceLength else {
      throw PlainError(
        "\(path) has \(ids.count) tokens; a context of \(shape.sequenceLength) takes 1 to "
          + "\(shape.sequenceLength)", .badData)
    }
    let header = SafetensorsHeader(
      laying: [("logits", [ids.count, shape.vocabularySize])], as: .f32,
      metadata: ["format": "pt", "ids": ids.map(String.init).joined(separator: " ")])
    let decoder = StreamDecoder(weights: model.weights, engine: model.engine, rowCapacity: 1)
    let stream = decoder.makeStream()
    var written = header.bytes
    for id in ids { decoder.feed([(stream, [id])])[0].appendBytes(to: &written) }
    let out = invocation.text("out") ?? "logits.safetensors"
    try Files.write(written, to: out)
    if invocation.has("json") {
      put(
        JSONNode.object([
          ("logits", .text(out)), ("tokens", .integer(ids.count)),
          ("vocabulary", .integer(shape.vocabularySize)),
          ("checkpoint", .text(model.checkpoint.name)),
          ("precision", .text(model.engine.precision.rawValue)),
        ]).jsonText(isIndented: false))
    } else {
      put("wrote \(out)  logits [\(ids.count), \(shape.vocabularySize)]")
    }
    return 0
  }
}
