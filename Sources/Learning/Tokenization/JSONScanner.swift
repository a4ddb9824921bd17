/// Where and why bytes are not JSON.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Problem: Equatable, Sendable {
    case unexpectedEnd
    case unexpectedByte(UInt8)
    case invalidEscape
    case invalidUTF8
    case controlCharacterInString
    case tooDeep
    case invalidNumber
    case trailingBytes
  }
  public let problem: Problem
  /// From the start of the scanned range.
  public let byteOffset: Int
  /// 1-based.
  public let line: Int

  public var description: String {
    let what =
      switch problem {
      case .unexpectedEnd: "ends too early"
      case .unexpectedByte(let byte): "has an unexpected byte 0x\(String(byte, radix: 16))"
      case .invalidEscape: "has an invalid escape in a string"
      case .invalidUTF8: "is not UTF-8"
      case .controlCharacterInString: "has a raw control character in a string"
      case .tooDeep: "is nested deeper than \(JSONScanner.depthMax)"
      case .invalidNumber: "has an invalid number"
      case .trailingBytes: "goes on after the value"
      }
    return "line \(line), byte \(byteOffset): \(what)"
  }
}

/// Reads JSON value by value from bytes that may be anything: it never traps, it throws.
///
/// Strings stay bytes, because Swift's `String` takes canonically equivalent texts for equal and
/// vocabularies must not.
public struct JSONScanner: Sendable {
  public static let depthMax = 128

  private let bytes: [UInt8]
  private let start: Int
  private let end: Int
  /// Next byte to read, in `bytes`.
  public private(set) var position: Int

  public init(_ bytes: [UInt8], range: Range<Int>? = nil) {
    let whole = range ?? 0..<bytes.count
    precondition(
      whole.lowerBound >= 0 && whole.upperBound <= bytes.count,
      "\(whole) is outside 0..<\(bytes.count)")
    self.bytes = bytes
    self.start = whole.lowerBound
    self.end = whole.upperBound
    self.position = whole.lowerBound
  }

  /// The first byte of the next value, after white space.
  public mutating func peek() throws(JSONError) -> UInt8 {
    skipWhitespace()
    guard position < end else { throw failure(.unexpectedEnd) }
    return bytes[position]
  }

  /// Reads an object: calls `body` for every key with the scanner before the value, which `body`
  /// reads or skips.
  public mutating func readObject<E: Error>(
    failing: (JSONError) -> E,
    _ body: (inout JSONScanner, [UInt8]) throws(E) -> Void
  ) throws(E) {
    do { try expect(0x7B) } catch { throw failing(error) }
    var isFirst = true
    while true {
      let key: [UInt8]?
      do { key = try nextKey(isFirst: isFirst) } catch { throw failing(error) }
      guard let key else { return }
      isFirst = false
      try body(&self, key)
    }
  }

  /// Reads an array: calls `body` with the scanner before each element, which `body` reads or
  /// skips.
  public mutating func readArray<E: Error>(
    failing: (JSONError) -> E, _ body: (inout JSONScanner) throws(E) -> Void
  ) throws(E) {
    do { try expect(0x5B) } catch { throw failing(error) }
    var isFirst = true
    while true {
      let hasNext: Bool
      do { hasNext = try nextElement(isFirst: isFirst) } catch { throw failing(error) }
      guard hasNext else { return }
      isFirst = false
      try body(&self)
    }
  }

  /// Reads a string, escapes resolved, as UTF-8.
  public mutating func readString() throws(JSONError) -> [UInt8] {
    var text: [UInt8] = []
    try readString(into: &text)
    return text
  }

  /// Reads a string, escapes resolved, onto the end of `text`, as UTF-8.
  public mutating func readString(into text: inout [UInt8]) throws(JSONError) {
    try expect(0x22)
    while true {
      let run = position
      while position < end, bytes[position] != 0x22, bytes[position] != 0x5C,
        bytes[position] >= 0x20
      {
        position += 1
      }
      if let bad = firstInvalidUTF8(in: bytes, range: run..<position) {
        position = bad
        throw failure(.invalidUTF8)
      }
      text.append(contentsOf: bytes[run..<position])
      guard position < end else { throw failure(.unexpectedEnd) }
      switch bytes[position] {
      case 0x22:
        position += 1
        return
      case 0x5C:
        try readEscape(into: &text)
      default:
        throw failure(.controlCharacterInString)
      }
    }
  }

  /// Reads an integer of at most 18 digits.
  public mutating func readInteger() throws(JSONError) -> Int {
    _ = try peek()
    let isNegative = bytes[position] == 0x2D
    if isNegative { position += 1 }
    let first = position
    var value = 0
    while position < end, bytes[position] >= 0x30, bytes[position] <= 0x39 {
      guard position - first < 18 else { throw failure(.invalidNumber) }
      value = value * 10 + Int(bytes[position] - 0x30)
      position += 1
    }
    guard position > first else { throw failure(.invalidNumber) }
    if position < end, [0x2E, 0x65, 0x45].contains(bytes[position]) {
      throw failure(.invalidNumber)
    }
    return isNegative ? -value : value
  }

  /// Passes over one value of any kind, checking it.
  public mutating func skipValue() throws(JSONError) {
    try skipValue(depth: 0)
  }

  /// Checks that only white space is left.
  public mutating func finish() throws(JSONError) {
    skipWhitespace()
    if position < end { throw failure(.trailingBytes) }
  }

  // MARK: - Parts

  private mutating func skipWhitespace() {
    while position < end {
      switch bytes[position] {
      case 0x20, 0x0A, 0x0D, 0x09: position += 1
      default: return
      }
    }
  }

  private mutating func expect(_ byte: UInt8) throws(JSONError) {
    let found = try peek()
    guard found == byte else { throw failure(.unexpectedByte(found)) }
    position += 1
  }

  private mutating func nextKey(isFirst: Bool) throws(JSONError) -> [UInt8]? {
    let byte = try peek()
    if byte == 0x7D {
      position += 1
      return nil
    }
    if !isFirst { try expect(0x2C) }
    let key = try readString()
    try expect(0x3A)
    return key
  }

  private mutating func nextElement(isFirst: Bool) throws(JSONError) -> Bool {
    let byte = try peek()
    if byte == 0x5D {
      position += 1
      return false
    }
    if !isFirst { try expect(0x2C) }
    return true
  }

  private mutating func skipValue(depth: Int) throws(JSONError) {
    guard depth < Self.depthMax else { throw failure(.tooDeep) }
    switch try peek() {
    case 0x22: try skipString()
    case 0x7B:
      position += 1
      var isFirst = true
      while try nextKey(isFirst: isFirst) != nil {
        isFirst = false
        try skipValue(depth: depth + 1)
      }
    case 0x5B:
      position += 1
      var isFirst = true
      while try nextElement(isFirst: isFirst) {
        isFirst = false
        try skipValue(depth: depth + 1)
      }
    case 0x74: try skipWord("true")
    case 0x66: try skipWord("false")
    case 0x6E: try skipWord("null")
    case 0x2D, 0x30...0x39: try skipNumber()
    case let byte: throw failure(.unexpectedByte(byte))
    }
  }

  private mutating func skipString() throws(JSONError) {
    var ignored: [UInt8] = []
    try readString(into: &ignored)
  }

  private mutating func skipWord(_ word: StaticString) throws(JSONError) {
    for byte in Array("\(word)".utf8) {
      guard position < end else { throw failure(.unexpectedEnd) }
      guard bytes[position] == byte else { throw failure(.unexpectedByte(bytes[position])) }
      position += 1
    }
  }

  private mutating func skipDigits() -> Int {
    let first = position
    while position < end, bytes[position] >= 0x30, bytes[position] <= 0x39 { position += 1 }
    return position - first
  }

  private mutating func skipNumber() throws(JSONError) {
    if bytes[position] == 0x2D { position += 1 }
    guard skipDigits() > 0 else { throw failure(.invalidNumber) }
    if position < end, bytes[position] == 0x2E {
      position += 1
      guard skipDigits() > 0 else { throw failure(.invalidNumber) }
    }
    if position < end, bytes[position] == 0x65 || bytes[position] == 0x45 {
      position += 1
      if position < end, bytes[position] == 0x2B || bytes[position] == 0x2D { position += 1 }
      guard skipDigits() > 0 else { throw failure(.invalidNumber) }
    }
  }

  private mutating func readEscape(into text: inout [UInt8]) throws(JSONError) {
    guard position + 1 < end else { throw failure(.unexpectedEnd) }
    let kind = bytes[position + 1]
    switch kind {
    case 0x22, 0x5C, 0x2F: text.append(kind)
    case 0x62: text.append(0x08)
    case 0x66: text.append(0x0C)
    case 0x6E: text.append(0x0A)
    case 0x72: text.append(0x0D)
    case 0x74: text.append(0x09)
    case 0x75:
      try readUnicodeEscape(into: &text)
      return
    default: throw failure(.invalidEscape)
    }
    position += 2
  }

  /// Reads `\uXXXX`, or two of them that form a pair of surrogates.
  private mutating func readUnicodeEscape(into text: inout [UInt8]) throws(JSONError) {
    guard let first = hexDigits(at: position + 2) else { throw failure(.invalidEscape) }
    var value = first
    var length = 6
    if first >= 0xD800, first < 0xDC00 {
      guard position + 7 < end, bytes[position + 6] == 0x5C, bytes[position + 7] == 0x75,
        let second = hexDigits(at: position + 8), second >= 0xDC00, second < 0xE000
      else { throw failure(.invalidEscape) }
      value = 0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)
      length = 12
    }
    guard let scalar = Unicode.Scalar(value) else { throw failure(.invalidEscape) }
    text.append(contentsOf: utf8Bytes(of: scalar.value))
    position += length
  }

  private func hexDigits(at first: Int) -> UInt32? {
    guard first + 4 <= end else { return nil }
    var value: UInt32 = 0
    for index in first..<first + 4 {
      switch bytes[index] {
      case 0x30...0x39: value = value << 4 | UInt32(bytes[index] - 0x30)
      case 0x41...0x46: value = value << 4 | UInt32(bytes[index] - 0x41 + 10)
      case 0x61...0x66: value = value << 4 | UInt32(bytes[index] - 0x61 + 10)
      default: return nil
      }
    }
    return value
  }

  private func failure(_ problem: JSONError.Problem) -> JSONError {
    let line = bytes[start..<min(position, end)].count(where: { $0 == 0x0A }) + 1
    return JSONError(problem: problem, byteOffset: position - start, line: line)
  }
}
