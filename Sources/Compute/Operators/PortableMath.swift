/// Functions of one variable with the same bits on every host.
///
/// The C library's differ in the last place between versions and processors; a run's digest must
/// not. These use only `+ - * /`, comparisons and exact scaling, which IEEE 754 fixes. Meant for
/// tables, schedules and initial values, not for inner loops.
public enum PortableMath {
  private static let ln2High = 0x1.62e42fee00000p-1
  private static let ln2Low = 0x1.a39ef35793c76p-33

  /// e^x within 2 units of the last place, for `|x| <= 700`.
  public static func exp(_ x: Double) -> Double {
    precondition(abs(x) <= 700, "exp(\(x)) is outside the range of exponents -700...700")
    let n = (x * 0x1.71547652b82fep+0).rounded()
    let r = (x - n * ln2High) - n * ln2Low
    // |r| <= ln 2 / 2, so the first term left out is below 0.35^14 / 14! = 5e-18.
    var sum = 1.0
    for k in stride(from: 13.0, through: 1, by: -1) { sum = 1 + r / k * sum }
    return Double(sign: .plus, exponent: Int(n), significand: sum)
  }

  /// The natural logarithm within 2 units of the last place (absolutely, near 1).
  ///
  /// - Precondition: `x` is positive, normal and finite.
  public static func log(_ x: Double) -> Double {
    precondition(x.isNormal && x > 0, "log(\(x)) is not defined here")
    var exponent = Double(x.exponent)
    var m = x.significand
    if m > 0x1.6a09e667f3bcdp+0 {  // sqrt 2: keeps |s| <= 0.1716
      m /= 2
      exponent += 1
    }
    // log m = 2 (s + s^3 / 3 + s^5 / 5 + ...); the first term left out is below 3e-19.
    let s = (m - 1) / (m + 1)
    let square = s * s
    var sum = 0.0
    for k in stride(from: 23.0, through: 3, by: -2) { sum = (sum + 1 / k) * square }
    return exponent * ln2High + (exponent * ln2Low + 2 * s * sum + 2 * s)
  }

  /// base^exponent.
  ///
  /// - Precondition: `base` is positive and the result is within e^-700 ... e^700.
  public static func power(_ base: Double, _ exponent: Double) -> Double {
    exp(exponent * log(base))
  }

  /// Sine and cosine of `x` radians, within 2^-52 absolutely, for `|x| <= 2^20`.
  public static func sinCos(_ x: Double) -> (sin: Double, cos: Double) {
    precondition(abs(x) <= 0x1p20, "sinCos(\(x)) is outside -2^20...2^20")
    // pi / 2 in three parts; the first two have 33 bits, so n * part is exact for n < 2^20.
    let n = (x * 0x1.45f306dc9c883p-1).rounded()
    let r = ((x - n * 0x1.921fb54400000p+0) - n * 0x1.0b4611a600000p-34) - n * 0x1.3198a2e037073p-69
    let square = r * r
    // |r| <= pi / 4; the first terms left out are below 0.79^19 / 19! = 1e-19.
    var sine = 1.0
    for k in stride(from: 17.0, through: 3, by: -2) { sine = 1 - square / (k * (k - 1)) * sine }
    sine *= r
    var cosine = 1.0
    for k in stride(from: 18.0, through: 2, by: -2) { cosine = 1 - square / (k * (k - 1)) * cosine }
    switch Int(n) & 3 {
    case 0: return (sine, cosine)
    case 1: return (cosine, -sine)
    case 2: return (-sine, -cosine)
    default: return (-cosine, sine)
    }
  }
}
