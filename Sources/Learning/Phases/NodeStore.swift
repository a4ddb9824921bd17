public import Planning
public import Tensors

/// The sums of an operation that a worker holds: one for each node of the slice tree.
///
/// Slices are computed in ascending order. As soon as both children of a node are held, the right
/// one is added to the left one, which becomes the node; the freed buffer is used again. A right
/// leaf of one micro-batch is added while it is computed and needs no buffer at all. What is held
/// survives an abandoned exchange; ``begin(step:slices:)`` of the next operation frees it.
public final class NodeStore {
  private let work: any SliceWork
  public let tree: SliceTree
  /// The largest nodes held.
  public private(set) var nodes: [SliceNode: NodeSum] = [:]
  /// Tokens and losses of the nodes held.
  public private(set) var statistics: [SliceNode: SliceStatistics] = [:]
  /// Buffers allocated so far, in use or free.
  public private(set) var bufferCount = 0
  private var free: [NodeSum] = []
  /// The slice under way and the nodes that it completes, from the leaf up; empty between slices.
  private var path: [SliceNode] = []
  /// The additions that make those nodes, in order: `right` into `left`.
  private var merges: [(left: NodeSum, right: NodeSum)] = []
  /// Where the last node of ``path`` will lie.
  private var pathEnd: NodeSum?
  private var hasMerged = false
  private var missing: [Int] = []

  public init(_ work: any SliceWork, sliceCount: Int) {
    self.work = work
    tree = SliceTree(sliceCount: sliceCount)
  }

  /// Frees what an earlier operation left and begins the one with index `step`.
  ///
  /// - Parameter slices: Of all workers.
  public func begin(step: Int, slices: [TokenSlice]) {
    release()
    work.begin(step: step, slices: slices)
  }

  /// Frees every node, as after an update; buffers are kept for the next step.
  public func release() {
    for buffer in nodes.values { free.append(buffer) }
    nodes.removeAll(keepingCapacity: true)
    statistics.removeAll(keepingCapacity: true)
  }

  /// Frees the nodes that do not lie whole inside `slices`: others sum theirs.
  public func keep(only slices: some Sequence<Int>) {
    let kept = Set(slices)
    for node in nodes.keys.sorted() where !node.slices.allSatisfy(kept.contains) {
      if let buffer = nodes.removeValue(forKey: node) { free.append(buffer) }
      statistics[node] = nil
    }
  }

  /// Slices inside the nodes held.
  public var heldSlices: Set<Int> { Set(nodes.keys.flatMap(\.slices)) }

  /// The nodes held once the slice under way is complete; an exchange that starts while it is
  /// computed sends these. Equals ``nodes`` between slices.
  public var upcomingNodes: [SliceNode: NodeSum] {
    var upcoming = nodes
    for child in path.dropLast() { upcoming[child.sibling] = nil }
    if let last = path.last { upcoming[last] = pathEnd }
    return upcoming
  }

  /// Computes those of `slices` that are not held, and merges.
  ///
  /// - Parameters:
  ///   - tokens: The sequences of a slice.
  ///   - isCancelled: true makes the store stop soon. Finished slices stay. A slice that has begun
  ///     to change the gradient of another node is finished first.
  ///   - ready: Gets ranges of elements that are final in all nodes held, ascending and without
  ///     gaps from 0, while the last slice is computed. A store that lacks no slice reports the
  ///     whole range at once.
  /// - Returns: Whether all of `slices` are held now; false when cancelled.
  public func compute(
    _ slices: some Sequence<Int>, tokens: (Int) -> TokenSlice, isCancelled: () -> Bool,
    ready: (Range<Int>) -> Void
  ) -> Bool {
    missing.removeAll(keepingCapacity: true)
    for slice in slices where !nodes.keys.contains(where: { $0.slices.contains(slice) }) {
      missing.insert(slice, at: missing.firstIndex { $0 > slice } ?? missing.endIndex)
    }
    guard let last = missing.last else {
      ready(0..<(nodes.values.first.map(work.elementCount) ?? 0))
      return true
    }
    for slice in missing {
      if isCancelled() { return false }
      let isDone = compute(
        slice, tokens(slice), isCancelled: isCancelled, isLast: slice == last, ready: ready)
      if !isDone { return false }
    }
    return true
  }

  /// One slice into a buffer of its own, or into its left sibling's; then up the tree.
  private func compute(
    _ slice: Int, _ tokens: TokenSlice, isCancelled: () -> Bool, isLast: Bool,
    ready: (Range<Int>) -> Void
  ) -> Bool {
    let leaf = SliceNode.leaf(slice)
    let isJoinable = !leaf.isLeft && work.isJoinable(tokens)
    let sibling = isJoinable ? nodes[leaf.sibling] : nil
    let buffer = sibling ?? takeBuffer()
    climb(from: leaf, in: buffer, isJoined: sibling != nil)
    defer {
      path.removeAll(keepingCapacity: true)
      merges.removeAll(keepingCapacity: true)
      pathEnd = nil
    }

    // A merge changes a node that was complete, hence no cancelling once one has begun.
    hasMerged = false
    let result = work.compute(
      tokens, slice: slice, into: buffer, accumulate: sibling != nil,
      isCancelled: { !hasMerged && isCancelled() },
      finished: { range in
        for merge in merges {
          hasMerged = true
          work.add(range, of: merge.right, into: merge.left)
        }
        if isLast { ready(range) }
      })
    guard let result else {
      if sibling == nil { free.append(buffer) }
      return false
    }
    hold(result)
    return true
  }

  /// Finds the nodes that a leaf completes, and the additions that make them.
  private func climb(from leaf: SliceNode, in buffer: NodeSum, isJoined: Bool) {
    var (node, top) = (leaf, buffer)
    path.append(node)
    if isJoined {
      node = node.parent
      path.append(node)
    }
    while node != tree.root, let other = nodes[node.sibling] {
      merges.append(node.isLeft ? (left: top, right: other) : (left: other, right: top))
      if !node.isLeft { top = other }
      node = node.parent
      path.append(node)
    }
    pathEnd = top
  }

  /// Puts the end of the path in the place of the nodes that it was made of.
  private func hold(_ result: SliceStatistics) {
    var sum = result
    for child in path.dropLast() {
      if let other = statistics.removeValue(forKey: child.sibling) {
        sum = child.isLeft ? sum + other : other + sum
      }
      nodes[child.sibling] = nil
    }
    for merge in merges { free.append(merge.right) }
    guard let node = path.last else { preconditionFailure("a slice completes at least its leaf") }
    nodes[node] = pathEnd
    statistics[node] = sum
  }

  private func takeBuffer() -> NodeSum {
    if let buffer = free.popLast() { return buffer }
    bufferCount += 1
    return work.makeSum()
  }
}
