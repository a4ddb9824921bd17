internal import CKernels
public import Tensors

extension Engine {
  /// Scales each row to unit root-mean-square, then by a learned gain.
  ///
  ///     y[t, d] = x[t, d] * rms[t] * gain[d],   rms[t] = 1 / sqrt(mean_d(x[t, d]^2) + epsilon)
  ///
  /// - Parameters:
  ///   - x: shape `[T, D]`.
  ///   - gain: shape `[D]`.
  ///   - epsilon: Added to the mean square (dimensionless).
  ///   - output: `y`, shape `[T, D]`, rounded to the operand type. Overwritten.
  ///   - inverseRMS: `rms`, shape `[T]`. Overwritten; the backward pass reads it.
  /// - Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
  public func rmsNormForward(
    _ x: SharedRows<Float>, gain: SharedRows<Float>, epsilon: Float, output: OperandRows,
    inverseRMS: SharedRows<Float>
  ) {
    let rowCount = output.rowCount, width = gain.count
    precondition(
      output.columnCount == width, "output has \(output.columnCount) columns, gain \(width)")
    precondition(x.count == rowCount * width, "x holds \(x.count), not [\(rowCount), \(width)]")
    precondition(inverseRMS.count == rowCount, "\(inverseRMS.count) inverse RMS, \(rowCount) rows")
    // SAFETY: the windows outlive the dispatch and hold what the preconditions say.
    func run(into output: UnsafeMutableRawPointer, _ precision: Precision, byteCount: Int) {
      let arguments = unsafe ck_norm_forward_args(
        x: x.baseAddress, gain: gain.baseAddress, epsilon: epsilon, output: output,
        inverse_rms: inverseRMS.baseAddress, row_count: rowCount, width: width,
        output_is_f32: precision == .f32 ? 1 : 0)
      unsafe self.run(
        rowKernels.norm.forward, arguments, .norm,
        moving: x.byteCount + gain.byteCount + inverseRMS.byteCount + byteCount)
    }
    guard apart.contains(.normPack), output.precision == .bf16 else {
      return unsafe run(into: output.baseAddress, output.precision, byteCount: output.byteCount)
    }
    let normed = apartMemory.floats(x.count)
    unsafe run(into: normed.baseAddress, .f32, byteCount: normed.byteCount)
    roundToOperand(normed, output: output)
  }

  /// Adds the gradient of ``rmsNormForward(_:gain:epsilon:output:inverseRMS:)``.
  ///
  ///     h = x rms;   dx = rms (dy gain - h mean_d(dy gain h));   dgain = sum_t dy h
  ///
  /// The sum over tokens runs over blocks of 64 in order, then over blocks in a binary tree.
  ///
  /// - Parameters:
  ///   - x, gain, inverseRMS: As the forward pass read and left them.
  ///   - dOutput: `dy`, shape `[T, D]`.
  ///   - residualGradient: shape `[T, D]`; `dx` is added.
  ///   - gainGradient: shape `[D]`; `dgain` is added.
  ///   - scratch: At least ``rmsNormScratchCount(rowCount:width:)`` elements. Overwritten.
  public func rmsNormBackward(
    _ x: SharedRows<Float>, gain: SharedRows<Float>, inverseRMS: SharedRows<Float>,
    dOutput: SharedRows<Float>, residualGradient: SharedRows<Float>,
    gainGradient: SharedRows<Float>, scratch: SharedRows<Float>
  ) {
    let rowCount = inverseRMS.count, width = gain.count
    let scratchCount = Self.rmsNormScratchCount(rowCount: rowCount, width: width)
    for (name, window) in [("x", x), ("dOutput", dOutput), ("residualGradient", residualGradient)] {
      precondition(
        window.count == rowCount * width,
        "\(name) holds \(window.count), not [\(rowCount), \(width)]")
    }
    precondition(gainGradient.count == width, "gain gradient \(gainGradient.count), gain \(width)")
    precondition(scratch.count >= scratchCount, "scratch \(scratch.count), need \(scratchCount)")
    // SAFETY: the windows outlive the dispatches and hold what the preconditions say.
    let arguments = unsafe ck_norm_backward_args(
      x: x.baseAddress, gain: gain.baseAddress, inverse_rms: inverseRMS.baseAddress,
      d_output: dOutput.baseAddress, d_residual: residualGradient.baseAddress,
      block_gains: scratch.baseAddress, d_gain: gainGradient.baseAddress, row_count: rowCount,
      width: width)
    let kernels = rowKernels.norm
    let sums = scratch[0..<scratchCount].byteCount
    unsafe run(
      kernels.backward, arguments, .norm,
      moving: 4 * x.byteCount + gain.byteCount + inverseRMS.byteCount + sums)
    unsafe run(kernels.reduce_gain, arguments, .norm, moving: sums + 2 * gain.byteCount)
  }

  /// Elements of scratch that the backward pass needs: one row of gains for 64 tokens.
  public static func rmsNormScratchCount(rowCount: Int, width: Int) -> Int {
    let blockRowCount = Int(CK_NORM_BLOCK_ROWS)
    return (rowCount + blockRowCount - 1) / blockRowCount * width
  }
}
