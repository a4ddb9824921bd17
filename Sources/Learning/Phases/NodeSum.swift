public import Tensors

/// What the slices under one node of the slice tree add up to: its own memory, reused operation
/// after operation.
///
/// Of a training step the gradient: for each trained model its flat space, `[layout.count]`, then
/// its look-up part at full capacity; that of adapters is empty. The flat part of an untied
/// embedding is undefined until the update fills it from the look-up part. Of a rollout its
/// answers.
public final class NodeSum: Sendable {
  public let windows: [SharedRows<Float>]

  public init(counts: [Int]) {
    windows = counts.map { AlignedStorage(count: max(1, $0), filledWith: Float(0)).rows[0..<$0] }
  }
}

/// How the slices of an operation are computed. One thread calls it.
public protocol SliceWork: AnyObject {
  /// Memory for one node.
  func makeSum() -> NodeSum

  /// The part of each window that the begun operation uses. Elements are counted through these.
  func windows(of sum: NodeSum) -> [SharedRows<Float>]

  /// How the elements are cut for the exchange, in the order in which they are ready.
  var buckets: [Range<Int>] { get }

  /// Learns what the operation with index `step` is to compute.
  ///
  /// - Parameter slices: Of all workers.
  func begin(step: Int, slices: [TokenSlice])

  /// Whether a slice may be computed into the sum of its left sibling, with the same bits as adding
  /// afterwards.
  func isJoinable(_ tokens: TokenSlice) -> Bool

  /// Computes one slice.
  ///
  /// - Parameters:
  ///   - accumulate: Whether it joins its sibling; else `sum` is overwritten.
  ///   - isCancelled: true makes it stop soon.
  ///   - finished: Gets ranges of elements that are final, ascending and without gaps from 0.
  /// - Returns: nil when cancelled; an overwritten sum is then worthless.
  func compute(
    _ tokens: TokenSlice, slice: Int, into sum: NodeSum, accumulate: Bool,
    isCancelled: () -> Bool, finished: (Range<Int>) -> Void
  ) -> SliceStatistics?

  /// Adds elements of one node to those of another.
  func add(_ range: Range<Int>, of right: NodeSum, into left: NodeSum)
}

extension SliceWork {
  /// Elements of a node in the begun operation.
  func elementCount(of sum: NodeSum) -> Int { windows(of: sum).reduce(0) { $0 + $1.count } }
}
