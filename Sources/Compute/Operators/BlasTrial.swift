internal import CKernels
internal import System
internal import Tensors

/// Products with a known result, through a library that has yet to be trusted: the three that a
/// step needs, each with whole panels, what is left of them, and a k of more than one block.
///
/// Old libraries crash or compute wrong numbers on processors that are newer than they are.
@safe
struct BlasTrial {
  private static let rowCount = 133, columnCount = 273, depth = 1061

  /// How the operands lie in memory.
  private enum Product: String, CaseIterable {
    case forward = "forward product"
    case input = "input gradient"
    case weight = "weight gradient"
  }

  private let library: String
  private let sgemm: BlasLibrary.SingleGemm
  private let sbgemm: BlasLibrary.HalfGemm?
  /// Both operands, f32 and bf16 of the same values.
  private let values: SharedRows<Float>
  private let halves: OperandRows
  private let output: SharedRows<Float>
  private let scratch: SharedRows<Float>

  /// Where the left operand begins in the values: no multiple of a row.
  private static let leftStart = 1_000

  /// - Parameter library: How a fault calls it.
  init(
    library: String, sgemm: BlasLibrary.SingleGemm, sbgemm: BlasLibrary.HalfGemm? = nil
  ) {
    self.library = library
    unsafe self.sgemm = sgemm
    unsafe self.sbgemm = sbgemm
    let stream = RandomStream(seed: 2026, purpose: 77)
    let count = Self.columnCount * Self.depth
    values = AlignedStorage(count: count, filledWith: 0).rows
    halves = OperandStorage(rowCount: 1, columnCount: count, precision: .bf16).rows
    for index in 0..<count {
      let value = BFloat16(2 * stream.uniform(at: UInt64(index)) - 1).float
      values[index] = value
      halves.set(row: 0, column: index, value)
    }
    output = AlignedStorage(count: Self.rowCount * Self.columnCount, filledWith: 0).rows
    scratch = AlignedStorage(count: CK_BLAS_SCRATCH_FLOATS, filledWith: 0).rows
  }

  /// The first thing that goes wrong; nil: nothing does.
  func fault() -> BlasError? {
    for product in Product.allCases {
      let arguments = unsafe arguments(product)
      switch unsafe withUnsafePointer(to: arguments, { unsafe tryInChild(ck_blas_matmul, $0) }) {
      case .returned, .untried: break
      case .hung: return .hung(library: library, product: product.rawValue)
      case .killed(let signal):
        return .crashed(library: library, product: product.rawValue, signal: signal)
      }
      output.fill(with: .nan)
      unsafe withUnsafePointer(to: arguments) { unsafe ck_blas_matmul($0, 0, 1) }
      if !isRight(product) { return .wrong(library: library, product: product.rawValue) }
    }
    return nil
  }

  private func arguments(_ product: Product) -> ck_blas_args {
    guard let tiles = unsafe ck_tile_named("scalar"), let stores = unsafe ck_store_named("scalar")
    else { preconditionFailure("scalar kernels are missing in this build") }
    let isHalf = unsafe sbgemm != nil
    let base = unsafe isHalf
      ? halves.baseAddress : UnsafeMutableRawPointer(values.baseAddress)
    let elementByteCount = isHalf ? 2 : 4
    var target = unsafe ck_epilogue_args()
    unsafe target.column_count = Self.columnCount
    unsafe target.output = output.baseAddress
    let strides = Self.strides(of: product)
    let matmul = unsafe ck_matmul_args(
      tiles: tiles.pointee, epilogue: stores.pointee.store, epilogue_args: target,
      a: base + Self.leftStart * elementByteCount, b: base, row_count: Self.rowCount,
      column_count: Self.columnCount, k_count: Self.depth,
      a_row_stride: elementByteCount * (product == .weight ? strides.left.k : strides.left.row),
      a_is_packed: product == .weight ? 1 : 0, is_f32: isHalf ? 0 : 1, sums: nil, space: nil)
    return unsafe ck_blas_args(
      product: matmul, sgemm: sgemm, sbgemm: sbgemm,
      b_is_transposed: product == .forward ? 1 : 0,
      b_stride: product == .forward ? strides.right.column : strides.right.k,
      scratch: scratch.baseAddress)
  }

  private struct Strides {
    let left: (row: Int, k: Int)
    let right: (k: Int, column: Int)
  }

  private static func strides(of product: Product) -> Strides {
    switch product {
    case .forward: Strides(left: (depth, 1), right: (1, depth))
    case .input: Strides(left: (depth, 1), right: (columnCount, 1))
    case .weight: Strides(left: (1, rowCount), right: (columnCount, 1))
    }
  }

  /// Compares every column of some rows with f64. Each of the depth additions, and of the roundings
  /// of products where hardware adds pairs, errs by at most one rounding of a partial sum, which is
  /// at most the sum of magnitudes; whatever the order.
  private func isRight(_ product: Product) -> Bool {
    let strides = Self.strides(of: product)
    return values.withSpan { values in
      output.withSpan { output in
        // 11 has no factor in common with the rows that kernels take at once; the last is 132.
        for row in stride(from: 0, to: Self.rowCount, by: 11) {
          for column in 0..<Self.columnCount {
            var (sum, magnitude) = (0.0, 0.0)
            for k in 0..<Self.depth {
              let a = values[Self.leftStart + row * strides.left.row + k * strides.left.k]
              let b = values[k * strides.right.k + column * strides.right.column]
              let term = Double(a) * Double(b)
              sum += term
              magnitude += abs(term)
            }
            let difference = abs(Double(output[row * Self.columnCount + column]) - sum)
            let tolerance = Double(Self.depth + 1) * 0x1p-24 * magnitude * 1.01
            // A NaN fails too.
            guard difference <= tolerance else { return false }
          }
        }
        return true
      }
    }
  }
}
