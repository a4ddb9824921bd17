/// A node of the slice tree: the aligned run of `1 << level` slices that starts at
/// `index << level`.
public struct SliceNode: Hashable, Comparable, Codable, Sendable {
  public let level: Int
  public let index: Int

  public init(level: Int, index: Int) {
    self.level = level
    self.index = index
  }

  public static func leaf(_ slice: Int) -> SliceNode { SliceNode(level: 0, index: slice) }

  public var slices: Range<Int> { (index << level)..<((index + 1) << level) }
  public var parent: SliceNode { SliceNode(level: level + 1, index: index >> 1) }
  public var sibling: SliceNode { SliceNode(level: level, index: index ^ 1) }
  public var left: SliceNode { SliceNode(level: level - 1, index: index << 1) }
  public var right: SliceNode { SliceNode(level: level - 1, index: index << 1 | 1) }
  public var isLeft: Bool { index & 1 == 0 }

  /// By first slice, then smaller first.
  public static func < (a: SliceNode, b: SliceNode) -> Bool {
    (a.slices.lowerBound, a.level) < (b.slices.lowerBound, b.level)
  }
}

/// The fixed binary tree along which slices are summed: `sum[node] = sum[left] + sum[right]`.
///
/// Its shape depends on the plan's slice count alone, so no rounding depends on how many workers
/// share the slices.
public struct SliceTree: Equatable, Sendable {
  /// A power of two.
  public let sliceCount: Int

  public init(sliceCount: Int) {
    precondition(
      sliceCount > 0 && sliceCount & (sliceCount - 1) == 0,
      "slices are a power of two, got \(sliceCount)")
    self.sliceCount = sliceCount
  }

  public var depth: Int { sliceCount.trailingZeroBitCount }
  public var root: SliceNode { SliceNode(level: depth, index: 0) }

  /// The largest nodes that lie whole inside `slices`, ascending.
  public func nodes(covering slices: some Swift.Sequence<Int>) -> [SliceNode] {
    let held = Set(slices)
    func collect(_ node: SliceNode) -> [SliceNode] {
      if node.slices.allSatisfy(held.contains) { return [node] }
      return node.level == 0 ? [] : collect(node.left) + collect(node.right)
    }
    return collect(root)
  }

  /// Deals the slices as one contiguous run to each of `workerCount` workers: the largest share
  /// as small as possible, then as few subtrees in all as possible, then the earliest cuts.
  /// Workers beyond the slice count get an empty run (standby).
  public func deal(workerCount: Int) -> [Range<Int>] {
    precondition(workerCount > 0, "slices are dealt to at least one worker")
    let active = min(workerCount, sliceCount)
    let shareMax = (sliceCount + active - 1) / active
    // best[end] = fewest subtrees that deal slices 0..<end to the first `k` workers.
    var best: [(cost: Int, cuts: [Int])?] = Array(repeating: nil, count: sliceCount + 1)
    best[0] = (0, [])
    for _ in 0..<active {
      var next: [(cost: Int, cuts: [Int])?] = Array(repeating: nil, count: sliceCount + 1)
      for start in 0..<sliceCount {
        guard let (cost, cuts) = best[start] else { continue }
        for end in (start + 1)...min(start + shareMax, sliceCount) {
          let total = cost + nodes(covering: start..<end).count
          if next[end].map({ total < $0.cost }) ?? true { next[end] = (total, cuts + [end]) }
        }
      }
      best = next
    }
    guard let (_, cuts) = best[sliceCount] else {
      preconditionFailure("\(sliceCount) slices do not divide among \(active) workers")
    }
    let runs = zip([0] + cuts, cuts).map { $0..<$1 }
    return runs + Array(repeating: sliceCount..<sliceCount, count: workerCount - active)
  }
}
