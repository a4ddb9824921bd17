internal import CKernels
internal import System
public import Tensors

/// What the machine's memory allows, for `cox bench`: the reads and writes of an operator with next
/// to no arithmetic.
extension Engine {
  /// Bytes that ``probeUpdate(_:gradient:packed:)`` moves for each element: those of AdamW and of
  /// two packed forms of bf16.
  public static let probedBytesPerElement = 32

  /// Reads and writes what an update and its packing do.
  ///
  /// - Parameters:
  ///   - grown: Three windows (for weights and moments), which grow by the gradient.
  ///   - packed: Overwritten. All windows have the gradient's count.
  public func probeUpdate(
    _ grown: [SharedRows<Float>], gradient: SharedRows<Float>, packed: SharedRows<Float>
  ) {
    precondition(
      grown.count == 3 && (grown + [packed]).allSatisfy { $0.count == gradient.count },
      "windows of \(grown.map(\.count)) and \(packed.count), gradient \(gradient.count)")
    // SAFETY: the windows hold `count` elements and outlive the dispatch.
    unsafe run(
      rowKernels.memory.update,
      ck_memory_update_args(
        grown: (grown[0].baseAddress, grown[1].baseAddress, grown[2].baseAddress),
        gradient: gradient.baseAddress, packed: packed.baseAddress, count: gradient.count),
      .optimizer, moving: Self.probedBytesPerElement * gradient.count)
  }

  /// Reads all of `x`, each member its part.
  ///
  /// - Returns: The sum of what was read, in an order that depends on the team.
  @discardableResult
  public func probeRead(_ x: SharedRows<Float>) -> Float {
    let sums = AlignedStorage(count: 16 * team.memberCount, filledWith: Float(0)).rows
    // SAFETY: both windows outlive the dispatch.
    unsafe run(
      rowKernels.memory.read,
      ck_memory_read_args(x: x.baseAddress, count: x.count, sums: sums.baseAddress),
      .optimizer, moving: x.byteCount)
    return sums.array.reduce(0, +)
  }
}
