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

/// `cox evaluate`: how good a model is.
enum EvaluateCommand {
  static let command = Command(
    "evaluate",
    overview: "Measures a run's newest model on a text, conversations, questions or pairs.",
    discussion: """
      With --loss the text is read as one document without special tokens, in consecutive windows
      of the model's context, nothing carried over: as validation does. With --logits it is read
      as generate reads a prompt, in one piece that begins a document, and what the model makes of
      each of its tokens is written for other programs to look at.

      With --conversations the model foretells what the assistant says in them, each in a window of
      its own: its loss per token of the answers, as validations of an SFT phase have it; with
      --against also how much less or more it is than another model's.

      With --questions the model answers questions, in the chat format or, with --shots, in plain
      text: how many answers are right, and how often the right one of a question's choices is the
      likeliest. With --against another model answers the same questions, and answers are compared:
      right beats wrong, then short beats long; ties count half. With --pairs the checkpoint's
      reward model scores pairs of answers of which one was preferred. Shares and means stand with
      the interval that holds them in 95 of 100 cases.
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
      .option(
        "conversations", "file",
        help: "Conversations of a file; or the word held-back: those that the run's newest SFT "
          + "phase so far held back, or else its first to come will; or world: the questions that "
          + "training on the run's world never asks, answered."),
      .option(
        "questions", "file",
        help: "Questions as `cox data world --examples` writes them to unseen.jsonl, or the word "
          + "world: those that training on the run's world never asks."),
      .option(
        "against", "run",
        help: "A run, or a checkpoint, that reads the same conversations or answers the same "
          + "questions."),
      .option(
        "shots", "count", .integer(0...64),
        help: "Ask in plain text after so many answered questions of the training part of the "
          + "run's world: for a model that never learned to chat."),
      .option(
        "turns", "count", .integer(1...64), default: "1",
        help: "Ask each question as the last of so many in a conversation, behind those before it "
          + "and the model's own answers."),
      .option(
        "temperature", "value", .number(0...100), default: "0",
        help: "Of answers; 0 always takes the likeliest token."),
      .option("seed", "number", .integer(0...Int.max), default: "1", help: "Seed of the draws."),
      .option(
        "answer-tokens", "count", .integer(1...1_000_000), default: "64", help: "Longest answer."),
      .option(
        "pairs", "file",
        help: "Preference pairs of a file; or the word held-back: those that the run's newest "
          + "reward phase so far held back; or world: one about each question that training never "
          + "asks."),
      .option(
        "agreement", "share", .number(0...1), default: "1",
        help: "How often labels of --pairs world follow the rule."),
      .option(
        "limit", "count", .integer(1...Int.max),
        help: "At most so many conversations, questions or pairs, evenly spaced. (default: all)"),
    ] + SavedModel.engineOptions + [
      .matmul, .flag("json", help: "Print the figures as JSON."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    switch try measure(invocation) {
    case .loss: try printLoss(invocation.text("loss") ?? "", invocation)
    case .logits: try writeLogits(invocation.text("logits") ?? "", invocation)
    case .conversations: try readConversations(invocation)
    case .questions: try askQuestions(invocation)
    case .pairs: try scorePairs(invocation)
    }
  }

  /// What is measured, and what it is told.
  private enum Measure: String, CaseIterable {
    case loss, logits, conversations, questions, pairs

    /// Options that only some measures read.
    static let ownOptions = [
      "out", "max-tokens", "matmul", "against", "shots", "turns", "temperature", "seed",
      "answer-tokens", "agreement", "limit",
    ]

    var options: [String] {
      switch self {
      case .loss: ["max-tokens", "matmul"]
      case .logits: ["out"]
      case .conversations: ["against", "limit"]
      case .questions:
        ["against", "shots", "turns", "temperature", "seed", "answer-tokens", "limit"]
      case .pairs: ["agreement", "limit"]
      }
    }
  }

  /// Refuses two measures at once, none, and options that the chosen one would not read.
  private static func measure(_ invocation: Invocation) throws -> Measure {
    func refusal(_ problem: String) -> any Error {
      Main.command.refusal(problem, path: invocation.path)
    }
    let asked = Measure.allCases.filter { invocation.has($0.rawValue) }
    guard let measure = asked.first, asked.count == 1 else {
      throw refusal(
        "give one of " + Measure.allCases.map { "--\($0.rawValue)" }.joined(separator: ", "))
    }
    for option in Measure.ownOptions
    where invocation.has(option) && !measure.options.contains(option) {
      let readers = Measure.allCases.filter { $0.options.contains(option) }
      throw refusal(
        "--\(option) is for " + readers.map { "--\($0.rawValue)" }.joined(separator: " and ")
          + ", not for --\(measure.rawValue)")
    }
    if invocation.has("agreement"), invocation.text("pairs") != "world" {
      throw refusal("--agreement is for --pairs world; other pairs have their labels")
    }
    if invocation.has("turns"), invocation.has("shots") {
      throw refusal("--turns is for conversations, not for --shots")
    }
    return measure
  }

  private static func printLoss(_ file: String, _ invocation: Invocation) throws -> Int32 {
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
