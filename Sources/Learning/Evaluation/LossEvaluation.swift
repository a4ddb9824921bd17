internal import Planning
public import Tensors
public import Transformer

/// Windows of consecutive tokens, as a validation reads them: window `i` of length `T` predicts
/// tokens `i T + 1 ... i T + T`; the last may be shorter. Nothing is carried from one to the next.
public func validationWindows(of tokens: [UInt32], length: Int) -> [TokenSlice.Sequence] {
  precondition(length > 0, "a window of \(length) tokens predicts nothing")
  return stride(from: 0, to: tokens.count - 1, by: length).map { start in
    let end = min(start + length, tokens.count - 1)
    return TokenSlice.Sequence(
      tokens: Array(tokens[start...end]), isTarget: Array(repeating: true, count: end - start))
  }
}

extension Transformer {
  /// The losses of windows, summed as a run's validation sums them: cut into `sliceCount` runs of
  /// windows, `microbatch` windows at a time, then along the slice tree.
  ///
  /// - Parameter progress: Told the share of the windows that has been read, 0 to 1.
  /// - Precondition: `microbatch` windows fit ``tokenCapacity``.
  public func evaluate(
    _ windows: [TokenSlice.Sequence], microbatch: Int, sliceCount: Int,
    progress: (Double) -> Void = { _ in }
  ) -> SliceStatistics {
    var batch = Microbatch(tokenCapacity: tokenCapacity)
    func leaf(_ slice: Int) -> SliceStatistics {
      let range = windows.count * slice / sliceCount..<windows.count * (slice + 1) / sliceCount
      let tokens = TokenSlice(sequences: Array(windows[range]))
      var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
      for start in stride(from: 0, to: range.count, by: microbatch) {
        let end = min(start + microbatch, range.count)
        batch.load(start..<end, of: tokens, firstToken: 0)
        sum = sum + loss(batch)
        progress(Double(range.lowerBound + end) / Double(windows.count))
      }
      return sum
    }
    func sum(_ node: SliceNode) -> SliceStatistics {
      node.level == 0 ? leaf(node.index) : sum(node.left) + sum(node.right)
    }
    return sum(SliceTree(sliceCount: sliceCount).root)
  }
}
