import Checkpoints
import Corpus
import Evaluation
import Settings
import System
import Tensors
import Tokenization
import Transformer

/// `cox chat`: a conversation with a model.
enum ChatCommand {
  static let command = Command(
    "chat",
    overview: "Talks with a run's newest model.",
    discussion: """
      Each line is a message; the answer is written as it is drawn. The model sees the conversation
      as far as its context reaches: the oldest exchanges are left out whole. Ctrl-C stops an
      answer, and leaves where none is being given.

      Lines that begin with a slash are for the program: /reset begins a new conversation, /save
      FILE adds what was said since the last time to a file of examples (.jsonl), /help says this,
      /quit leaves. A line with control characters, as arrow keys type them, is refused; with
      rlwrap they move and bring earlier lines back: rlwrap cox chat RUN.
      """,
    arguments: [CommandArgument("run", help: "A run, or one of its checkpoints.")],
    options: SamplingOptions.all + SavedModel.engineOptions + [
      .flag("json", help: "Print each answer, once it is whole, as JSON.")
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    // Before the model's threads start, so that none of them gets the signal.
    let state = Monitor(State())
    onSignals([.interrupt]) { _ in
      state.update { now in
        guard now.activity == .idle else {
          now.activity = .stopping
          return
        }
        note("")
        leaveProcess(code: now.exitCode.rawValue)
      }
    }
    var session = try ChatSession(invocation, state)
    session.readLines()
    return state.update { $0.exitCode.rawValue }
  }

  /// What an interrupt finds.
  struct State {
    enum Activity: Equatable { case idle, answering, stopping }
    var activity = Activity.idle
    /// What the program ends with, whichever way it is left.
    var exitCode = ExitCode.ok
  }
}

/// The conversation of one `cox chat`.
private struct ChatSession {
  private let model: SavedModel
  private let invocation: Invocation
  private let state: Monitor<ChatCommand.State>
  private let generator: Generator
  private let stops: Set<UInt32>
  private let isTerminal = System.isTerminal(0)
  private var chat: Chat
  private var answerCount = 0
  private var hasSaidLeftOut = false
  /// Messages of the conversation that a file already has, by its path.
  private var savedCounts: [String: Int] = [:]

  init(_ invocation: Invocation, _ state: Monitor<ChatCommand.State>) throws {
    self.invocation = invocation
    self.state = state
    let model = try SavedModel(invocation.text("run") ?? "", invocation)
    self.model = model
    let context = model.plan.model.sequenceLength
    chat = try Chat(
      tokenizer: model.tokenizer, context: context,
      answerRoom: min(SamplingOptions.tokenLimit(invocation), context / 4))
    generator = Generator(
      decoder: StreamDecoder(
        weights: model.weights, engine: model.engine, rowCapacity: 64, streamCapacity: 1),
      idCount: model.tokenizer.vocabularySize)
    stops = model.stopTokens
    model.noteIfUntuned()
    if isTerminal { note("/help lists the commands, /quit leaves") }
  }

  /// Answers until the input ends or a line ends the conversation.
  mutating func readLines() {
    while true {
      if isTerminal { writeText("> ", to: 2) }
      guard let line = readLine() else {
        if isTerminal { note("") }
        return
      }
      let trimmed = line.trimmed
      if trimmed.isEmpty { continue }
      if line.hasControlCharacters {
        refuse(
          "not read: the line has control characters, as arrow keys type them; rlwrap cox chat "
            + "gives these keys their meaning")
      } else if trimmed.hasPrefix("/") {
        if !follow(trimmed) { return }
      } else {
        answer(line)
      }
    }
  }

  /// Says why a line was not followed. That decides the exit code where nobody sits in front and
  /// reads it.
  private func refuse(_ reason: String) {
    if !isTerminal { state.update { $0.exitCode = .badData } }
    note(reason)
  }

  // MARK: Commands

  /// Does what a line for the program says. Returns false where it ends the program.
  private mutating func follow(_ line: String) -> Bool {
    let words = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
    switch (words.first ?? "", words.count) {
    case ("/quit", 1): return false
    case ("/reset", 1):
      chat.reset()
      savedCounts = [:]
      note("a new conversation")
    case ("/save", 2): save(String(words[1]).trimmed)
    case ("/save", _): refuse("/save needs the name of a file")
    case ("/help", 1):
      note("/reset      begins a new conversation")
      note("/save FILE  adds what was said since the last time to a file of examples, as a line")
      note("/help       says this")
      note("/quit       leaves, as the end of the input does")
      note("Ctrl-C      stops an answer; leaves where none is being given")
    default: refuse("there is no command '\(line)'; /help lists them")
    }
    return true
  }

  /// Adds to a file what it does not have of the conversation yet, also what the model no longer
  /// sees: no example is to stand there twice.
  private mutating func save(_ path: String) {
    guard !chat.messages.isEmpty else { return refuse("nothing was said yet") }
    let new = chat.messages[savedCounts[path, default: 0]...]
    guard !new.isEmpty else { return note("\(path) has all of it already") }
    let messages = new.map {
      JSONNode.object([("role", .text($0.role.rawValue)), ("content", .text($0.content))])
    }
    let row = JSONNode.object([("messages", .list(messages))]).jsonText(isIndented: false)
    do {
      try File(path, .append).append(Array((row + "\n").utf8))
      savedCounts[path] = chat.messages.count
      note("saved \(new.count) messages to \(path)")
    } catch {
      refuse("not saved: \(error)")
    }
  }

  // MARK: Answers

  private mutating func answer(_ text: String) {
    let prompt: [UInt32]
    do {
      prompt = try chat.prompt(for: text)
    } catch {
      return refuse("not sent: \(error)")
    }
    if chat.leftOutCount > 0, !hasSaidLeftOut {
      hasSaidLeftOut = true
      note(
        "the oldest exchanges no longer fit the context of \(model.plan.model.sequenceLength) "
          + "tokens; the model does not see them")
    }
    let (answer, continuation) = generate(prompt)
    answerCount += 1
    // The model would take an answer without a word as the way to answer.
    if continuation.ending != .cancelled || !answer.isEmpty { chat.add(text, answer: answer) }
    if invocation.has("json") {
      put(
        JSONNode.object([
          ("answer", .text(answer)), ("prompt_tokens", .integer(prompt.count)),
          ("tokens", .integer(continuation.tokens.count)),
          ("ending", .text(continuation.ending.rawValue)),
        ]).jsonText(isIndented: false))
    } else {
      put("")
    }
    switch continuation.ending {
    case .stopToken: break
    case .tokenLimit: note("(cut after \(continuation.tokens.count) tokens: --max-tokens)")
    case .sequenceLength: note("(cut where the model's context ends)")
    case .cancelled: note("(stopped)")
    }
  }

  /// Draws an answer and writes it as it grows. The first draw of each answer is another one.
  private func generate(_ prompt: [UInt32]) -> (String, Generator.Continuation) {
    let request = Generator.Request(
      prompt: prompt, sampler: SamplingOptions.sampler(answerCount, invocation),
      tokenLimit: SamplingOptions.tokenLimit(invocation), stopTokens: stops)
    var pieces = UTF8Pieces()
    var answer = ""
    func show(_ text: String) {
      answer += text
      if !invocation.has("json"), !text.isEmpty { writeText(text, to: 1) }
    }
    state.update { $0.activity = .answering }
    defer { state.update { $0.activity = .idle } }
    let found = generator.generate(
      [request], onToken: { _, token in show(pieces.append(model.tokenizer.decode([token]))) },
      isCancelled: { state.update { $0.activity == .stopping } })
    show(pieces.finish())
    return (answer, found[0])
  }
}

extension String {
  /// Without blanks at both ends.
  fileprivate var trimmed: String {
    let from = drop(while: \.isWhitespace)
    return String(from.dropLast(from.reversed().prefix(while: \.isWhitespace).count))
  }

  /// Whether it holds what no text does, the tab apart.
  fileprivate var hasControlCharacters: Bool {
    unicodeScalars.contains { $0.properties.generalCategory == .control && $0 != "\t" }
  }
}
