import Settings
import Testing

private func problem(_ text: String) -> String {
  do throws(JSONSyntaxError) {
    return "no error: \(try JSONReader.read(text).jsonText(isIndented: false))"
  } catch {
    return "\(error.span.line):\(error.span.column) \(error.reason)"
  }
}

@Suite struct `JSON reader` {
  @Test func `comments, trailing commas and a byte order mark are understood`() throws {
    let node = try JSONReader.read(
      "\u{FEFF}// plan\n{ \"a\": [1, 2.5e3, ], /* two\nlines */ \"b\": {\"c\": null,},\n"
        + " \"d\": \"x\" }\n")
    #expect(node.jsonText(isIndented: false) == #"{"a":[1,2.5e3],"b":{"c":null},"d":"x"}"#)
    #expect(node["d"]?.span == SourceSpan(line: 4, column: 7, length: 3))
  }

  @Test func `columns count scalars, not bytes`() throws {
    let node = try JSONReader.read(#"{ "é😀": true }"#)
    guard case .object(let members) = node.value else { return }
    #expect(members[0].keySpan == SourceSpan(line: 1, column: 3, length: 4))
    #expect(members[0].node.span == SourceSpan(line: 1, column: 9, length: 4))
  }

  @Test(arguments: [
    ("", "1:1 the text ends where a value was expected"),
    ("{", "1:1 this section has no '}'"),
    ("[1, 2", "1:1 this list has no ']'"),
    ("{\"a\" 1}", "1:6 ':' was expected after the key 'a'"),
    ("{a: 1}", "1:2 a key in double quotes was expected"),
    ("{\"a\": 1 \"b\": 2}", "1:9 ',' or '}' was expected"),
    ("{\"a\": yes}", "1:7 'yes' is no value; text stands in double quotes"),
    ("[01]", "1:2 '01' is not a number"),
    ("[1.]", "1:2 '1.' is not a number"),
    ("[-]", "1:2 '-' is not a number"),
    ("[1e400]", "1:2 '1e400' is too large"),
    ("\"abc", "1:1 this text has no closing '\"'"),
    ("\"a\nb\"", "1:1 a line break or control character stands in this text"),
    (#""\x""#, "1:2 unknown escape"),
    (#""\u12g4""#, "1:2 '\\u' needs four hexadecimal digits"),
    (#""\ud800""#, "1:2 half a surrogate pair"),
    ("1 2", "1:3 nothing may follow the value"),
    ("/* x", "1:1 this comment has no end"),
    (String(repeating: "[", count: 100), "1:65 nested more than 64 deep"),
  ])
  func `what is not JSON is refused with its place`(text: String, expected: String) {
    #expect(problem(text) == expected)
  }

  @Test func `bytes that are not UTF-8 are refused inside text`() {
    #expect(throws: JSONSyntaxError.self) { try JSONReader.read([0x22, 0xFF, 0x22]) }
  }

  @Test func `whatever it writes it reads back equal`() throws {
    let text = "\"quote\" \\ / \n\t\u{1} é 😀"
    let node = JSONNode.object([
      ("text", .text(text)), ("big", .integer(UInt64.max)), ("tiny", .decimal(1e-300)),
      ("third", .decimal(1.0 / 3)), ("whole", .decimal(10_000)), ("empty", .list([])),
      ("flag", .flag(false)),
    ])
    for isIndented in [true, false] {
      let read = try JSONReader.read(node.jsonText(isIndented: isIndented))
      #expect(read["text"]?.string == text)
      #expect(read["big"]?.unsigned == .max)
      #expect(read["tiny"]?.double == 1e-300)
      #expect(read["third"]?.double == 1.0 / 3)
      #expect(read["whole"]?.int == 10_000)
      #expect(read.jsonText() == node.jsonText())
    }
  }

  @Test func `no prefix or damaged byte of a plan makes it trap`() throws {
    let bytes = Array(#"{"a": [1, -2.5e3, {"b": "x\u00e9\n"}], /* c */ "d": true}"#.utf8)
    for end in 0..<bytes.count {
      #expect(throws: JSONSyntaxError.self) { try JSONReader.read(Array(bytes[..<end])) }
    }
    for index in bytes.indices {
      for byte: UInt8 in [0, 0x22, 0x2C, 0x5B, 0x5C, 0x7B, 0xFF] {
        var damaged = bytes
        damaged[index] = byte
        _ = try? JSONReader.read(damaged)
      }
    }
  }
}
