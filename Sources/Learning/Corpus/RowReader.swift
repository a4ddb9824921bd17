public import Settings

/// One row of a file of examples.
public enum ExampleRow: Equatable, Sendable {
  case conversation(Conversation)
  case pair(PreferencePair)
  /// Something to answer, without an answer.
  case prompt(Conversation)

  /// What is to be answered, and the answer where there is one.
  var asked: (prompt: Conversation, answer: String?) {
    switch self {
    case .prompt(let prompt): (prompt, nil)
    case .pair(let pair): (pair.prompt, nil)
    case .conversation(let conversation):
      if let last = conversation.messages.last, last.role == .assistant {
        (Conversation(conversation.messages.dropLast()), last.content)
      } else {
        (conversation, nil)
      }
    }
  }

  /// Without the first message of the user and its answer; nil if nothing would be left to answer.
  var withoutFirstExchange: ExampleRow? {
    switch self {
    case .prompt: nil
    case .conversation(let conversation):
      conversation.withoutFirstExchange.map { .conversation($0) }
    case .pair(let pair):
      pair.prompt.withoutFirstExchange.map {
        .pair(
          PreferencePair(
            prompt: $0, chosen: pair.chosen, rejected: pair.rejected, isTie: pair.isTie))
      }
    }
  }
}

/// Why a row is no example.
public struct RowProblem: Error, Equatable, Sendable {
  public let reason: String
  init(_ reason: String) { self.reason = reason }
}

/// Reads the forms in which people keep examples:
///
/// - `messages`: `[{"role", "content"}]`, or `conversations`: `[{"from", "value"}]`;
/// - `prompt` and `completion`, a text or messages;
/// - `instruction`, perhaps `input`, and `output` (or `response`); or `instances`, of which the
///   first has `input` and `output`;
/// - `chosen` and `rejected` with `prompt` (text or messages), `instruction` or `conversations`;
///   without any, as messages, or as whole transcripts whose turns begin with `Human:` and
///   `Assistant:`;
/// - two answers and what judges said: `response1`, `response2` and the votes of `annotator1`,
///   `annotator2`, ...; `response 1`, `response 2` and `label`; `input`, `output_1`, `output_2` and
///   `label`;
/// - a prompt alone: `prompt` or `instruction` without an answer, messages without an assistant.
///
/// Foreign bytes: it throws and never traps.
public enum RowReader {
  /// - Parameter node: An object.
  public static func read(_ node: JSONNode) throws(RowProblem) -> ExampleRow {
    guard case .object = node.value else {
      throw RowProblem("it is \(node.inWords), not an object")
    }
    if node["messages"] != nil { return try conversation(node, "messages") }
    if node["chosen"] != nil || node["rejected"] != nil { return .pair(try pair(node)) }
    if node["conversations"] != nil { return try conversation(node, "conversations") }
    if let form = JudgedForm.allCases.first(where: { node[$0.keys.first] != nil }) {
      return .pair(try judgedPair(node, form))
    }
    guard node["gpt_result"] == nil else {
      throw RowProblem("it has the vote of a judge, but not the answers that were judged")
    }
    let prompt = try prompt(node)
    let answered = try instance(node) ?? node
    for key in ["completion", "output", "response"] where answered[key] != nil {
      let answer = try answer(answered, key, to: prompt)
      return .conversation(Conversation(prompt.messages + [.init(.assistant, answer)]))
    }
    return .prompt(prompt)
  }

  /// The first of the `instances` of a task.
  private static func instance(_ node: JSONNode) throws(RowProblem) -> JSONNode? {
    guard let instances = node["instances"] else { return nil }
    guard let first = instances.elements?.first else {
      throw RowProblem("its instances are no list with an element")
    }
    return first
  }

  private static func text(_ node: JSONNode, _ key: String) throws(RowProblem) -> String {
    guard let value = node[key] else { throw RowProblem("it has no \(key)") }
    guard let text = value.string else {
      throw RowProblem("its \(key) is \(value.inWords), not a text")
    }
    return text
  }

  private static func filledText(_ node: JSONNode, _ key: String) throws(RowProblem) -> String {
    let text = try text(node, key)
    guard !text.isEmpty else { throw RowProblem("its \(key) is empty") }
    return text
  }

  // MARK: - Conversations

  private static func conversation(
    _ node: JSONNode, _ key: String
  ) throws(RowProblem) -> ExampleRow {
    let found = Conversation(try messages(node, key))
    if let problem = found.problem { throw RowProblem(problem) }
    let answers = found.messages.filter { $0.role == .assistant }
    // It would teach to say nothing.
    guard !answers.contains(where: \.content.isEmpty) else {
      throw RowProblem("an answer of the assistant is empty")
    }
    return !answers.isEmpty ? .conversation(found) : .prompt(found)
  }

  private static func messages(
    _ node: JSONNode, _ key: String
  ) throws(RowProblem) -> [Conversation.Message] {
    guard let elements = node[key]?.elements else { throw RowProblem("its \(key) is no list") }
    var messages: [Conversation.Message] = []
    for element in elements { messages.append(try message(element)) }
    return messages
  }

  private static func message(_ node: JSONNode) throws(RowProblem) -> Conversation.Message {
    let (speaker, words) = node["from"] == nil ? ("role", "content") : ("from", "value")
    let name = try text(node, speaker)
    let others: [String: Conversation.Role] = ["human": .user, "gpt": .assistant]
    guard let role = Conversation.Role(rawValue: name) ?? others[name] else {
      throw RowProblem("'\(name)' is no role; there are system, user and assistant")
    }
    return Conversation.Message(role, try text(node, words))
  }

  /// What an answer answers.
  private static func prompt(_ node: JSONNode) throws(RowProblem) -> Conversation {
    let found: Conversation
    if let key = ["prompt", "conversations"].first(where: { node[$0]?.elements != nil }) {
      found = Conversation(try messages(node, key))
    } else if node["prompt"] != nil {
      found = Conversation([.init(.user, try filledText(node, "prompt"))])
    } else {
      guard node["instruction"] != nil else {
        throw RowProblem("it has no messages, prompt, instruction, or chosen and rejected")
      }
      let instruction = try filledText(node, "instruction")
      let given = try instance(node) ?? node
      let input = given["input"] == nil ? "" : try text(given, "input")
      found = Conversation(
        [.init(.user, input.isEmpty ? instruction : "\(instruction)\n\n\(input)")])
    }
    if let problem = found.problem { throw RowProblem(problem) }
    guard found.messages.last?.role == .user else {
      throw RowProblem("the prompt does not end with a message of the user")
    }
    return found
  }

  // MARK: - Pairs

  private static func pair(_ node: JSONNode) throws(RowProblem) -> PreferencePair {
    let found: PreferencePair
    if ["prompt", "instruction", "conversations"].contains(where: { node[$0] != nil }) {
      let prompt = try prompt(node)
      found = PreferencePair(
        prompt: prompt, chosen: try answer(node, "chosen", to: prompt),
        rejected: try answer(node, "rejected", to: prompt))
    } else {
      let chosen = try transcript(node, "chosen"), rejected = try transcript(node, "rejected")
      guard chosen.prompt == rejected.prompt else {
        throw RowProblem("chosen and rejected differ before their last answers")
      }
      found = PreferencePair(
        prompt: Conversation(chosen.prompt), chosen: chosen.answer, rejected: rejected.answer)
    }
    guard found.chosen != found.rejected else { throw RowProblem("both answers are the same") }
    return found
  }

  /// A text, a message, or messages of which the last is the answer; those before it repeat the
  /// prompt, or the end of it.
  private static func answer(
    _ node: JSONNode, _ key: String, to prompt: Conversation
  ) throws(RowProblem) -> String {
    let said: [Conversation.Message]
    switch node[key]?.value {
    case .array: said = try messages(node, key)
    case .object: said = try node[key].map { one throws(RowProblem) in [try message(one)] } ?? []
    default: return try filledText(node, key)
    }
    let found = try answered(said, key)
    guard prompt.messages.suffix(found.prompt.count) == found.prompt[...] else {
      throw RowProblem("\(key) answers something else than the prompt")
    }
    return found.answer
  }

  private static func answered(
    _ messages: [Conversation.Message], _ key: String
  ) throws(RowProblem) -> Transcript {
    guard let last = messages.last, last.role == .assistant, !last.content.isEmpty
    else { throw RowProblem("\(key) does not end with an answer of the assistant") }
    return (Array(messages.dropLast()), last.content)
  }

  private typealias Transcript = (prompt: [Conversation.Message], answer: String)

  private static func transcript(_ node: JSONNode, _ key: String) throws(RowProblem) -> Transcript {
    if node[key]?.elements != nil {
      let found = try answered(try messages(node, key), key)
      guard found.prompt.last?.role == .user else {
        throw RowProblem("\(key) has no message of the user before its answer")
      }
      if let problem = Conversation(found.prompt).problem { throw RowProblem(problem) }
      return found
    }
    var rest = try text(node, key)[...]
    var messages: [Conversation.Message] = []
    let marks = [("\n\nHuman:", Conversation.Role.user), ("\n\nAssistant:", .assistant)]
    while let (mark, role) = marks.first(where: { rest.hasPrefix($0.0) }) {
      rest = rest.dropFirst(mark.count)
      let next = marks.compactMap { rest.firstRange(of: $0.0)?.lowerBound }.min() ?? rest.endIndex
      messages.append(.init(role, trimmed(rest[..<next])))
      rest = rest[next...]
    }
    guard rest.isEmpty, let answer = messages.popLast(), answer.role == .assistant,
      messages.last?.role == .user, !answer.content.isEmpty
    else {
      throw RowProblem("\(key) is no transcript of Human and Assistant that ends with an answer")
    }
    return (messages, answer.content)
  }

  private static func trimmed(_ text: Substring) -> String {
    let front = text.drop { $0.isWhitespace }
    guard let last = front.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(front[...last])
  }

  // MARK: - Judged pairs

  /// How two answers and their judgment are kept.
  private enum JudgedForm: CaseIterable {
    /// The votes of `annotator1`, `annotator2`, ...: 1 or 2 for the better one, 0 for neither.
    case votes
    /// `label` 0 or 1 for the better one, 2 for neither.
    case labelFromZero
    /// `label` 1 or 2 for the better one, `input` alone as what was asked.
    case labelFromOne

    var keys: (first: String, second: String) {
      switch self {
      case .votes: ("response1", "response2")
      case .labelFromZero: ("response 1", "response 2")
      case .labelFromOne: ("output_1", "output_2")
      }
    }
  }

  private enum Winner { case first, second, neither }

  private static func judgedPair(
    _ node: JSONNode, _ form: JudgedForm
  ) throws(RowProblem) -> PreferencePair {
    let (first, second) = (
      try filledText(node, form.keys.first), try filledText(node, form.keys.second)
    )
    let winner = try winner(node, form)
    guard first != second else { throw RowProblem("both answers are the same") }
    let asked = form == .labelFromOne
      ? Conversation([.init(.user, try filledText(node, "input"))]) : try prompt(node)
    return PreferencePair(
      prompt: asked, chosen: winner == .second ? second : first,
      rejected: winner == .second ? first : second, isTie: winner == .neither)
  }

  private static func winner(_ node: JSONNode, _ form: JudgedForm) throws(RowProblem) -> Winner {
    switch form {
    case .votes: return try mostVotes(node)
    case .labelFromZero: return try vote(node, "label", [0: .first, 1: .second, 2: .neither])
    case .labelFromOne: return try vote(node, "label", [1: .first, 2: .second])
    }
  }

  private static func mostVotes(_ node: JSONNode) throws(RowProblem) -> Winner {
    guard case .object(let members) = node.value else { preconditionFailure("a row is an object") }
    var votes: [Winner] = []
    for key in members.map(\.key) where key.hasPrefix("annotator") {
      guard Int(key.dropFirst("annotator".count)) != nil else { continue }
      votes.append(try vote(node, key, [0: .neither, 1: .first, 2: .second]))
    }
    guard !votes.isEmpty else { throw RowProblem("nobody voted: it has no annotator1") }
    let lead = votes.count { $0 == .first } - votes.count { $0 == .second }
    return lead == 0 ? .neither : lead > 0 ? .first : .second
  }

  private static func vote(
    _ node: JSONNode, _ key: String, _ meanings: [Int: Winner]
  ) throws(RowProblem) -> Winner {
    guard let value = node[key] else { throw RowProblem("it has no \(key)") }
    guard let winner = value.int.flatMap({ meanings[$0] }) else {
      let known = meanings.keys.sorted().map { "\($0)" }.joined(separator: ", ")
      throw RowProblem("its \(key) is \(value.inWords), not one of \(known)")
    }
    return winner
  }
}
