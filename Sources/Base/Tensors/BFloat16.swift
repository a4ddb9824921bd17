/// A 16-bit float with the exponent range of `Float` and 8 bits of significand.
///
/// It is storage only: arithmetic happens in `Float` (or in the hardware's bf16 dot product),
/// so the type offers conversion and nothing else.
public struct BFloat16: BitwiseCopyable, Equatable, Sendable {
  public var bitPattern: UInt16

  public init(bitPattern: UInt16) { self.bitPattern = bitPattern }

  /// Rounds to nearest, ties to even. A NaN stays a (quiet) NaN.
  public init(_ value: Float) {
    let bits = value.bitPattern
    guard !value.isNaN else {
      self.bitPattern = UInt16(truncatingIfNeeded: bits >> 16) | 0x0040
      return
    }
    let roundingBias = 0x7FFF + ((bits >> 16) & 1)
    self.bitPattern = UInt16(truncatingIfNeeded: (bits &+ roundingBias) >> 16)
  }

  /// The exact value as a `Float`.
  public var float: Float { Float(bitPattern: UInt32(bitPattern) << 16) }
}
