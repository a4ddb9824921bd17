/// Reads fixed-width little-endian numbers out of bytes that came from elsewhere.
///
/// Reading past the end gives nil, never a trap; headers check their length once before.
struct LittleEndianReader: ~Copyable {
  private let bytes: [UInt8]
  private var position: Int

  init(_ bytes: [UInt8], at position: Int = 0) {
    self.bytes = bytes
    self.position = position
  }

  mutating func next<Number: FixedWidthInteger & UnsignedInteger>(
    _ type: Number.Type = Number.self
  ) -> Number? {
    let width = Number.bitWidth / 8
    guard bytes.count - position >= width else { return nil }
    var value: Number = 0
    for index in (0..<width).reversed() { value = value << 8 | Number(bytes[position + index]) }
    position += width
    return value
  }
}

extension [UInt8] {
  mutating func appendLittleEndian(_ value: some FixedWidthInteger & UnsignedInteger) {
    for index in 0..<(value.bitWidth / 8) {
      append(UInt8(truncatingIfNeeded: value >> (8 * index)))
    }
  }
}
