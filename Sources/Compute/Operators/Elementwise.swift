internal import CKernels
public import Tensors

extension Engine {
  /// Adds `x` to `y`, element by element.
  public func add(_ x: SharedRows<Float>, into y: SharedRows<Float>) {
    precondition(x.count == y.count, "cannot add \(x.count) elements to \(y.count)")
    // SAFETY: both windows hold `count` elements and outlive the dispatch.
    let arguments = unsafe ck_add_args(x: x.baseAddress, y: y.baseAddress, count: x.count)
    unsafe run(rowKernels.elementwise.add, arguments, .elementwise, moving: 3 * x.byteCount)
  }

  /// Rounds `x` to an operand, dropping and scaling elements on the way.
  ///
  ///     output[e] = round(x[e] * mask[e])
  ///
  /// - Parameters:
  ///   - x: as many elements as `output`, row-major.
  ///   - output: Overwritten.
  ///   - dropout: Element `e` of the mask belongs to element `e` of `x`.
  public func roundToOperand(
    _ x: SharedRows<Float>, output: OperandRows, dropout: DropoutMask? = nil
  ) {
    let count = output.rowCount * output.columnCount
    precondition(x.count == count, "cannot round \(x.count) elements into \(count)")
    // SAFETY: the windows hold `count` elements and outlive the dispatch.
    let arguments = unsafe ck_round_args(
      x: x.baseAddress, output: output.baseAddress, dropout: dropout.kernelMask, count: count,
      output_is_f32: output.precision == .f32 ? 1 : 0)
    unsafe run(
      rowKernels.elementwise.round, arguments, .elementwise,
      moving: x.byteCount + output.byteCount)
  }

  /// The sum of `x[e]^2` in `f64`.
  ///
  /// Blocks of 65,536 elements are summed in sixteen lanes, then blocks in a binary tree: the
  /// result depends on `x` alone. Allocates; a training step brings its own `blockSums`.
  public func sumOfSquares(_ x: SharedRows<Float>) -> Double {
    guard x.count > 0 else { return 0 }
    let blockCount = Self.squaresBlockCount(x.count)
    return sumOfSquares(x, blockSums: AlignedStorage(count: blockCount, filledWith: 0).rows)
  }

  /// The sum of `x[e]^2` in `f64`, with the caller's scratch.
  ///
  /// - Parameter blockSums: At least ``squaresBlockCount(_:)`` of `x.count`. Overwritten.
  public func sumOfSquares(_ x: SharedRows<Float>, blockSums: SharedRows<Double>) -> Double {
    let blockCount = Self.squaresBlockCount(x.count)
    precondition(blockSums.count >= blockCount, "\(blockSums.count) sums, need \(blockCount)")
    // SAFETY: the windows hold what the precondition says and outlive the dispatch.
    let arguments = unsafe ck_squares_args(
      x: x.baseAddress, block_sums: blockSums.baseAddress, count: x.count)
    unsafe run(
      rowKernels.elementwise.squares, arguments, .elementwise,
      moving: x.byteCount + blockSums.byteCount)
    return Self.sumOfBlocks(blockSums[0..<blockCount])
  }

  /// Adds block sums in the fixed tree: neighbours, then neighbours of neighbours. Overwrites them.
  public static func sumOfBlocks(_ blockSums: SharedRows<Double>) -> Double {
    guard blockSums.count > 0 else { return 0 }
    var stride = 1
    while stride < blockSums.count {
      for block in Swift.stride(from: 0, to: blockSums.count - stride, by: 2 * stride) {
        blockSums[block] += blockSums[block + stride]
      }
      stride *= 2
    }
    return blockSums[0]
  }

  /// Elements in a block of a sum of squares.
  public static var squaresBlockLength: Int { Int(CK_SQUARES_BLOCK) }

  /// Blocks in a sum of squares over `count` elements.
  public static func squaresBlockCount(_ count: Int) -> Int {
    (count + squaresBlockLength - 1) / squaresBlockLength
  }
}
