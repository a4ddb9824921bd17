internal import CKernels
public import Tensors

extension Engine {
  /// Adds a scaled product of two narrow matrices to a matrix.
  ///
  ///     output[n, k] = base[n, k] + scale * sum_j left[n, j] right[j, k]
  ///
  /// All in f32: the sum over `j` ascending by fused multiply-adds from 0, then one with the scale.
  ///
  /// - Parameters:
  ///   - base: `[N, K]`.
  ///   - left: `B`, `[N, rank]`.
  ///   - right: `A`, `[rank, K]`.
  ///   - output: `[N, K]`. Overwritten.
  /// - Source: Hu et al. 2021, arXiv:2106.09685, eq. 3.
  public func addLowRank(
    base: SharedRows<Float>, left: SharedRows<Float>, right: SharedRows<Float>, rank: Int,
    scale: Float, output: SharedRows<Float>
  ) {
    precondition(
      rank > 0 && left.count % rank == 0 && right.count % rank == 0,
      "\(left.count) and \(right.count) elements are no matrices of rank \(rank)")
    let (rowCount, columnCount) = (left.count / rank, right.count / rank)
    precondition(
      base.count == rowCount * columnCount && output.count == base.count,
      "\(base.count) and \(output.count) elements are not [\(rowCount), \(columnCount)]")
    // SAFETY: the windows hold what the preconditions say and outlive the dispatch.
    let arguments = unsafe ck_low_rank_args(
      base: base.baseAddress, left: left.baseAddress, right: right.baseAddress,
      output: output.baseAddress, row_count: rowCount, column_count: columnCount, rank: rank,
      scale: scale)
    unsafe run(
      rowKernels.low_rank.add, arguments, .optimizer,
      moving: base.byteCount + left.byteCount + right.byteCount + output.byteCount)
  }
}
