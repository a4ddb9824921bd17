internal import CKernels
internal import System
internal import Tensors

/// Members update the rows of their blocks of a matrix and pack each block at once.
@safe
private struct UpdateAndPack: TeamJob {
  let step: AdamWStep
  let weights: ck_pack_weights_args
  let packBlock: @convention(c) (UnsafePointer<ck_pack_weights_args>, Int) -> Void

  /// Rows that the packer takes at once; they are columns of one panel.
  private static let blockRowCount = 64

  func run(member: Int, memberCount: Int) {
    let rowCount = unsafe weights.row_count, width = unsafe weights.column_count
    let blockCount = (rowCount + Self.blockRowCount - 1) / Self.blockRowCount
    for block in blockCount * member / memberCount..<blockCount * (member + 1) / memberCount {
      let first = block * Self.blockRowCount
      for row in first..<min(first + Self.blockRowCount, rowCount) {
        // SAFETY: `row_offsets` holds `row_count` offsets; the range is checked by the step.
        let offset = unsafe weights.row_offsets[row]
        step.update(offset..<offset + width)
      }
      unsafe withUnsafePointer(to: weights) { unsafe packBlock($0, block) }
    }
  }
}

extension Engine {
  /// Takes an AdamW step on the rows of a matrix and packs them while they are in cache.
  ///
  /// The same bits as ``adamW(master:firstMoment:secondMoment:gradient:_:)`` on those rows followed
  /// by ``pack(_:from:)``.
  ///
  /// - Parameters:
  ///   - step: Over the whole flat space, because `weights` names its rows by flat offset. Elements
  ///     outside its rows are left alone.
  ///   - weights: Every row at most once. Overwritten.
  public func adamWAndPack(_ step: AdamWStep, _ weights: PackedWeights) {
    precondition(
      step.count >= weights.masterCount,
      "rows reach \(weights.masterCount), the step has \(step.count) elements")
    precondition(weights.form == form, "weights in \(weights.form) meet \(form)")
    // SAFETY: `weights` and the step's windows outlive the dispatch.
    let arguments = unsafe ck_pack_weights_args(
      source: step.arguments.master, row_offsets: weights.rowOffsets.baseAddress,
      row_count: weights.outputWidth, column_count: weights.inputWidth,
      rows_as_columns: weights.rowsAsColumns.storage.baseAddress,
      rows_as_k: weights.rowsAsK.storage.baseAddress,
      is_f32: precision == .f32 ? 1 : 0)
    unsafe dispatch(
      UpdateAndPack(step: step, weights: arguments, packBlock: packers.weight_block), .optimizer,
      moving: AdamWStep.passCount * weights.masterByteCount + weights.packedByteCount)
  }
}
