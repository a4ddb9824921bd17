public import Tensors
public import Tokenization

/// A conversation as a model reads it.
public struct EncodedConversation: Equatable, Sendable {
  public var tokens: [UInt32]
  /// One for each token: whether the assistant wrote it (the token that ends its message included),
  /// so that predicting it is to be learned.
  public var isLearned: [Bool]

  public init(tokens: [UInt32], isLearned: [Bool]) {
    precondition(
      tokens.count == isLearned.count, "\(tokens.count) tokens, \(isLearned.count) marks")
    self.tokens = tokens
    self.isLearned = isLearned
  }

  /// As a window of its own.
  public var sequence: TokenSlice.Sequence {
    TokenSlice.Sequence(tokens: tokens, isTarget: Array(isLearned.dropFirst()))
  }
}

/// Writes conversations as ``ChatTemplate`` says, with the tokenizer's special tokens, which no
/// text of a message can bring in.
public struct ConversationEncoder {
  private let tokens: [SpecialToken: UInt32]
  private var encoder: TokenEncoder

  /// - Throws: ``CorpusError/noChatTokens``.
  public init(_ tokenizer: Tokenizer) throws(CorpusError) {
    var tokens: [SpecialToken: UInt32] = [:]
    for token in SpecialToken.allCases {
      guard let id = tokenizer.id(of: token) else { throw .noChatTokens(missing: token.rawValue) }
      tokens[token] = id
    }
    self.tokens = tokens
    encoder = tokenizer.makeEncoder()
  }

  /// - Parameter opensAnswer: Ends with the token that opens an answer of the assistant, for
  ///   whoever is to go on from there.
  public mutating func encode(
    _ conversation: Conversation, opensAnswer: Bool = false
  ) throws(TokenizerError) -> EncodedConversation {
    var result = EncodedConversation(tokens: [], isLearned: [])
    func add(_ token: SpecialToken, isLearned: Bool = false) {
      guard let id = tokens[token] else { preconditionFailure("\(token) has no id") }
      result.tokens.append(id)
      result.isLearned.append(isLearned)
    }
    add(.bos)
    var opening = ""
    for message in conversation.messages {
      switch message.role {
      // There is no token for the system: it opens the first user message.
      case .system: opening = message.content + "\n\n"
      case .user:
        add(.userStart)
        try append(opening + message.content, isLearned: false, to: &result)
        add(.userEnd)
        opening = ""
      case .assistant:
        add(.assistantStart)
        try append(message.content, isLearned: true, to: &result)
        add(.assistantEnd, isLearned: true)
      }
    }
    if opensAnswer { add(.assistantStart) }
    return result
  }

  private mutating func append(
    _ text: String, isLearned: Bool, to result: inout EncodedConversation
  ) throws(TokenizerError) {
    let bytes = Array(text.utf8)
    try encoder.encode(bytes, range: 0..<bytes.count, into: &result.tokens)
    let added = result.tokens.count - result.isLearned.count
    result.isLearned.append(contentsOf: repeatElement(isLearned, count: added))
  }
}
