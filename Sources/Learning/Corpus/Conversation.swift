/// What was said, in order: perhaps a system message, then user and assistant.
public struct Conversation: Equatable, Sendable {
  public enum Role: String, CaseIterable, Sendable { case system, user, assistant }

  public struct Message: Equatable, Sendable {
    public var role: Role
    public var content: String

    public init(_ role: Role, _ content: String) {
      self.role = role
      self.content = content
    }
  }

  public var messages: [Message]

  public init(_ messages: [Message]) { self.messages = messages }

  /// A question and its answer.
  public init(prompt: String, answer: String) {
    self.init([Message(.user, prompt), Message(.assistant, answer)])
  }

  /// nil if it has no other exchange.
  var withoutFirstExchange: Conversation? {
    messages.count > 2 ? Conversation(Array(messages.dropFirst(2))) : nil
  }

  /// What is wrong with it, if it cannot be written with the chat template.
  var problem: String? {
    for (index, message) in messages.enumerated() {
      if message.role == .system && index > 0 { return "a system message may only come first" }
    }
    let turns = messages.drop { $0.role == .system }
    guard let first = turns.first else { return "it has no message of a user or an assistant" }
    // It opens the user's message, which may not come later: the answer before would not see it.
    return turns.count < messages.count && first.role != .user
      ? "behind a system message comes no user message" : nil
  }
}

/// Two answers to the same conversation, one preferred.
public struct PreferencePair: Equatable, Sendable {
  /// Ends with what the user said last.
  public var prompt: Conversation
  public var chosen, rejected: String
  /// Whether neither was preferred.
  public var isTie: Bool

  public init(prompt: Conversation, chosen: String, rejected: String, isTie: Bool = false) {
    self.prompt = prompt
    self.chosen = chosen
    self.rejected = rejected
    self.isTie = isTie
  }
}
