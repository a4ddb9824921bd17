public import Tensors

/// Cosines and sines that turn the pairs of a head by its token's position.
///
///     angle[p, i] = p * theta^(-2 i / H),   0 <= i < H / 2
///
/// A head's elements `i` and `i + H / 2` (Hugging Face's half-split) are turned as one pair; the
/// kernels hold the two side by side. The frequencies and angles are rounded to `f32` where Hugging
/// Face rounds them; cosine and sine come from ``PortableMath``, equal on every host.
///
/// - Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2.
public final class RotaryTable: Sendable {
  /// H, even.
  public let headWidth: Int
  /// Positions are `0 ..< positionCount`.
  public let positionCount: Int
  /// Elements from one position's row to the next: `H / 2 + 8`. A row goes on periodically past
  /// its `H / 2` values, so that a kernel may read eight from any of them: sixteen adjacent
  /// columns are eight pairs, possibly of two heads or more.
  public let rowStride: Int
  /// `[positionCount, rowStride]`.
  public let cosines: SharedRows<Float>
  /// `[positionCount, rowStride]`.
  public let sines: SharedRows<Float>

  public init(headWidth: Int, positionCount: Int, theta: Double = 10_000) {
    precondition(headWidth > 0 && headWidth % 2 == 0, "head width \(headWidth) is not even")
    precondition(positionCount > 0, "a table of \(positionCount) positions turns nothing")
    let pairCount = headWidth / 2
    let stride = pairCount + 8
    let cosines = AlignedStorage<Float>(count: positionCount * stride, filledWith: 0).rows
    let sines = AlignedStorage<Float>(count: positionCount * stride, filledWith: 0).rows
    for pair in 0..<pairCount {
      let period = Float(PortableMath.power(theta, Double(2 * pair) / Double(headWidth)))
      let frequency = 1 / period
      for position in 0..<positionCount {
        let (sine, cosine) = PortableMath.sinCos(Double(Float(position) * frequency))
        for column in Swift.stride(from: pair, to: stride, by: pairCount) {
          cosines[position * stride + column] = Float(cosine)
          sines[position * stride + column] = Float(sine)
        }
      }
    }
    self.headWidth = headWidth
    self.positionCount = positionCount
    rowStride = stride
    self.cosines = cosines
    self.sines = sines
  }

  private init(turning other: RotaryTable, sines: SharedRows<Float>) {
    headWidth = other.headWidth
    positionCount = other.positionCount
    rowStride = other.rowStride
    cosines = other.cosines
    self.sines = sines
  }

  /// The table of the opposite angles.
  func reversed() -> RotaryTable {
    let opposite = AlignedStorage<Float>(count: sines.count, filledWith: 0).rows
    opposite.copy(from: sines.array.map { -$0 })
    return RotaryTable(turning: self, sines: opposite)
  }

  /// Cosine of pair `pair` at `position`.
  public func cosine(position: Int, pair: Int) -> Float { cosines[position * rowStride + pair] }

  /// Sine of pair `pair` at `position`.
  public func sine(position: Int, pair: Int) -> Float { sines[position * rowStride + pair] }
}
