/// A number for each of many pairs of numbers.
///
/// Open addressing with linear probing, at most half full.
struct PairTable: Sendable {
  private var keys: [UInt64]
  private var values: [UInt64]
  private let shift: UInt64
  private var count = 0
  private let countMax: Int

  /// The value of a pair that has none.
  static let absent = UInt64.max

  /// - Parameter countMax: Most pairs it can hold.
  init(countMax: Int) {
    var bitCount: UInt64 = 4
    while 1 << bitCount < 2 * countMax { bitCount += 1 }
    self.countMax = countMax
    keys = [UInt64](repeating: Self.absent, count: 1 << bitCount)
    values = [UInt64](repeating: Self.absent, count: 1 << bitCount)
    shift = 64 - bitCount
  }

  /// The value of the pair, or ``absent``.
  @inline(__always)
  func value(_ left: UInt32, _ right: UInt32) -> UInt64 {
    let key = Self.key(left, right)
    let found = keys.span
    let mask = found.count - 1
    var slot = Int((key &* 0x9E37_79B9_7F4A_7C15) >> shift)
    while true {
      if found[slot] == key { return values.span[slot] }
      if found[slot] == Self.absent { return Self.absent }
      slot = (slot + 1) & mask
    }
  }

  /// Gives the pair a value, which replaces an earlier one.
  mutating func set(_ left: UInt32, _ right: UInt32, to value: UInt64) {
    let key = Self.key(left, right)
    var slot = Int((key &* 0x9E37_79B9_7F4A_7C15) >> shift)
    while keys[slot] != Self.absent, keys[slot] != key { slot = (slot + 1) & (keys.count - 1) }
    if keys[slot] == Self.absent {
      precondition(count < countMax, "the table has room for \(countMax) pairs")
      count += 1
    }
    keys[slot] = key
    values[slot] = value
  }

  @inline(__always)
  private static func key(_ left: UInt32, _ right: UInt32) -> UInt64 {
    UInt64(left) << 32 | UInt64(right)
  }
}
