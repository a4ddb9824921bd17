public import Corpus

/// Why a model cannot be measured.
public enum EvaluationError: Error, Equatable, Sendable {
  /// The question, asked as chosen, leaves no room for its answers.
  case tooLong(question: String, tokenCount: Int, sequenceLength: Int)
  /// A text that the tokenizer cannot encode, or a tokenizer without tokens for conversations.
  case corpus(CorpusError)
  /// The model's numbers are infinite or none.
  case notFinite(what: String)
}

extension EvaluationError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .tooLong(let question, let tokenCount, let sequenceLength):
      "\"\(question)\" with what stands before and after it has \(tokenCount) tokens, the model's "
        + "context \(sequenceLength); fewer --shots or --turns leave more room"
    case .corpus(let error): "\(error)"
    case .notFinite(let what):
      "\(what) is no finite number: the model's weights are too large or no numbers"
    }
  }
}
