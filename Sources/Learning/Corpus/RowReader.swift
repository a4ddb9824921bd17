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
}

/// Why a row is no example.
public struct RowProblem: Error, Equatable, Sendable {
  public let reason: String
  init(_ reason: String) { self.reason = reason }
}

/// Reads the forms in which people keep examples:
///
/// - `messages`: `[{"role", "content"}]`;
/// - `prompt` and `completion`;
/// - `instruction`, perhaps `input`, and `output` (or `response`);
/// - `chosen` and `rejected` with `prompt` (text or messages) or `instruction`; without either, as
///   whole transcripts whose turns begin with `Human:` and `Assistant:`;
/// - `instruction`, `response1`, `response2` and the votes of `annotator1`, `annotator2`, ...: 1 or
///   2 for the better one, 0 for neither;
/// - a prompt alone: `prompt` or `instruction` without an answer, `messages` without an assistant.
///
/// Foreign bytes: it throws and never traps.
public enum RowReader {
  /// - Parameter node: An object.
  public static func read(_ node: JSONNode) throws(RowProblem) -> ExampleRow {
    guard case .object = node.value else {
      throw RowProblem("it is \(node.inWords), not an object")
    }
    if node["messages"] != nil { return try conversation(node) }
    if node["chosen"] != nil || node["rejected"] != nil { return .pair(try pair(node)) }
    if node["response1"] != nil { return .pair(try votedPair(node)) }
    let prompt = try prompt(node)
    for key in ["completion", "output", "response"] where node[key] != nil {
      return .conversation(
        Conversation(prompt.messages + [.init(.assistant, try filledText(node, key))]))
    }
    return .prompt(prompt)
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

  private static func conversation(_ node: JSONNode) throws(RowProblem) -> ExampleRow {
    let found = Conversation(try messages(node, "messages"))
    if let problem = found.problem { throw RowProblem(problem) }
    let isAnswered = found.messages.contains { $0.role == .assistant }
    return isAnswered ? .conversation(found) : .prompt(found)
  }

  private static func messages(
    _ node: JSONNode, _ key: String
  ) throws(RowProblem) -> [Conversation.Message] {
    guard let elements = node[key]?.elements else { throw RowProblem("its \(key) is no list") }
    var messages: [Conversation.Message] = []
    for element in elements {
      let name = try text(element, "role")
      guard let role = Conversation.Role(rawValue: name) else {
        throw RowProblem("'\(name)' is no role; there are system, user and assistant")
      }
      messages.append(.init(role, try text(element, "content")))
    }
    return messages
  }

  /// What an answer answers.
  private static func prompt(_ node: JSONNode) throws(RowProblem) -> Conversation {
    let found: Conversation
    if node["prompt"]?.elements != nil {
      found = Conversation(try messages(node, "prompt"))
    } else if node["prompt"] != nil {
      found = Conversation([.init(.user, try filledText(node, "prompt"))])
    } else {
      guard node["instruction"] != nil else {
        throw RowProblem("it has no messages, prompt, instruction, or chosen and rejected")
      }
      let instruction = try filledText(node, "instruction")
      let input = node["input"] == nil ? "" : try text(node, "input")
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
    if node["prompt"] != nil || node["instruction"] != nil {
      found = PreferencePair(
        prompt: try prompt(node), chosen: try answer(node, "chosen"),
        rejected: try answer(node, "rejected"))
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

  /// A text, or messages of which the last is the answer.
  private static func answer(_ node: JSONNode, _ key: String) throws(RowProblem) -> String {
    guard node[key]?.elements != nil else { return try filledText(node, key) }
    guard let last = try messages(node, key).last, last.role == .assistant, !last.content.isEmpty
    else { throw RowProblem("\(key) does not end with an answer of the assistant") }
    return last.content
  }

  private typealias Transcript = (prompt: [Conversation.Message], answer: String)

  private static func transcript(_ node: JSONNode, _ key: String) throws(RowProblem) -> Transcript {
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

  private static func votedPair(_ node: JSONNode) throws(RowProblem) -> PreferencePair {
    let first = try filledText(node, "response1"), second = try filledText(node, "response2")
    var votes = [0, 0, 0]
    for number in 1...9 {
      guard let vote = node["annotator\(number)"] else { break }
      guard let value = vote.int, votes.indices.contains(value) else {
        throw RowProblem("annotator\(number) voted \(vote.inWords), not 0, 1 or 2")
      }
      votes[value] += 1
    }
    guard votes.reduce(0, +) > 0 else { throw RowProblem("nobody voted: it has no annotator1") }
    guard first != second else { throw RowProblem("both answers are the same") }
    let isFirst = votes[1] >= votes[2]
    return PreferencePair(
      prompt: try prompt(node), chosen: isFirst ? first : second,
      rejected: isFirst ? second : first, isTie: votes[1] == votes[2])
  }
}
