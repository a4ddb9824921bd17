internal import CKernels
public import Tensors

/// One weight matrix `W [N, K]` in the order in which products consume it, in both orientations:
/// for `Y = A W^T` and for `dX = dY W`.
///
/// Row `n` of `W`, column `n` of the product, starts at `rowOffsets[n]` of the master weights; so
/// rows may come from several tensors, in any order.
public final class PackedWeights: Sendable {
  /// N, columns of the forward product.
  public let outputWidth: Int
  /// K.
  public let inputWidth: Int
  public let precision: Precision
  /// `[N]`.
  let rowOffsets: SharedRows<Int>
  /// One past the last master element that a row reads.
  let masterCount: Int
  /// W's rows as columns of the forward product's right operand.
  let rowsAsColumns: SharedRows<UInt32>
  /// W's rows as k of the input gradient's right operand.
  let rowsAsK: SharedRows<UInt32>

  /// Allocates; ``Engine/pack(_:from:)`` fills.
  public init(rowOffsets: [Int], columnCount: Int, precision: Precision) {
    precondition(!rowOffsets.isEmpty && columnCount > 0, "a matrix needs rows and columns")
    precondition(rowOffsets.allSatisfy { $0 >= 0 }, "a row cannot start before the master weights")
    outputWidth = rowOffsets.count
    inputWidth = columnCount
    self.precision = precision
    masterCount = (rowOffsets.max() ?? 0) + columnCount
    let offsets = AlignedStorage<Int>(count: rowOffsets.count, filledWith: 0).rows
    offsets.copy(from: rowOffsets)
    self.rowOffsets = offsets
    rowsAsColumns = makePacked(
      columnCount: rowOffsets.count, depth: columnCount, precision: precision)
    rowsAsK = makePacked(columnCount: columnCount, depth: rowOffsets.count, precision: precision)
  }
}

/// One activation or gradient `X [T, C]` packed as an operand of a weight gradient, tokens as k.
public final class PackedPairs: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): `rowCount` and the memory change only in `packPairs`, between
  // two dispatches of the one caller.
  public let rowCapacity: Int
  public let columnCount: Int
  public let precision: Precision
  /// T, of the last packing.
  public internal(set) var rowCount = 0
  let storage: SharedRows<UInt32>

  /// Allocates for up to `rowCapacity` rows; ``Engine/packPairs(_:into:)`` fills.
  public init(rowCapacity: Int, columnCount: Int, precision: Precision) {
    precondition(rowCapacity > 0 && columnCount > 0, "[\(rowCapacity), \(columnCount)] is empty")
    self.rowCapacity = rowCapacity
    self.columnCount = columnCount
    self.precision = precision
    storage = makePacked(columnCount: columnCount, depth: rowCapacity, precision: precision)
  }
}

/// Zeroed memory for an operand of `columnCount` columns and `depth` values of k.
private func makePacked(
  columnCount: Int, depth: Int, precision: Precision
) -> SharedRows<UInt32> {
  let byteCount = ck_packed_bytes(columnCount, depth, precision == .f32 ? 1 : 0)
  return AlignedStorage(count: byteCount / 4, filledWith: 0).rows
}

extension Engine {
  /// Rounds the master weights and packs them in both orientations. Members take blocks of 64 rows.
  public func pack(_ weights: PackedWeights, from master: SharedRows<Float>) {
    precondition(
      master.count >= weights.masterCount,
      "rows reach \(weights.masterCount), the master weights have \(master.count)")
    precondition(weights.precision == precision, "weights are \(weights.precision)")
    unsafe run(
      packers.weights,
      ck_pack_weights_args(
        source: master.baseAddress, row_offsets: weights.rowOffsets.baseAddress,
        row_count: weights.outputWidth, column_count: weights.inputWidth,
        rows_as_columns: weights.rowsAsColumns.baseAddress, rows_as_k: weights.rowsAsK.baseAddress,
        is_f32: isFloat),
      .packing)
  }

  /// Packs `rows` for a weight gradient. Members take runs of rows.
  public func packPairs(_ rows: OperandRows, into packed: PackedPairs) {
    precondition(
      rows.rowCount <= packed.rowCapacity && rows.columnCount == packed.columnCount,
      "[\(rows.rowCount), \(rows.columnCount)] does not fit "
        + "[\(packed.rowCapacity), \(packed.columnCount)]")
    precondition(
      rows.precision == precision && packed.precision == precision,
      "\(rows.precision) rows go to \(packed.precision) pairs of a \(precision) engine")
    packed.rowCount = rows.rowCount
    unsafe packRows(
      rows.baseAddress, rowByteCount: rows.rowByteCount, 0..<rows.rowCount, of: packed, .packing)
  }

  /// Packs rows `range` of the `packed.rowCount` that the operand is to have.
  ///
  /// - Parameter source: Row `range.lowerBound`, of the engine's operand type.
  /// - Precondition: `range` starts at an even row.
  @unsafe
  func packRows(
    _ source: UnsafeRawPointer, rowByteCount: Int, _ range: Range<Int>, of packed: PackedPairs,
    _ part: OperatorPart
  ) {
    let rowsPerUnit = precision == .f32 ? 1 : 2
    precondition(
      range.lowerBound % 2 == 0 && range.upperBound <= packed.rowCount,
      "rows \(range) of \(packed.rowCount)")
    unsafe run(
      packers.pairs,
      ck_pack_pairs_args(
        source: source, row_count: range.count, column_count: packed.columnCount,
        row_stride: rowByteCount,
        packed: packed.storage.baseAddress + range.lowerBound / rowsPerUnit * 64,
        panel_units: (packed.rowCount + rowsPerUnit - 1) / rowsPerUnit, is_f32: isFloat),
      part)
  }
}
