import Tensors

/// Seeded damage: the same damaged bytes for the same number, on every machine.
public struct Damage {
  private let random: RandomStream
  private var drawn: UInt64 = 0

  public init(seed: UInt64) { random = RandomStream(seed: seed, purpose: 0xF022) }

  private mutating func draw(below bound: Int) -> Int {
    drawn += 1
    return random.integer(below: bound, at: drawn)
  }

  private mutating func draw<Element>(_ elements: [Element]) -> Element {
    elements[draw(below: elements.count)]
  }

  /// Numbers at which arithmetic goes wrong, as a text has them.
  private static let numbers = [
    "0", "-1", "1e999", "-0", "0.5", "65536", "4294967295", "4294967296", "9007199254740993",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551615",
    "1e308", "null", "[]", "\"\"",
  ].map { Array($0.utf8) }

  /// Bytes at which parsers branch.
  private static let bytes: [UInt8] = Array("\"\\{}[],:/*-+.eE019 \n\r\t\u{0}u".utf8) + [
    0x7F, 0x80, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF4, 0xFF,
  ]

  /// One to four damages of `bytes`; `other` is input of the same kind to take parts from.
  public mutating func apply(to bytes: [UInt8], other: [UInt8]) -> [UInt8] {
    var damaged = bytes
    for _ in 0...draw(below: 4) { damageOnce(&damaged, other) }
    return damaged
  }

  private mutating func damageOnce(_ bytes: inout [UInt8], _ other: [UInt8]) {
    let place = draw(below: bytes.count + 1)
    let end = min(place + draw(below: draw([2, 9, 65])), bytes.count)
    switch draw(below: 10) {
    case 0: bytes.removeSubrange(place...)
    case 1: bytes.removeSubrange(place..<end)
    case 2: bytes.insert(contentsOf: bytes[place..<end], at: place)
    case 3: bytes.insert(draw(Self.bytes), at: place)
    case 4, 8: replaceNumber(in: &bytes, near: place)
    case 5:
      let start = draw(below: other.count + 1)
      bytes.replaceSubrange(place..<end, with: other[start...].prefix(draw(below: 33)))
    case 6 where place < bytes.count: bytes[place] = UInt8(draw(below: 256))
    case 7 where place < bytes.count: bytes[place] = draw(Self.bytes)
    default: if place < bytes.count { bytes[place] ^= 1 << UInt8(draw(below: 8)) }
    }
  }

  /// Puts another number where the next run of digits stands.
  private mutating func replaceNumber(in bytes: inout [UInt8], near place: Int) {
    let isDigit = { (byte: UInt8) in (0x30...0x39).contains(byte) }
    guard let first = bytes[place...].firstIndex(where: isDigit) else { return }
    let end = bytes[first...].firstIndex { !isDigit($0) } ?? bytes.count
    bytes.replaceSubrange(first..<end, with: draw(Self.numbers))
  }
}
