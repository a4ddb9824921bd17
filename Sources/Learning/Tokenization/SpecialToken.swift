/// Tokens that structure a conversation. They stand at the end of the vocabulary, in this order,
/// and no text that a user writes is ever encoded to one.
public enum SpecialToken: String, CaseIterable, Sendable {
  /// Stands before every document.
  case bos = "<|bos|>"
  case eos = "<|eos|>"
  case pad = "<|pad|>"
  case userStart = "<|user_start|>"
  case userEnd = "<|user_end|>"
  case assistantStart = "<|assistant_start|>"
  case assistantEnd = "<|assistant_end|>"
}
