internal import Planning
public import Tensors
public import Transformer

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
      return loss(
        of: TokenSlice(sequences: Array(windows[range])), microbatch: microbatch, by: &batch,
        progress: { progress(Double(range.lowerBound + $0) / Double(windows.count)) })
    }
    func sum(_ node: SliceNode) -> SliceStatistics {
      node.level == 0 ? leaf(node.index) : sum(node.left) + sum(node.right)
    }
    return sum(SliceTree(sliceCount: sliceCount).root)
  }
}
