/// What can be wrong with a tokenizer file, or with text handed to a tokenizer.
public enum TokenizerError: Error, Equatable, Sendable {
  /// The text is not UTF-8 from this byte on.
  case invalidUTF8(byteOffset: Int)
  /// A character that a `characters` tokenizer did not meet in its training text.
  case unknownCharacter(scalar: UInt32, byteOffset: Int)
  /// There is no text to train on.
  case emptyText
  /// The text has no more pairs to merge.
  case vocabularyTooLarge(requested: Int, reachable: Int)
  /// Bytes and special tokens alone need more ids than asked for.
  case vocabularyTooSmall(requested: Int, least: Int)
  /// tokenizer.json is not JSON.
  case malformedJSON(JSONError)
  /// tokenizer.json is JSON, but this part of it is missing or of the wrong kind.
  case malformedTokenizer(key: String, problem: String)
  /// tokenizer.json asks for something that this program does not do.
  case unsupported(key: String, found: String, supported: String)
  /// An id that the vocabulary does not have.
  case unknownToken(id: UInt32, vocabularySize: Int)
}

extension TokenizerError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .invalidUTF8(let offset):
      "the text is not UTF-8 at byte \(offset); convert it first (iconv -t UTF-8)"
    case .unknownCharacter(let scalar, let offset):
      "the character U+\(hex(scalar)) at byte \(offset) does not occur in the training text, so a "
        + "`characters` tokenizer has no id for it; use `bytes` or `bpe`"
    case .emptyText:
      "there is no text to train a tokenizer on"
    case .vocabularyTooLarge(let requested, let reachable):
      "this text has too few distinct pairs for a vocabulary of \(requested); "
        + "set it to \(reachable) or less, or give more text"
    case .vocabularyTooSmall(let requested, let least):
      "a vocabulary of \(requested) is too small: this tokenizer needs at least \(least) ids"
    case .malformedJSON(let error):
      "the tokenizer file is not JSON: \(error)"
    case .malformedTokenizer(let key, let problem):
      "the tokenizer file is damaged at \"\(key)\": \(problem)"
    case .unsupported(let key, let found, let supported):
      "the tokenizer file has \"\(key)\": \(found); supported: \(supported)"
    case .unknownToken(let id, let size):
      "there is no token \(id): the vocabulary ends at \(size - 1)"
    }
  }

  private func hex(_ scalar: UInt32) -> String {
    let digits = String(scalar, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}
