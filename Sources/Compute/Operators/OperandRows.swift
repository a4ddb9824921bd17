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
  public var byteCount: Int { rowCount * rowByteCount }

  /// The rows `range`, sharing the same memory.
  public func rows(_ range: Range<Int>) -> OperandRows {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= rowCount, "\(range) is outside 0..<\(rowCount)")
    return unsafe OperandRows(
      base: base + range.lowerBound * rowByteCount, rowCount: range.count,
      columnCount: columnCount, precision: precision, owner: owner)
  }

  /// Takes columns of `source`, as many as these rows have, from `column` on.
  func copyColumns(of source: OperandRows, from column: Int) {
    source.checkColumns(of: self, from: column)
    for row in 0..<rowCount {
      // SAFETY: the columns lie in both rows, by the check above.
      unsafe address(row: row, column: 0).copyMemory(
        from: source.address(row: row, column: column), byteCount: rowByteCount)
    }
  }

  /// Overwrites columns from `column` on with all columns of `source`.
  func setColumns(to source: OperandRows, from column: Int) {
    checkColumns(of: source, from: column)
    for row in 0..<rowCount {
      // SAFETY: the columns lie in both rows, by the check above.
      unsafe address(row: row, column: column).copyMemory(
        from: source.address(row: row, column: 0), byteCount: source.rowByteCount)
    }
  }

  /// Writes `count` columns from `column` on as f32, `[rowCount, count]`.
  func widenColumns(from column: Int, count: Int, into rows: SharedRows<Float>) {
    precondition(column >= 0 && column + count <= columnCount, "column \(column) of \(columnCount)")
    precondition(rows.count == rowCount * count, "\(rows.count) elements for \(rowCount) rows")
    for row in 0..<rowCount {
      let target = rows[row * count..<(row + 1) * count]
      // SAFETY: the columns lie in the row, by the precondition above.
      let source = unsafe UnsafeRawPointer(address(row: row, column: column))
      target.withMutableSpan { target in
        switch precision {
        case .bf16:
          let values = unsafe source.assumingMemoryBound(to: BFloat16.self)
          for index in target.indices { unsafe target[index] = values[index].float }
        case .f32:
          let values = unsafe source.assumingMemoryBound(to: Float.self)
          for index in target.indices { unsafe target[index] = values[index] }
        }
      }
    }
  }

  private func checkColumns(of part: OperandRows, from column: Int) {
    precondition(
      part.rowCount == rowCount && part.precision == precision && column >= 0
        && column + part.columnCount <= columnCount,
      "[\(part.rowCount), \(part.columnCount)] is no part of [\(rowCount), \(columnCount)]")
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
