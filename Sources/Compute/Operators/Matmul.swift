internal import CKernels
public import Tensors

/// Where the tiles of a forward product go. Nothing is overwritten but what a case names as output.
public enum ForwardEpilogue {
  /// `Y` in f32, `[M, N]`.
  case store(SharedRows<Float>)
  /// `Y` rounded to the operand type, `[M, N]`.
  case operand(OperandRows)
  /// `output = input + dropout(Y)`, both `[M, N]` and possibly the same; element `row * N + column`
  /// is the mask's element.
  case residual(input: SharedRows<Float>, output: SharedRows<Float>, DropoutMask?)
  /// `Y` rounded, its first `rotaryColumnCount` columns turned by their row's position first:
  /// heads of the table's width whose rotary pairs are adjacent columns. `positions` is `[M]`.
  case rotary(
    OperandRows, RotaryTable, positions: SharedRows<Int32>, rotaryColumnCount: Int)
  /// `Y [M, 2 F]` holds gate and up of a feature in adjacent columns. `gateUp` receives it rounded,
  /// `hidden [M, F]` receives `silu(gate) * up` of the unrounded values.
  case swiglu(gateUp: OperandRows, hidden: OperandRows)
}

/// Where the tiles of an input gradient go.
public enum BackwardEpilogue {
  /// `dX` in f32, `[M, K]`.
  case store(SharedRows<Float>)
  /// `dX` rounded to the operand type, `[M, K]`.
  case operand(OperandRows)
  /// `dX` is the gradient of `hidden [M, F]`; `dGateUp [M, 2 F]` receives those of gate and up,
  /// from the `gateUp` that the forward stored.
  case swigluBackward(gateUp: OperandRows, dGateUp: OperandRows)
}

extension Engine {
  /// `Y = A W^T`, tile by tile through the epilogue.
  ///
  /// An element of `Y` is summed over k ascending in one f32 accumulator, whatever `M` and the
  /// number of threads. (A BLAS sums in an order of its own, whatever `M` and the threads, too.)
  ///
  /// - Parameters:
  ///   - a: `[M, K]`.
  ///   - weights: `[N, K]`.
  public func matmul(_ a: OperandRows, _ weights: PackedWeights, _ epilogue: ForwardEpilogue) {
    precondition(
      a.columnCount == weights.inputWidth, "\(a.columnCount) columns meet \(weights.inputWidth)")
    let shape = ProductShape(rowCount: a.rowCount, columnCount: weights.outputWidth)
    multiply(
      a, weights.rowsAsColumns, depth: weights.inputWidth, shape, prepare(epilogue, for: shape))
  }

  /// `dX = dY W`, tile by tile through the epilogue.
  ///
  /// - Parameters:
  ///   - outputGradient: `dY`, `[M, N]`.
  ///   - weights: `[N, K]`.
  public func matmulInput(
    _ outputGradient: OperandRows, _ weights: PackedWeights, _ epilogue: BackwardEpilogue
  ) {
    precondition(
      outputGradient.columnCount == weights.outputWidth,
      "\(outputGradient.columnCount) columns meet \(weights.outputWidth)")
    let shape = ProductShape(rowCount: outputGradient.rowCount, columnCount: weights.inputWidth)
    multiply(
      outputGradient, weights.rowsAsK, depth: weights.outputWidth, shape,
      prepare(epilogue, for: shape))
  }

  /// `dW[n, :] (+)= sum_t dY[t, n] X[t, :]`.
  ///
  /// The sum over the packed rows starts from 0 and is then added, so it has one order.
  ///
  /// - Parameters:
  ///   - dY: Packed `[T, N]`.
  ///   - x: Packed `[T, K]`.
  ///   - gradient: Flat; row `n` of `dW` starts at `rowOffsets[n]`.
  ///   - accumulate: Adds to what the gradient holds instead of overwriting it.
  public func matmulWeight(
    dY: PackedPairs, x: PackedPairs, into gradient: SharedRows<Float>, rowOffsets: [Int],
    accumulate: Bool
  ) {
    precondition(
      rowOffsets.count == dY.columnCount, "\(rowOffsets.count) rows for \(dY.columnCount) columns")
    unsafe rowOffsets.withUnsafeBufferPointer { offsets in
      for unsafe offset in unsafe offsets {
        precondition(
          offset >= 0 && offset + x.columnCount <= gradient.count,
          "a row at \(offset) leaves the gradient's \(gradient.count) elements")
      }
      guard let start = offsets.baseAddress else { return }
      unsafe multiplyPacked(
        dY, x, rowCount: dY.columnCount, into: gradient, rowOffsets: start, accumulate: accumulate)
    }
  }

  /// The rows of `dW` that belong to the first `rowCount` columns of `dY`.
  @unsafe
  func multiplyPacked(
    _ dY: PackedPairs, _ x: PackedPairs, rowCount: Int, into gradient: SharedRows<Float>,
    rowOffsets: UnsafePointer<Int>, accumulate: Bool, _ part: OperatorPart = .matmul
  ) {
    precondition(dY.rowCount == x.rowCount, "\(dY.rowCount) rows of dY meet \(x.rowCount) of x")
    precondition(
      dY.form == form && x.form == form, "\(dY.form) and \(x.form) meet an engine with \(form)")
    var target = unsafe ck_epilogue_args()
    unsafe target.column_count = x.columnCount
    unsafe target.output = gradient.baseAddress
    unsafe target.row_offsets = rowOffsets
    unsafe target.accumulates = accumulate ? 1 : 0
    unsafe runProduct(
      ck_matmul_args(
        tiles: tiles, epilogue: stores.scatter, epilogue_args: target,
        a: dY.operand.storage.baseAddress, b: x.operand.storage.baseAddress, row_count: rowCount,
        column_count: x.columnCount, k_count: dY.rowCount, a_row_stride: dY.rowByteCount,
        a_is_packed: 1, is_f32: isFloat, sums: nil, space: nil),
      x.operand, part, moving: 4 * rowCount * x.columnCount * (accumulate ? 2 : 1))
  }
}
