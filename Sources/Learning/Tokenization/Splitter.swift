/// How `bpe` cuts text into pieces before it merges bytes; a merge never crosses a cut.
public enum Splitter: String, CaseIterable, Sendable {
  /// GPT-4, as tiktoken cuts.
  case cl100k
  /// Llama 3, and GPT-4 as Hugging Face's files have it: `cl100k` but for white space at the end
  /// of a text, which it cuts after the last line end.
  case llama3
  /// GPT-2 and GPT-3.
  case gpt2
  /// GPT-4o and gpt-oss.
  case o200k

  /// The splitter as a regular expression, as tokenizer.json names it.
  ///
  /// tiktoken writes `\p{N}{1,3}+` in `cl100k`. To Oniguruma, which reads tokenizer.json, that is
  /// a run of any length, so the file must not say it, and a file that does means something else.
  public var pattern: String {
    switch self {
    case .cl100k:
      #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}|"#
        + #" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"#
    case .llama3:
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"#
        + #" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    case .gpt2:
      #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    case .o200k:
      #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"#
        + #"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"#
        + #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"#
        + #"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"#
        + #"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }
  }

  /// Other expressions that cut the same way, in files of others.
  private var otherPatterns: [String] {
    switch self {
    case .gpt2:
      [
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
        #"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"#,
      ]
    case .cl100k, .llama3, .o200k: []
    }
  }

  /// The splitter that a regular expression stands for, or nil for one this program does not know.
  init?(pattern: String) {
    let known = Self.allCases.first { $0.pattern == pattern || $0.otherPatterns.contains(pattern) }
    guard let known else { return nil }
    self = known
  }

  /// What the splitter does, for the scanner.
  var rules: SplitRules {
    switch self {
    case .gpt2:
      SplitRules(
        contractions: .first, wordPrefix: .oneSpace, digitCountMax: .max,
        takesSpaceIntoNumber: true)
    case .llama3:
      SplitRules(contractions: .firstInAnyCase, symbolTail: .newlines, cutsAfterNewlines: true)
    case .cl100k:
      SplitRules(
        contractions: .firstInAnyCase, symbolTail: .newlines, cutsAfterNewlines: true,
        keepsLastWhitespaceWhole: true)
    case .o200k:
      SplitRules(
        contractions: .afterWord, wordKinds: [.letter, .mark], cutsWordsByCase: true,
        symbolTail: .newlinesAndSlashes, cutsAfterNewlines: true)
    }
  }
}

extension Splitter {
  /// The pieces of `text`, in order.
  package func pieces(of text: String) -> [[UInt8]] {
    let bytes = Array(text.utf8)
    let rules = rules
    var pieces: [[UInt8]] = []
    var start = 0
    while start < bytes.count {
      let end = rules.pieceEnd(in: bytes.span, from: start, to: bytes.count)
      pieces.append(Array(bytes[start..<end]))
      start = end
    }
    return pieces
  }
}
