/// The offset of the first byte of `range` that does not belong to well-formed UTF-8, or nil.
///
/// Strict as Unicode defines it (table 3-7): no overlong forms, no surrogates, nothing past
/// U+10FFFF, nothing cut off at the end.
public func firstInvalidUTF8(in bytes: [UInt8], range: Range<Int>) -> Int? {
  let text = bytes.span
  let end = range.upperBound
  var index = range.lowerBound
  while index < end {
    let lead = text[index]
    if lead < 0x80 {
      index += 1
      continue
    }
    let length: Int
    switch lead {
    case 0xC2...0xDF: length = 2
    case 0xE0...0xEF: length = 3
    case 0xF0...0xF4: length = 4
    default: return index
    }
    guard index + length <= end else { return index }
    let second = text[index + 1]
    let isSecondAllowed =
      switch lead {
      case 0xE0: second >= 0xA0 && second <= 0xBF
      case 0xED: second >= 0x80 && second <= 0x9F
      case 0xF0: second >= 0x90 && second <= 0xBF
      case 0xF4: second >= 0x80 && second <= 0x8F
      default: second & 0xC0 == 0x80
      }
    guard isSecondAllowed else { return index }
    for offset in 2..<max(length, 2) where text[index + offset] & 0xC0 != 0x80 { return index }
    index += length
  }
  return nil
}

/// The scalar that starts at `index` and how many bytes it takes.
/// - Precondition: The text is well-formed UTF-8 and `index` is the start of a scalar.
@inline(__always)
func decodeScalar(_ text: Span<UInt8>, at index: Int) -> (scalar: UInt32, length: Int) {
  let lead = UInt32(text[index])
  if lead < 0x80 { return (lead, 1) }
  let second = UInt32(text[index + 1] & 0x3F)
  if lead < 0xE0 { return ((lead & 0x1F) << 6 | second, 2) }
  let third = UInt32(text[index + 2] & 0x3F)
  if lead < 0xF0 { return ((lead & 0x0F) << 12 | second << 6 | third, 3) }
  let fourth = UInt32(text[index + 3] & 0x3F)
  return ((lead & 0x07) << 18 | second << 12 | third << 6 | fourth, 4)
}

/// The UTF-8 form of `scalar`.
func utf8Bytes(of scalar: UInt32) -> [UInt8] {
  guard let scalar = Unicode.Scalar(scalar), let bytes = UTF8.encode(scalar) else {
    preconditionFailure("\(scalar) is not a Unicode scalar")
  }
  return Array(bytes)
}

/// Text out of bytes that come in pieces: a character comes with its last byte. What is no UTF-8
/// becomes U+FFFD, as it does in the whole.
public struct UTF8Pieces {
  private var pending: [UInt8] = []

  public init() {}

  /// The characters that `bytes` completes.
  public mutating func append(_ bytes: [UInt8]) -> String {
    pending += bytes
    let text = String(decoding: pending.dropLast(openCount), as: UTF8.self)
    pending = pending.suffix(openCount)
    return text
  }

  /// What is left when no more bytes come.
  public mutating func finish() -> String {
    defer { pending = [] }
    return String(decoding: pending, as: UTF8.self)
  }

  /// Bytes at the end that may begin a character.
  private var openCount: Int {
    for count in 1...3 where count <= pending.count {
      let length: Int
      switch pending[pending.count - count] {
      case 0x80...0xBF: continue
      case 0xC2...0xDF: length = 2
      case 0xE0...0xEF: length = 3
      case 0xF0...0xF4: length = 4
      default: return 0
      }
      return count < length ? count : 0
    }
    return 0
  }
}
