public import Tensors

/// A window onto operands of products: `[rowCount, columnCount]`, row-major, bf16 or f32.
///
/// Like ``SharedRows`` it keeps the owner of its memory alive, and members of a team write
/// disjoint parts of it.
@safe
public struct OperandRows: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): see the type's contract on disjoint parts.
  public let rowCount: Int
  public let columnCount: Int
  public let precision: Precision
  private let base: UnsafeMutableRawPointer
  private let owner: AnyObject?

  /// - Precondition: `base` stays valid for the rows as long as `owner` lives.
  @unsafe
  public init(
    base: UnsafeMutableRawPointer, rowCount: Int, columnCount: Int, precision: Precision,
    owner: AnyObject?
  ) {
    precondition(rowCount >= 0 && columnCount > 0, "no window has [\(rowCount), \(columnCount)]")
    unsafe self.base = base
    self.rowCount = rowCount
    self.columnCount = columnCount
    self.precision = precision
    self.owner = owner
  }

  /// The address of row 0, for kernels.
  @unsafe
  public var baseAddress: UnsafeMutableRawPointer { unsafe base }

  public var rowByteCount: Int { columnCount * precision.byteCount }

  /// The rows `range`, sharing the same memory.
  public func rows(_ range: Range<Int>) -> OperandRows {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= rowCount, "\(range) is outside 0..<\(rowCount)")
    return unsafe OperandRows(
      base: base + range.lowerBound * rowByteCount, rowCount: range.count,
      columnCount: columnCount, precision: precision, owner: owner)
  }

  /// One element. Checked, hence for tests and set-up.
  public func float(row: Int, column: Int) -> Float {
    let address = unsafe address(row: row, column: column)
    switch precision {
    case .bf16: return unsafe address.load(as: BFloat16.self).float
    case .f32: return unsafe address.load(as: Float.self)
    }
  }

  /// Sets one element, rounded to the operand type. Checked, hence for tests and set-up.
  public func set(row: Int, column: Int, _ value: Float) {
    let address = unsafe address(row: row, column: column)
    switch precision {
    case .bf16: unsafe address.storeBytes(of: BFloat16(value), as: BFloat16.self)
    case .f32: unsafe address.storeBytes(of: value, as: Float.self)
    }
  }

  @unsafe
  private func address(row: Int, column: Int) -> UnsafeMutableRawPointer {
    precondition(row >= 0 && row < rowCount, "row \(row) is outside 0..<\(rowCount)")
    precondition(
      column >= 0 && column < columnCount, "column \(column) is outside 0..<\(columnCount)")
    return unsafe base + row * rowByteCount + column * precision.byteCount
  }
}

/// Memory of operands, zero at first.
public final class OperandStorage: Sendable {
  /// The whole storage.
  public let rows: OperandRows

  public init(rowCount: Int, columnCount: Int, precision: Precision) {
    let wordCount = (rowCount * columnCount * precision.byteCount + 3) / 4
    let storage = AlignedStorage<UInt32>(count: wordCount, filledWith: 0)
    // SAFETY: the window retains `storage`, which holds that many words.
    unsafe rows = OperandRows(
      base: UnsafeMutableRawPointer(storage.rows.baseAddress), rowCount: rowCount,
      columnCount: columnCount, precision: precision, owner: storage)
  }
}
