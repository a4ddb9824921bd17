public import Corpus
internal import Tensors
public import Tokenization

/// How questions are put to a model, and how its answers end.
public struct QuestionForm {
  public enum Style: Equatable, Sendable {
    /// The chat template: a message of the user, an answer of the assistant.
    case chat
    /// `Q: ...` and `A: ...`, a line each, after some that are answered.
    case text(shots: [TestQuestion])
  }

  /// Tokens that end an answer.
  public let stopTokens: Set<UInt32>
  private let style: Style
  private let tokenizer: Tokenizer
  private var conversations: ConversationEncoder?
  /// What stands before every question.
  private var opening: [UInt32] = []
  /// What stands after every answer; in text a line's end, which is encoded with the answer.
  private let ending: UInt32?

  /// - Throws: ``EvaluationError/corpus(_:)`` if the tokenizer lacks tokens for a conversation, or
  ///   cannot encode the shots.
  public init(_ style: Style, tokenizer: Tokenizer) throws(EvaluationError) {
    self.style = style
    self.tokenizer = tokenizer
    switch style {
    case .chat:
      do { conversations = try ConversationEncoder(tokenizer) } catch { throw .corpus(error) }
      ending = tokenizer.id(of: .assistantEnd)
      stopTokens = Set(ending.map { [$0] } ?? [])
    case .text(let shots):
      ending = nil
      let lineEnds = (0..<UInt32(tokenizer.vocabularySize)).filter {
        tokenizer.decode([$0]).contains(Self.lineEnd)
      }
      stopTokens = Set(lineEnds + tokenizer.specials.map(\.id))
      opening = tokenizer.bos.map { [$0] } ?? []
      for shot in shots {
        opening += try encode(Self.asked(shot))
        opening += try encode(Self.line(TestQuestion.short(shot.key)))
      }
    }
  }

  private static let lineEnd = UInt8(ascii: "\n")
  private static func asked(_ question: TestQuestion) -> String { "Q: \(question.text)\nA:" }
  private static func line(_ answer: String) -> String { " \(answer)\n" }

  /// All that a model reads before it answers.
  ///
  /// - Parameter earlier: What was said before, of a conversation.
  /// - Throws: ``EvaluationError/corpus(_:)`` for a text that cannot be encoded.
  public mutating func prompt(
    _ question: TestQuestion, after earlier: Conversation = Conversation([])
  ) throws(EvaluationError) -> [UInt32] {
    guard style == .chat else { return opening + (try encode(Self.asked(question))) }
    do throws(TokenizerError) {
      return try conversations?.encode(
        Conversation(earlier.messages + [.init(.user, question.text)]), opensAnswer: true
      ).tokens ?? []
    } catch {
      throw .corpus(.tokenizer(path: question.text, error))
    }
  }

  /// An answer as the model would give it, with what ends it.
  ///
  /// - Throws: ``EvaluationError/corpus(_:)`` for a text that cannot be encoded.
  public func completion(_ answer: String) throws(EvaluationError) -> [UInt32] {
    guard let ending else { return try encode(Self.line(answer)) }
    return try encode(answer) + [ending]
  }

  /// The text of an answer without its end; nil if it is not UTF-8.
  public func text(_ answer: [UInt32]) -> String? {
    var bytes = tokenizer.decode(answer)[...]
    if style != .chat {
      bytes = bytes.prefix { $0 != Self.lineEnd }
      if bytes.first == UInt8(ascii: " ") { bytes = bytes.dropFirst() }
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private func encode(_ text: String) throws(EvaluationError) -> [UInt32] {
    do throws(TokenizerError) { return try tokenizer.encode(text) } catch {
      throw .corpus(.tokenizer(path: text, error))
    }
  }
}
