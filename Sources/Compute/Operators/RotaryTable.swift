public import Tensors

/// Cosines and sines of rotary positions.
///
///     angle[p, i] = p * theta^(-2 i / H),   i in 0 ..< H / 2
///
/// Computed in `Double` by our own series, so that every machine has the same table.
/// - Source: Su et al. 2021, arXiv:2104.09864, eq. 15.
public final class RotaryTable: Sendable {
  public let positionCount: Int
  /// H.
  public let headWidth: Int
  /// `[positionCount, H / 2]`.
  public let cosine: SharedRows<Float>
  /// `[positionCount, H / 2]`.
  public let sine: SharedRows<Float>

  public init(positionCount: Int, headWidth: Int, theta: Double) {
    precondition(headWidth > 0 && headWidth % 2 == 0, "head width \(headWidth) is not even")
    precondition(theta > 0, "theta \(theta) is not positive")
    self.positionCount = positionCount
    self.headWidth = headWidth
    let half = headWidth / 2
    cosine = AlignedStorage(count: positionCount * half, filledWith: 0).rows
    sine = AlignedStorage(count: positionCount * half, filledWith: 0).rows
    let logTheta = naturalLogarithm(theta)
    for pair in 0..<half {
      let frequency = exponential(-2 * Double(pair) / Double(headWidth) * logTheta)
      for position in 0..<positionCount {
        let turned = sineAndCosine(Double(position) * frequency)
        cosine[position * half + pair] = Float(turned.cosine)
        sine[position * half + pair] = Float(turned.sine)
      }
    }
  }
}

/// ln x for positive normal x: ln m + e ln 2, ln m = 2 artanh((m - 1) / (m + 1)), m in [1, 2).
private func naturalLogarithm(_ x: Double) -> Double {
  let ratio = (x.significand - 1) / (x.significand + 1)
  let square = ratio * ratio
  var sum = 0.0
  for power in stride(from: 41, through: 1, by: -2) {  // (1/3)^42 is below 2^-53
    sum = sum * square + 1 / Double(power)
  }
  return 2 * ratio * sum + Double(x.exponent) * 0.693147180559945309417
}

/// e^x for moderate x: 2^n e^r with |r| <= ln 2 / 2.
private func exponential(_ x: Double) -> Double {
  let count = (x * 1.44269504088896340736).rounded()
  let rest = (x - count * 0x1.62e42fefa0000p-1) - count * 0x1.cf79abc9e3b3ap-40
  var sum = 1.0
  for power in stride(from: 16, through: 1, by: -1) {  // 0.35^17 / 17! is below 2^-53
    sum = 1 + sum * rest / Double(power)
  }
  return Double(sign: .plus, exponent: Int(count), significand: sum)
}

/// Quarter turns are taken off in three parts of pi / 2 (two of 33 bits: exact products up to
/// 2^20 quarter turns), then Taylor series for |r| <= pi / 4.
private func sineAndCosine(_ x: Double) -> (sine: Double, cosine: Double) {
  let turns = (x * 0.63661977236758134308).rounded()
  let rest = ((x - turns * 0x1.921fb54400000p+0) - turns * 0x1.0b4611a600000p-34)
    - turns * 0x1.3198a2e037073p-69
  let square = rest * rest
  var sine = 1.0
  var cosine = 1.0
  for power in stride(from: 18, through: 2, by: -2) {  // 0.79^20 / 20! is below 2^-53
    sine = 1 - sine * square / Double(power * (power + 1))
    cosine = 1 - cosine * square / Double(power * (power - 1))
  }
  sine *= rest
  switch Int(turns) & 3 {
  case 0: return (sine, cosine)
  case 1: return (cosine, -sine)
  case 2: return (-sine, -cosine)
  default: return (-cosine, sine)
  }
}
