internal import CKernels
public import Tensors

/// One weight matrix `W [N, K]` in the order in which products consume it: for `Y = A W^T` and for
/// `dX = dY W`.
///
/// Row `n` of `W`, column `n` of the product, starts at `rowOffsets[n]` of the master weights; so
/// rows may come from several tensors, in any order.
public final class PackedWeights: Sendable {
  /// N, columns of the forward product.
  public let outputWidth: Int
  /// K.
  public let inputWidth: Int
  public let form: OperandForm
  /// `[N]`.
  let rowOffsets: SharedRows<Int>
  /// One past the last master element that a row reads.
  let masterCount: Int
  /// W's rows as columns of the forward product's right operand.
  let rowsAsColumns: RightOperand
  /// W's rows as k of the input gradient's right operand: the same memory in plain forms.
  let rowsAsK: RightOperand

  /// Of the master elements that are packed.
  var masterByteCount: Int { 4 * outputWidth * inputWidth }
  /// Of both orders, where they are two.
  var packedByteCount: Int {
    rowsAsColumns.storage.byteCount * (form.layout == .panels ? 1 : 0)
      + rowsAsK.storage.byteCount
  }

  /// Allocates; ``Engine/pack(_:from:)`` fills.
  public init(rowOffsets: [Int], columnCount: Int, form: OperandForm) {
    precondition(!rowOffsets.isEmpty && columnCount > 0, "a matrix needs rows and columns")
    precondition(rowOffsets.allSatisfy { $0 >= 0 }, "a row cannot start before the master weights")
    outputWidth = rowOffsets.count
    inputWidth = columnCount
    self.form = form
    masterCount = (rowOffsets.max() ?? 0) + columnCount
    let offsets = AlignedStorage<Int>(count: rowOffsets.count, filledWith: 0).rows
    offsets.copy(from: rowOffsets)
    self.rowOffsets = offsets
    // Whole panels in every form: the head computes the columns that pad the last one, too.
    let storage = form.makeStorage(
      columnCount: wholePanels(rowOffsets.count), depth: columnCount)
    rowsAsColumns = RightOperand(storage: storage, isTransposed: true, stride: columnCount)
    rowsAsK = RightOperand(
      storage: form.layout == .panels
        ? form.makeStorage(columnCount: columnCount, depth: rowOffsets.count) : storage,
      isTransposed: false, stride: columnCount)
  }
}

/// Columns rounded up to whole panels of 64.
func wholePanels(_ columnCount: Int) -> Int { (columnCount + 63) / 64 * 64 }

/// One activation or gradient `X [T, C]` packed as an operand of a weight gradient, tokens as k.
public final class PackedPairs: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): `rowCount` and the memory change only in `packPairs`, between
  // two dispatches of the one caller.
  public let rowCapacity: Int
  public let columnCount: Int
  public let form: OperandForm
  /// T, of the last packing.
  public internal(set) var rowCount = 0
  private let storage: SharedRows<UInt32>

  /// Allocates for up to `rowCapacity` rows; ``Engine/packPairs(_:into:)`` fills.
  public init(rowCapacity: Int, columnCount: Int, form: OperandForm) {
    precondition(rowCapacity > 0 && columnCount > 0, "[\(rowCapacity), \(columnCount)] is empty")
    self.rowCapacity = rowCapacity
    self.columnCount = columnCount
    self.form = form
    storage = form.makeStorage(columnCount: columnCount, depth: rowCapacity)
  }

  /// As the right operand of a product, rows as k.
  var operand: RightOperand {
    RightOperand(storage: storage, isTransposed: false, stride: columnCount)
  }

  /// Of a row in plain forms.
  var rowByteCount: Int { columnCount * form.elementByteCount }

  /// Where a row of the operand, an even one, begins: its unit of the first panel, or its elements.
  @unsafe
  func address(ofRow row: Int) -> UnsafeMutableRawPointer {
    precondition(row % 2 == 0 && row < rowCapacity, "row \(row) of \(rowCapacity)")
    let base = unsafe UnsafeMutableRawPointer(storage.baseAddress)
    guard form.layout == .panels else { return unsafe base + row * rowByteCount }
    let unit = form.precision == .f32 ? row : row / 2
    return unsafe base + unit * 64 * 4
  }
}

extension Engine {
  /// Rounds the master weights and packs them. Members take blocks of 64 rows.
  public func pack(_ weights: PackedWeights, from master: SharedRows<Float>) {
    precondition(
      master.count >= weights.masterCount,
      "rows reach \(weights.masterCount), the master weights have \(master.count)")
    precondition(weights.form == form, "weights in \(weights.form) meet \(form)")
    unsafe run(
      packers.weights,
      ck_pack_weights_args(
        source: master.baseAddress, row_offsets: weights.rowOffsets.baseAddress,
        row_count: weights.outputWidth, column_count: weights.inputWidth,
        rows_as_columns: weights.rowsAsColumns.storage.baseAddress,
        rows_as_k: weights.rowsAsK.storage.baseAddress,
        is_f32: isFloat),
      .packing, moving: weights.masterByteCount + weights.packedByteCount)
  }

  /// Packs `rows` for a weight gradient. Members take runs of rows.
  public func packPairs(_ rows: OperandRows, into packed: PackedPairs) {
    precondition(
      rows.rowCount <= packed.rowCapacity && rows.columnCount == packed.columnCount,
      "[\(rows.rowCount), \(rows.columnCount)] does not fit "
        + "[\(packed.rowCapacity), \(packed.columnCount)]")
    precondition(
      rows.precision == precision && packed.form == form,
      "\(rows.precision) rows go to \(packed.form) of an engine with \(form)")
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
    precondition(range.upperBound <= packed.rowCount, "rows \(range) of \(packed.rowCount)")
    unsafe run(
      packers.pairs,
      ck_pack_pairs_args(
        source: source, row_count: range.count, column_count: packed.columnCount,
        row_stride: rowByteCount,
        packed: packed.address(ofRow: range.lowerBound),
        panel_units: (packed.rowCount + rowsPerUnit - 1) / rowsPerUnit, is_f32: isFloat),
      part, moving: 2 * range.count * packed.columnCount * precision.byteCount)
  }
}
