internal import CKernels
public import Tensors

/// How the operands of an engine's products lie in memory. Whoever allocates packed operands takes
/// it from the engine that will use them.
public struct OperandForm: Equatable, Sendable, CustomStringConvertible {
  enum Layout: Sendable {
    /// 64 columns wide, for our tiles; weights in both orientations.
    case panels
    /// Row-major with k as rows, for a BLAS; weights once, `[N, K]`.
    case plain
    /// Plain, and a bf16 kept as the f32 of the same value, for a BLAS that takes no bf16.
    case widened
  }

  /// What the operands are rounded to.
  public let precision: Precision
  let layout: Layout

  /// The operands of our tiles.
  public static func panels(_ precision: Precision) -> OperandForm {
    OperandForm(precision: precision, layout: .panels)
  }

  public var description: String { "\(layout) of \(precision)" }

  /// Of one element in plain memory.
  var elementByteCount: Int { layout == .widened ? 4 : precision.byteCount }

  /// Zeroed memory for an operand of `columnCount` columns and `depth` values of k.
  func makeStorage(columnCount: Int, depth: Int) -> SharedRows<UInt32> {
    let byteCount =
      layout == .panels
      ? ck_packed_bytes(columnCount, depth, precision == .f32 ? 1 : 0)
      : columnCount * depth * elementByteCount
    return AlignedStorage(count: (byteCount + 3) / 4, filledWith: 0).rows
  }
}

/// The right operand of a product, as ``Engine/runProduct(_:_:_:)`` takes it.
struct RightOperand {
  let storage: SharedRows<UInt32>
  /// Plain memory only: rows are columns of the product instead of k.
  let isTransposed: Bool
  /// Plain memory only: elements from row to row.
  let stride: Int
}
