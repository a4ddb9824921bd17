import Checkpoints
import Evaluation
import Settings
import System
import Telemetry
import Tensors
import Tokenization
import Transformer

/// `cox generate`: text from a model.
enum GenerateCommand {
  static let command = Command(
    "generate",
    overview: "Continues a prompt with a run's newest model.",
    discussion: """
      A continuation is a function of model, prompt, seed and its number: alone or among others it
      has the same bits. With --chat the prompt is a user's message, and what is printed is the
      answer alone: what a model that was fine-tuned is for.
      """,
    arguments: [CommandArgument("run", help: "A run, or one of its checkpoints.")],
    options: [
      .option("prompt", "text", help: "What the text begins with. (default: a new document)"),
      .flag("chat", help: "Answer the prompt, as cox chat does."),
    ] + SamplingOptions.all + [
      .option("count", "count", .integer(1...4096), default: "1", help: "Continuations."),
    ] + SavedModel.engineOptions + [.flag("json", help: "Print texts, ids and ends as JSON.")])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let model = try SavedModel(invocation.text("run") ?? "", invocation)
    let isChat = invocation.has("chat")
    let prompt = try isChat ? message(invocation, model) : document(invocation, model)
    let count = invocation.integer("count") ?? 1
    let requests = (0..<count).map { index in
      Generator.Request(
        prompt: prompt, sampler: SamplingOptions.sampler(index, invocation),
        tokenLimit: SamplingOptions.tokenLimit(invocation), stopTokens: model.stopTokens)
    }
    let decoder = StreamDecoder(
      weights: model.weights, engine: model.engine, rowCapacity: 256,
      streamCapacity: min(count, 64))
    let start = Clock.monotonicSeconds
    let most = requests.reduce(0) { $0 + $1.tokenLimit }
    var drawn = 0
    let found = withProgress("generating") { progress in
      Generator(decoder: decoder, idCount: model.tokenizer.vocabularySize)
        .generate(requests) { _, _ in
          drawn += 1
          progress.update(Double(drawn) / Double(most))
        }
    }
    let seconds = Clock.monotonicSeconds - start
    for continuation in found {
      let text = String(
        decoding: model.tokenizer.decode((isChat ? [] : prompt) + continuation.tokens),
        as: UTF8.self)
      guard invocation.has("json") else {
        put(text)
        continue
      }
      put(
        JSONNode.object([
          ("text", .text(text)), ("tokens", .integer(continuation.tokens.count)),
          ("ids", .list(continuation.tokens.map { .integer($0) })),
          ("ending", .text(continuation.ending.rawValue)),
        ]).jsonText(isIndented: false))
    }
    let tokenCount = found.reduce(0) { $0 + $1.tokens.count }
    note("\(tokenCount) tokens in \(Double(Int(seconds * 100)) / 100) s")
    return 0
  }

  /// The beginning of a document, for the model to go on with.
  private static func document(
    _ invocation: Invocation, _ model: SavedModel
  ) throws -> [UInt32] {
    if model.isTuned {
      note("\(model.checkpoint.name) learned to chat: --chat lets it answer the prompt")
    }
    let prompt = (model.tokenizer.bos.map { [$0] } ?? [])
      + (try model.tokenizer.encode(invocation.text("prompt") ?? ""))
    let room = model.plan.model.sequenceLength
    guard !prompt.isEmpty else {
      throw PlainError("this model's tokenizer has no start of a document: give --prompt", .usage)
    }
    guard prompt.count < room else {
      throw PlainError("the prompt has \(prompt.count) tokens, the model's context \(room)", .usage)
    }
    return prompt
  }

  /// A user's message, for the model to answer.
  private static func message(
    _ invocation: Invocation, _ model: SavedModel
  ) throws -> [UInt32] {
    guard let text = invocation.text("prompt") else {
      throw Main.command.refusal("--chat needs a --prompt to answer", path: invocation.path)
    }
    model.noteIfUntuned()
    var chat = try Chat(
      tokenizer: model.tokenizer, context: model.plan.model.sequenceLength, answerRoom: 0)
    do {
      return try chat.prompt(for: text)
    } catch {
      throw PlainError("\(error)", .usage)
    }
  }
}
