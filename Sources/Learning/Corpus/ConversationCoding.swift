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
    append(.bos, to: &result)
    var opening = ""
    for message in conversation.messages {
      switch message.role {
      // There is no token for the system: it opens the first user message.
      case .system: opening = message.content + "\n\n"
      case .user:
        append(.userStart, to: &result)
        try append(opening + message.content, isLearned: false, to: &result)
        append(.userEnd, to: &result)
        opening = ""
      case .assistant:
        append(.assistantStart, to: &result)
        try append(message.content, isLearned: true, to: &result)
        append(.assistantEnd, isLearned: true, to: &result)
      }
    }
    if opensAnswer { append(.assistantStart, to: &result) }
    return result
  }

  /// A prompt opened for an answer, and the answer with the token that ends it: these alone are
  /// learned, not what the assistant says in the prompt.
  ///
  /// - Parameter answer: nil for the prompt alone.
  mutating func encode(
    _ prompt: Conversation, answer: String?
  ) throws(TokenizerError) -> EncodedConversation {
    let opened = try encode(prompt, opensAnswer: true).tokens
    var result = EncodedConversation(
      tokens: opened, isLearned: [Bool](repeating: false, count: opened.count))
    guard let answer else { return result }
    try append(answer, isLearned: true, to: &result)
    append(.assistantEnd, isLearned: true, to: &result)
    return result
  }

  private func append(
    _ token: SpecialToken, isLearned: Bool = false, to result: inout EncodedConversation
  ) {
    guard let id = tokens[token] else { preconditionFailure("\(token) has no id") }
    result.tokens.append(id)
    result.isLearned.append(isLearned)
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
