internal import Settings
public import Tensors
public import Tokenization

/// A text to measure a model on: one document without special tokens, read in consecutive windows.
///
/// Window `i` of T inputs predicts tokens `iT + 1 ... iT + T`; the last window may be shorter.
/// Nothing is carried from one window to the next. Of a mixture it is several such texts, of which
/// an evaluation reads windows in the proportion of the weights.
public struct EvaluationText: Sendable {
  /// Tokens of each text.
  private let texts: [[UInt32]]
  private let order: MixtureOrder
  /// Bytes of each id.
  private let byteCounts: [Int]
  /// Bytes of everything.
  public let byteCount: Int

  /// Encodes `text` as one document.
  ///
  /// - Throws: ``TokenizerError`` where the tokenizer cannot encode it.
  public init(_ text: [UInt8], tokenizer: Tokenizer) throws(TokenizerError) {
    self.init(
      [try tokenizer.encode(text)], order: MixtureOrder(weights: [1]), tokenizer: tokenizer)
  }

  init(_ texts: [[UInt32]], order: MixtureOrder, tokenizer: Tokenizer) {
    self.texts = texts
    self.order = order
    byteCounts = (0..<tokenizer.vocabularySize).map { tokenizer.byteCount(of: UInt32($0)) }
    byteCount = texts.joined().reduce(0) { [byteCounts] in $0 + byteCounts[Int($1)] }
  }

  /// Tokens of everything; the first of a text is read but not predicted.
  public var tokenCount: Int { texts.reduce(0) { $0 + $1.count } }

  private struct Window {
    /// Index of its text.
    var text: Int
    /// What it predicts, as positions of tokens.
    var targets: Range<Int>
  }

  /// The windows that an evaluation reads, text by text: all, or as many full ones as the limit
  /// holds (at least one), of each text evenly spaced. Of several texts no more than the first of
  /// them to run out allows, so that each has its share.
  private func windows(sequenceLength: Int, tokenLimit: Int?) -> [Window] {
    precondition(sequenceLength > 0, "a window needs a position")
    let predictions = texts.map { max($0.count - 1, 0) }
    let counts = predictions.map { ($0 + sequenceLength - 1) / sequenceLength }
    var most = counts.reduce(0, +)
    if let tokenLimit, predictions.reduce(0, +) > tokenLimit {
      most = min(max(1, tokenLimit / sequenceLength), most)
    }
    let tooMany = (1..<most + 1).partitioningIndex { [order] total in
      zip(order.counts(ofFirst: total), counts).contains { $0 > $1 }
    }
    return order.counts(ofFirst: tooMany - 1).enumerated().flatMap { text, chosen in
      (0..<chosen).map { place in
        let first = place * counts[text] / chosen * sequenceLength
        let last = min(first + sequenceLength, predictions[text])
        return Window(text: text, targets: first + 1..<last + 1)
      }
    }
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
      sequences: chosen[first..<last].map { window in
        let range = window.targets
        return TokenSlice.Sequence(
          tokens: Array(texts[window.text][range.lowerBound - 1..<range.upperBound]),
          isTarget: [Bool](repeating: true, count: range.count))
      })
  }

  /// The index of the text that each window of an evaluation is of, slice after slice.
  func places(sequenceLength: Int, tokenLimit: Int?) -> [Int] {
    windows(sequenceLength: sequenceLength, tokenLimit: tokenLimit).map(\.text)
  }

  /// Predictions of an evaluation, and the bytes of text they stand for.
  ///
  /// Bits per byte = sum of losses in nats / ln 2 / `byteCount`.
  public func coverage(
    sequenceLength: Int, tokenLimit: Int?
  ) -> (tokenCount: Int, byteCount: Int) {
    var tokenCount = 0
    var byteCount = 0
    for window in windows(sequenceLength: sequenceLength, tokenLimit: tokenLimit) {
      tokenCount += window.targets.count
      for token in texts[window.text][window.targets] { byteCount += byteCounts[Int(token)] }
    }
    return (tokenCount, byteCount)
  }
}
