public import Tensors
public import Tokenization

/// A text to measure a model on: one document without special tokens, read in consecutive windows.
///
/// Window `i` of T inputs predicts tokens `iT + 1 ... iT + T`; the last window may be shorter.
/// Nothing is carried from one window to the next.
public struct EvaluationText: Sendable {
  private let tokens: [UInt32]
  /// Bytes of each id.
  private let byteCounts: [Int]
  /// Bytes of the whole text.
  public let byteCount: Int

  /// Encodes `text` as one document.
  ///
  /// - Throws: ``TokenizerError`` where the tokenizer cannot encode it.
  public init(_ text: [UInt8], tokenizer: Tokenizer) throws(TokenizerError) {
    self.init(tokens: try tokenizer.encode(text), tokenizer: tokenizer)
  }

  init(tokens: [UInt32], tokenizer: Tokenizer) {
    self.tokens = tokens
    byteCounts = (0..<tokenizer.vocabularySize).map { tokenizer.byteCount(of: UInt32($0)) }
    byteCount = tokens.reduce(0) { [byteCounts] in $0 + byteCounts[Int($1)] }
  }

  /// Tokens of the whole text; the first is read but not predicted.
  public var tokenCount: Int { tokens.count }

  /// The windows that an evaluation reads: all, or as many full ones as the limit holds (at least
  /// one), evenly spaced.
  private func windows(sequenceLength: Int, tokenLimit: Int?) -> [Int] {
    precondition(sequenceLength > 0, "a window needs a position")
    guard tokens.count > 1 else { return [] }
    let count = (tokens.count - 2) / sequenceLength + 1
    guard let tokenLimit, tokens.count - 1 > tokenLimit else { return Array(0..<count) }
    let chosen = min(max(1, tokenLimit / sequenceLength), count)
    return (0..<chosen).map { $0 * count / chosen }
  }

  /// The targets of window `index`, as a range of token positions.
  private func targets(_ index: Int, _ sequenceLength: Int) -> Range<Int> {
    let first = index * sequenceLength
    return first + 1..<min(first + sequenceLength, tokens.count - 1) + 1
  }

  /// Slice `slice` of `sliceCount` of an evaluation: a contiguous run of its windows.
  ///
  /// - Parameter tokenLimit: Most tokens the evaluation reads; nil for the whole text.
  public func slice(
    _ slice: Int, of sliceCount: Int, sequenceLength: Int, tokenLimit: Int?
  ) -> TokenSlice {
    precondition(0 <= slice && slice < sliceCount, "slice \(slice) of \(sliceCount)")
    let chosen = windows(sequenceLength: sequenceLength, tokenLimit: tokenLimit)
    let first = slice * chosen.count / sliceCount
    let last = (slice + 1) * chosen.count / sliceCount
    return TokenSlice(
      sequences: chosen[first..<last].map { index in
        let range = targets(index, sequenceLength)
        return TokenSlice.Sequence(
          tokens: Array(tokens[range.lowerBound - 1..<range.upperBound]),
          isTarget: [Bool](repeating: true, count: range.count))
      })
  }

  /// Predictions of an evaluation, and the bytes of text they stand for.
  ///
  /// Bits per byte = sum of losses in nats / ln 2 / `byteCount`.
  public func coverage(
    sequenceLength: Int, tokenLimit: Int?
  ) -> (tokenCount: Int, byteCount: Int) {
    var tokenCount = 0
    var byteCount = 0
    for index in windows(sequenceLength: sequenceLength, tokenLimit: tokenLimit) {
      let range = targets(index, sequenceLength)
      tokenCount += range.count
      for position in range { byteCount += byteCounts[Int(tokens[position])] }
    }
    return (tokenCount, byteCount)
  }
}
