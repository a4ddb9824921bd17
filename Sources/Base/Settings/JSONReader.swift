/// A text that is not JSON, and the first place where it is not.
public struct JSONSyntaxError: Error, Equatable, Sendable {
  public let span: SourceSpan
  /// What is wrong there, and what was expected.
  public let reason: String
}

/// Reads JSON with `//` and `/* */` comments and trailing commas, keeping the place of every key
/// and value.
///
/// Foreign bytes: it never traps, nesting and size are limited, and every error has a place. Time
/// and memory are linear in the text.
public struct JSONReader {
  /// Deeper nesting is refused, so that recursion is bounded.
  public static let depthMax = 64
  /// Plans are a few KiB; larger texts are refused before they are read.
  public static let byteCountMax = 16 << 20

  private let bytes: [UInt8]
  private var index = 0
  private var line = 1
  private var column = 1

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  public static func read(_ text: String) throws(JSONSyntaxError) -> JSONNode {
    try read(Array(text.utf8))
  }

  public static func read(_ bytes: [UInt8]) throws(JSONSyntaxError) -> JSONNode {
    var reader = JSONReader(bytes)
    guard bytes.count <= byteCountMax else {
      throw reader.error("\(bytes.count) bytes, more than \(byteCountMax)")
    }
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { reader.index = 3 }
    try reader.skipBlank()
    let node = try reader.readValue(depth: 0)
    try reader.skipBlank()
    guard reader.peek == nil else { throw reader.error("nothing may follow the value") }
    return node
  }

  private var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

  private func error(_ reason: String, at span: SourceSpan? = nil) -> JSONSyntaxError {
    JSONSyntaxError(span: span ?? SourceSpan(line: line, column: column), reason: reason)
  }

  /// Takes one byte and keeps count of lines and columns; continuation bytes share a column.
  private mutating func advance() {
    let byte = bytes[index]
    index += 1
    if byte == UInt8(ascii: "\n") {
      line += 1
      column = 1
    } else if byte & 0xC0 != 0x80 {
      column += 1
    }
  }

  private func starts(with text: StaticString) -> Bool {
    let word = Array("\(text)".utf8)
    return index + word.count <= bytes.count && bytes[index..<index + word.count] == word[...]
  }

  private mutating func skipBlank() throws(JSONSyntaxError) {
    while let byte = peek {
      switch byte {
      case 0x20, 0x09, 0x0A, 0x0D:
        advance()
      case UInt8(ascii: "/") where starts(with: "//"):
        while let next = peek, next != 0x0A { advance() }
      case UInt8(ascii: "/") where starts(with: "/*"):
        let start = SourceSpan(line: line, column: column, length: 2)
        advance()
        advance()
        while !starts(with: "*/") {
          guard peek != nil else { throw error("this comment has no end", at: start) }
          advance()
        }
        advance()
        advance()
      default:
        return
      }
    }
  }

  private mutating func readValue(depth: Int) throws(JSONSyntaxError) -> JSONNode {
    guard depth < Self.depthMax else { throw error("nested more than \(Self.depthMax) deep") }
    let start = SourceSpan(line: line, column: column)
    switch peek {
    case UInt8(ascii: "{"):
      return JSONNode(.object(try readMembers(depth: depth)), span: start)
    case UInt8(ascii: "["):
      return JSONNode(.array(try readElements(depth: depth)), span: start)
    case UInt8(ascii: "\""):
      let text = try readString()
      return JSONNode(.string(text), span: spanned(from: start))
    case .some(let byte) where byte == UInt8(ascii: "-") || (0x30...0x39).contains(byte):
      let literal = try readNumber()
      return JSONNode(.number(literal), span: spanned(from: start))
    case nil:
      throw error("the text ends where a value was expected")
    default:
      return JSONNode(try readWord(), span: spanned(from: start))
    }
  }

  private func spanned(from start: SourceSpan) -> SourceSpan {
    SourceSpan(line: start.line, column: start.column, length: max(1, column - start.column))
  }

  private mutating func readWord() throws(JSONSyntaxError) -> JSONNode.Value {
    let start = SourceSpan(line: line, column: column)
    let first = index
    while let byte = peek, Self.isWordByte(byte) { advance() }
    let word = String(decoding: bytes[first..<index], as: UTF8.self)
    switch word {
    case "true": return .bool(true)
    case "false": return .bool(false)
    case "null": return .null
    case "": throw error("a value was expected")
    default:
      throw error("'\(word)' is no value; text stands in double quotes", at: spanned(from: start))
    }
  }

  private static func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."),
      UInt8(ascii: "+"), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  private mutating func readNumber() throws(JSONSyntaxError) -> String {
    let start = SourceSpan(line: line, column: column)
    let first = index
    while let byte = peek, Self.isWordByte(byte) { advance() }
    let literal = String(decoding: bytes[first..<index], as: UTF8.self)
    guard Self.isNumber(bytes[first..<index]) else {
      throw error("'\(literal)' is not a number", at: spanned(from: start))
    }
    guard let value = Double(literal), value.isFinite else {
      throw error("'\(literal)' is too large", at: spanned(from: start))
    }
    return literal
  }

  /// The grammar of RFC 8259: no leading zero or plus, digits on both sides of the point.
  private static func isNumber(_ literal: ArraySlice<UInt8>) -> Bool {
    var rest = literal
    func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
    func takeDigits() -> Int {
      let digits = rest.prefix(while: isDigit).count
      rest = rest.dropFirst(digits)
      return digits
    }
    if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
    let startsWithZero = rest.first == UInt8(ascii: "0")
    let whole = takeDigits()
    guard whole == 1 || (whole > 1 && !startsWithZero) else { return false }
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      guard takeDigits() > 0 else { return false }
    }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
      rest = rest.dropFirst()
      if rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: "-") {
        rest = rest.dropFirst()
      }
      guard takeDigits() > 0 else { return false }
    }
    return rest.isEmpty
  }

  private mutating func readElements(depth: Int) throws(JSONSyntaxError) -> [JSONNode] {
    var nodes = [JSONNode]()
    let open = SourceSpan(line: line, column: column)
    advance()
    while true {
      try skipBlank()
      if peek == UInt8(ascii: "]") {
        advance()
        return nodes
      }
      guard peek != nil else { throw error("this list has no ']'", at: open) }
      nodes.append(try readValue(depth: depth + 1))
      try readSeparator(before: UInt8(ascii: "]"), open: open, "list")
    }
  }

  private mutating func readMembers(depth: Int) throws(JSONSyntaxError) -> [JSONNode.Member] {
    var members = [JSONNode.Member]()
    let open = SourceSpan(line: line, column: column)
    advance()
    while true {
      try skipBlank()
      if peek == UInt8(ascii: "}") {
        advance()
        return members
      }
      guard peek != nil else { throw error("this section has no '}'", at: open) }
      guard peek == UInt8(ascii: "\"") else { throw error("a key in double quotes was expected") }
      let start = SourceSpan(line: line, column: column)
      let key = try readString()
      let span = spanned(from: start)
      try skipBlank()
      guard peek == UInt8(ascii: ":") else {
        throw error("':' was expected after the key '\(key)'")
      }
      advance()
      try skipBlank()
      let node = try readValue(depth: depth + 1)
      members.append(JSONNode.Member(key: key, keySpan: span, node: node))
      try readSeparator(before: UInt8(ascii: "}"), open: open, "section")
    }
  }

  /// Takes the comma between values; the closing bracket may stand instead and is left.
  private mutating func readSeparator(
    before close: UInt8, open: SourceSpan, _ kind: String
  ) throws(JSONSyntaxError) {
    try skipBlank()
    if peek == UInt8(ascii: ",") { return advance() }
    if peek == close { return }
    let bracket = Character(Unicode.Scalar(close))
    guard peek != nil else { throw error("this \(kind) has no '\(bracket)'", at: open) }
    throw error("',' or '\(bracket)' was expected")
  }

  private mutating func readString() throws(JSONSyntaxError) -> String {
    let open = SourceSpan(line: line, column: column)
    advance()
    var collected = [UInt8]()
    while let byte = peek {
      switch byte {
      case UInt8(ascii: "\""):
        advance()
        guard let text = String(validating: collected, as: UTF8.self) else {
          throw error("this text is not UTF-8", at: open)
        }
        return text
      case UInt8(ascii: "\\"):
        try readEscape(into: &collected)
      case 0..<0x20:
        throw error("a line break or control character stands in this text", at: open)
      default:
        collected.append(byte)
        advance()
      }
    }
    throw error("this text has no closing '\"'", at: open)
  }

  private mutating func readEscape(into collected: inout [UInt8]) throws(JSONSyntaxError) {
    let start = SourceSpan(line: line, column: column, length: 2)
    advance()
    guard let byte = peek else { throw error("this escape has no end", at: start) }
    advance()
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): collected.append(byte)
    case UInt8(ascii: "b"): collected.append(0x08)
    case UInt8(ascii: "f"): collected.append(0x0C)
    case UInt8(ascii: "n"): collected.append(0x0A)
    case UInt8(ascii: "r"): collected.append(0x0D)
    case UInt8(ascii: "t"): collected.append(0x09)
    case UInt8(ascii: "u"):
      var code = try readHex(start)
      if (0xD800..<0xDC00).contains(code), starts(with: "\\u") {
        advance()
        advance()
        let low = try readHex(start)
        guard (0xDC00..<0xE000).contains(low) else {
          throw error("half a surrogate pair", at: start)
        }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else {
        throw error("half a surrogate pair", at: start)
      }
      collected.append(contentsOf: String(Character(scalar)).utf8)
    default:
      throw error("unknown escape", at: start)
    }
  }

  private mutating func readHex(_ start: SourceSpan) throws(JSONSyntaxError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw error("'\\u' needs four hexadecimal digits", at: start)
      }
      code = code << 4 | UInt32(digit)
      advance()
    }
    return code
  }
}
