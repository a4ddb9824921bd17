public import Corpus
public import Tokenization

/// Why a message cannot be answered.
public enum ChatError: Error, Equatable, CustomStringConvertible {
  /// It leaves no room for an answer, even alone.
  case tooLong(tokenCount: Int, context: Int)
  case tokenizer(TokenizerError)

  public var description: String {
    switch self {
    case .tooLong(let tokenCount, let context):
      "the message has \(tokenCount) tokens with its marks, the model's context \(context)"
    case .tokenizer(let error): "\(error)"
    }
  }
}

/// A conversation with a model: all that was said, and the part that the model still sees.
public struct Chat {
  /// Since the beginning: a message of the user, its answer, and so on.
  public private(set) var messages: [Conversation.Message] = []
  /// Messages that the model no longer sees: the oldest exchanges.
  public private(set) var leftOutCount = 0
  private let context: Int
  private let answerRoom: Int
  private var encoder: ConversationEncoder

  /// - Parameters:
  ///   - context: Tokens that the model sees.
  ///   - answerRoom: Tokens that exchanges make room for; a message alone may leave less.
  /// - Throws: ``CorpusError/noChatTokens``.
  public init(tokenizer: Tokenizer, context: Int, answerRoom: Int) throws(CorpusError) {
    self.context = context
    self.answerRoom = answerRoom
    encoder = try ConversationEncoder(tokenizer)
  }

  /// What the model is to continue in answer to `text`. Exchanges that no longer fit are left out
  /// from now on, the oldest first, each as a whole.
  public mutating func prompt(for text: String) throws(ChatError) -> [UInt32] {
    while true {
      let seen = messages[leftOutCount...] + [Conversation.Message(.user, text)]
      let tokens: [UInt32]
      do {
        tokens = try encoder.encode(Conversation(Array(seen)), opensAnswer: true).tokens
      } catch {
        throw .tokenizer(error)
      }
      if tokens.count + answerRoom <= context { return tokens }
      guard leftOutCount < messages.count else {
        guard tokens.count < context else {
          throw .tooLong(tokenCount: tokens.count, context: context)
        }
        return tokens
      }
      leftOutCount += 2
    }
  }

  /// Notes an exchange.
  public mutating func add(_ text: String, answer: String) {
    messages += [Conversation.Message(.user, text), Conversation.Message(.assistant, answer)]
  }

  /// Begins again.
  public mutating func reset() {
    messages = []
    leftOutCount = 0
  }
}
