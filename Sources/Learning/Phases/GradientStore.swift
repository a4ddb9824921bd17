public import Planning
public import Tensors
internal import Operators
internal import Settings
internal import Transformer

/// The gradients of a step that a worker holds: one buffer for each node of the slice tree.
///
/// Slices are computed in ascending order. As soon as both children of a node are held, the right
/// one is added to the left one, which becomes the node; the freed buffer is used again. A right
/// leaf of one micro-batch is added while it is computed and needs no buffer at all. What is held
/// survives an abandoned exchange; ``begin(step:touchedRows:)`` of the next step frees it.
public final class GradientStore {
  public let replica: Replica
  public let tree: SliceTree
  /// The largest nodes held.
  public private(set) var nodes: [SliceNode: NodeGradient] = [:]
  /// Tokens and losses of the nodes held.
  public private(set) var statistics: [SliceNode: SliceStatistics] = [:]
  /// The nodes held once the slice under way is complete; an exchange that starts while it is
  /// computed sends these. Equals ``nodes`` between slices.
  public private(set) var upcomingNodes: [SliceNode: NodeGradient] = [:]
  /// Buffers allocated so far, in use or free.
  public private(set) var bufferCount = 0
  private var free: [NodeGradient] = []
  private var step = 0

  public init(replica: Replica) {
    self.replica = replica
    tree = SliceTree(sliceCount: replica.plan.batch.slices)
  }

  /// Frees what an earlier step left and begins `step`.
  public func begin(step: Int, touchedRows: [UInt32]) {
    release()
    self.step = step
    replica.beginStep(step, touchedRows: touchedRows)
  }

  /// Frees every node, as after an update; buffers are kept for the next step.
  public func release() {
    free.append(contentsOf: nodes.values)
    nodes.removeAll(keepingCapacity: true)
    upcomingNodes = nodes
    statistics.removeAll(keepingCapacity: true)
  }

  /// Slices inside the nodes held.
  public var heldSlices: Set<Int> { Set(nodes.keys.flatMap(\.slices)) }

  /// Computes those of `slices` that are not held, and merges.
  ///
  /// - Parameters:
  ///   - tokens: The sequences of a slice.
  ///   - isCancelled: true makes the store stop soon. Finished slices stay. A slice that has begun
  ///     to change the gradient of another node is finished first.
  ///   - ready: Gets ranges that are final in all nodes held, ascending and without gaps from 0,
  ///     while the last slice is computed; look-up elements count from `layout.count` on. A store
  ///     that lacks no slice reports the whole range at once.
  /// - Returns: Whether all of `slices` are held now; false when cancelled.
  public func compute(
    _ slices: some Sequence<Int>, tokens: (Int) -> TokenSlice, isCancelled: () -> Bool,
    ready: (Range<Int>) -> Void
  ) -> Bool {
    let held = heldSlices
    let missing = slices.filter { !held.contains($0) }.sorted()
    guard let last = missing.last else {
      ready(0..<replica.layout.count + replica.lookupCount)
      return true
    }
    for slice in missing {
      if isCancelled() { return false }
      let isDone = compute(
        slice, tokens(slice), isCancelled: isCancelled, ready: slice == last ? ready : { _ in })
      if !isDone { return false }
    }
    return true
  }

  /// One slice into a buffer of its own, or into its left sibling's; then up the tree.
  private func compute(
    _ slice: Int, _ tokens: TokenSlice, isCancelled: () -> Bool, ready: (Range<Int>) -> Void
  ) -> Bool {
    var node = SliceNode.leaf(slice)
    let isJoinable = !node.isLeft && tokens.sequences.count <= replica.plan.batch.microbatch
    let sibling = isJoinable ? nodes[node.sibling] : nil
    let joins = sibling != nil
    let buffer = sibling ?? takeBuffer()

    // The nodes that this slice completes: each merge adds `right` into `left`.
    var merges: [(left: NodeGradient, right: NodeGradient)] = []
    var top = buffer
    var path = [node]
    if joins {
      node = node.parent
      path.append(node)
    }
    while node != tree.root {
      guard let other = nodes[node.sibling] else { break }
      let pair = node.isLeft ? (left: top, right: other) : (left: other, right: top)
      merges.append(pair)
      top = pair.left
      node = node.parent
      path.append(node)
    }

    upcomingNodes = nodes
    for child in path.dropLast() { upcomingNodes[child.sibling] = nil }
    upcomingNodes[node] = top

    // A merge changes a node that was complete, hence no cancelling once one has begun.
    var hasMerged = false
    let result = replica.computeSlice(
      tokens, step: step, slice: slice, into: buffer, accumulate: joins,
      isCancelled: { !hasMerged && isCancelled() },
      finished: { range in
        for merge in merges {
          hasMerged = true
          add(range, of: merge.right, into: merge.left)
        }
        ready(range)
      })
    guard var sum = result else {
      if !joins { free.append(buffer) }
      upcomingNodes = nodes
      return false
    }

    for child in path.dropLast() {
      if let other = statistics.removeValue(forKey: child.sibling) {
        sum = child.isLeft ? sum + other : other + sum
      }
      nodes[child.sibling] = nil
    }
    free.append(contentsOf: merges.map(\.right))
    nodes[node] = top
    statistics[node] = sum
    return true
  }

  /// Most buffers that computing a run of slices has in use at once.
  ///
  /// - Parameter joinsLeaves: Whether slices are single micro-batches, so that right leaves need
  ///   no buffer.
  public static func bufferCount(
    slices: Range<Int>, sliceCount: Int, joinsLeaves: Bool
  ) -> Int {
    let root = SliceTree(sliceCount: sliceCount).root
    var (held, most): (Set<SliceNode>, Int) = ([], 0)
    for slice in slices {
      var node = SliceNode.leaf(slice)
      let joins = joinsLeaves && held.contains(node.sibling)
      most = max(most, held.count + (joins ? 0 : 1))
      while node != root, held.remove(node.sibling) != nil { node = node.parent }
      held.insert(node)
    }
    return most
  }

  private func takeBuffer() -> NodeGradient {
    if let buffer = free.popLast() { return buffer }
    bufferCount += 1
    return replica.makeGradient()
  }

  /// Adds the elements `range` of a gradient, flat and look-up part counted as one. An untied
  /// embedding has no flat gradient yet, so its part is left out.
  private func add(_ range: Range<Int>, of right: NodeGradient, into left: NodeGradient) {
    let layout = replica.layout
    let flatEnd = replica.plan.model.isHeadTied ? layout.count : replica.transformer.weights.embedding.lowerBound
    let flat = range.clamped(to: 0..<flatEnd)
    if !flat.isEmpty { replica.engine.add(right.flat[flat], into: left.flat[flat]) }
    let lookup = range.clamped(to: layout.count..<layout.count + replica.lookupCount)
    guard !lookup.isEmpty else { return }
    let part = lookup.lowerBound - layout.count..<lookup.upperBound - layout.count
    replica.engine.add(right.lookup[part], into: left.lookup[part])
  }
}
