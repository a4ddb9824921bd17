/// Reads the one JSON grammar that a safetensors header may have.
///
/// A general decoder would accept two tensors of one name, which the format forbids, and would not
/// say where the text is wrong.
struct SafetensorsJSON {
  struct Entry {
    var name: String
    var type: String
    var shape: [Int]
    var begin: Int
    var end: Int
  }

  private let bytes: [UInt8]
  private var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// The whole text: `{"__metadata__": {...}, "name": {...}, ...}` and spaces.
  mutating func header() throws(SafetensorsError) -> (
    tensors: [Entry], metadata: [String: String]
  ) {
    guard bytes.first == UInt8(ascii: "{") else { throw .malformed(offset: 0) }
    var tensors: [Entry] = []
    var metadata: [String: String] = [:]
    var seen: Set<String> = []
    try members { reader, name throws(SafetensorsError) in
      guard seen.insert(name).inserted else { throw .duplicateName(name) }
      if name == "__metadata__" {
        metadata = try reader.strings()
      } else {
        tensors.append(try reader.tensor(name))
      }
    }
    skipSpace()
    guard offset == bytes.count else { throw .malformed(offset: offset) }
    return (tensors, metadata)
  }

  private mutating func tensor(_ name: String) throws(SafetensorsError) -> Entry {
    var type: String?
    var shape: [Int]?
    var range: [Int]?
    let start = offset
    try members { reader, key throws(SafetensorsError) in
      let place = reader.offset
      switch key {
      case "dtype" where type == nil: type = try reader.string()
      case "shape" where shape == nil: shape = try reader.numbers()
      case "data_offsets" where range == nil: range = try reader.numbers()
      default: throw .malformed(offset: place)
      }
    }
    guard let type, let shape, let range, range.count == 2 else { throw .malformed(offset: start) }
    return Entry(name: name, type: type, shape: shape, begin: range[0], end: range[1])
  }

  private mutating func strings() throws(SafetensorsError) -> [String: String] {
    var found: [String: String] = [:]
    try members { reader, key throws(SafetensorsError) in
      guard found[key] == nil else { throw .duplicateName(key) }
      found[key] = try reader.string()
    }
    return found
  }

  /// `{"key": value, ...}`; `value` reads what follows the colon.
  private mutating func members(
    _ value: (inout SafetensorsJSON, String) throws(SafetensorsError) -> Void
  ) throws(SafetensorsError) {
    try expect("{")
    if take("}") { return }
    repeat {
      let key = try string()
      try expect(":")
      try value(&self, key)
    } while take(",")
    try expect("}")
  }

  private mutating func numbers() throws(SafetensorsError) -> [Int] {
    try expect("[")
    var found: [Int] = []
    if take("]") { return found }
    repeat { found.append(try number()) } while take(",")
    try expect("]")
    return found
  }

  /// A number without sign, fraction or exponent that fits in `Int`.
  private mutating func number() throws(SafetensorsError) -> Int {
    skipSpace()
    let start = offset
    var value = 0
    while offset < bytes.count, case let digit = bytes[offset] &- 0x30, digit < 10 {
      let (tens, overflows) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflowsToo) = tens.addingReportingOverflow(Int(digit))
      guard !overflows && !overflowsToo else { throw .malformed(offset: start) }
      value = sum
      offset += 1
    }
    let hasLeadingZero = offset - start > 1 && bytes[start] == 0x30
    guard offset > start, !hasLeadingZero else { throw .malformed(offset: start) }
    return value
  }

  private mutating func string() throws(SafetensorsError) -> String {
    try expect("\"")
    let start = offset
    var text: [UInt8] = []
    while offset < bytes.count {
      let byte = bytes[offset]
      offset += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else {
          throw .malformed(offset: start)
        }
        return string
      case UInt8(ascii: "\\"): text += try escaped()
      case 0..<0x20: throw .malformed(offset: offset - 1)
      default: text.append(byte)
      }
    }
    throw .malformed(offset: offset)
  }

  /// What follows a backslash, as UTF-8.
  private mutating func escaped() throws(SafetensorsError) -> [UInt8] {
    guard offset < bytes.count else { throw .malformed(offset: offset) }
    let letter = bytes[offset]
    offset += 1
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [letter]
    case UInt8(ascii: "b"): return [8]
    case UInt8(ascii: "f"): return [12]
    case UInt8(ascii: "n"): return [10]
    case UInt8(ascii: "r"): return [13]
    case UInt8(ascii: "t"): return [9]
    case UInt8(ascii: "u"):
      let place = offset
      var units = [try codeUnit()]
      if UTF16.isLeadSurrogate(units[0]), take("\\", skippingSpace: false) {
        try expect("u", skippingSpace: false)
        units.append(try codeUnit())
      }
      guard let text = String(validating: units, as: UTF16.self) else {
        throw .malformed(offset: place)
      }
      return Array(text.utf8)
    default: throw .malformed(offset: offset - 1)
    }
  }

  private mutating func codeUnit() throws(SafetensorsError) -> UInt16 {
    var unit: UInt16 = 0
    for _ in 0..<4 {
      guard offset < bytes.count else { throw .malformed(offset: offset) }
      let byte = bytes[offset]
      let digit: UInt8
      switch byte {
      case 0x30...0x39: digit = byte - 0x30
      case 0x41...0x46: digit = byte - 0x41 + 10
      case 0x61...0x66: digit = byte - 0x61 + 10
      default: throw .malformed(offset: offset)
      }
      unit = unit << 4 | UInt16(digit)
      offset += 1
    }
    return unit
  }

  private mutating func skipSpace() {
    while offset < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[offset]) { offset += 1 }
  }

  private mutating func take(_ character: Unicode.Scalar, skippingSpace: Bool = true) -> Bool {
    if skippingSpace { skipSpace() }
    guard offset < bytes.count, bytes[offset] == UInt8(ascii: character) else { return false }
    offset += 1
    return true
  }

  private mutating func expect(
    _ character: Unicode.Scalar, skippingSpace: Bool = true
  ) throws(SafetensorsError) {
    guard take(character, skippingSpace: skippingSpace) else { throw .malformed(offset: offset) }
  }
}
