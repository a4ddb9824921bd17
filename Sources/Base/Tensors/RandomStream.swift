/// Counter-based random numbers: a draw is a function of the stream's key and an index.
///
/// The key comes from (seed, phase, step, slice, purpose), so a draw depends on nothing that
/// differs between worker counts, threads or restarts. `CKernels` repeats ``bits(at:)`` for
/// dropout; a test holds the two equal.
public struct RandomStream: Equatable, Sendable {
  public let key0: UInt32
  public let key1: UInt32

  /// - Parameter purpose: What the draws are for; distinct purposes give unrelated streams.
  public init(seed: UInt64, phase: Int = 0, step: Int = 0, slice: Int = 0, purpose: UInt64) {
    var state = seed
    for word in [UInt64(phase), UInt64(step), UInt64(slice), purpose] {
      state = Self.mix64(state ^ Self.mix64(word &+ 0x9E37_79B9_7F4A_7C15))
    }
    key0 = UInt32(truncatingIfNeeded: state)
    key1 = UInt32(truncatingIfNeeded: state >> 32)
  }

  /// 32 random bits.
  public func bits(at index: UInt64) -> UInt32 {
    let low = UInt32(truncatingIfNeeded: index)
    let high = UInt32(truncatingIfNeeded: index >> 32)
    return Self.mix32(Self.mix32(low ^ key0) ^ key1 &+ high &* 0x9E37_79B9)
  }

  /// Uniform in `0 ..< 1`, 24 bits.
  public func uniform(at index: UInt64) -> Float {
    Float(bits(at: index) >> 8) * 0x1p-24
  }

  /// Uniform in `0 ..< bound`, without noticeable bias for bounds far below 2^32.
  public func integer(below bound: Int, at index: UInt64) -> Int {
    precondition(bound > 0 && bound <= 1 << 31, "bound \(bound) is outside 1...2^31")
    return Int((UInt64(bits(at: index)) * UInt64(bound)) >> 32)
  }

  /// A 32-bit finalizer with low bias (two multiplications, constants found by exhaustive search,
  /// Wellons 2018).
  static func mix32(_ value: UInt32) -> UInt32 {
    var x = value
    x ^= x >> 16
    x = x &* 0x7FEB_352D
    x ^= x >> 15
    x = x &* 0x846C_A68B
    x ^= x >> 16
    return x
  }

  /// The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
  static func mix64(_ value: UInt64) -> UInt64 {
    var x = value
    x = (x ^ (x >> 30)) &* 0xBF58_476D_1CE4_E5B9
    x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
    return x ^ (x >> 31)
  }
}
