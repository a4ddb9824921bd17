internal import Testing
internal import Tokenization

@Suite struct `JSON scanner` {
  @Test func `reads escapes and pairs of surrogates as UTF-8`() throws {
    var scanner = JSONScanner(Array(#" "a\n\u00e9\ud83d\ude00\/" "#.utf8))
    #expect(try scanner.readString() == Array("a\n\u{E9}\u{1F600}/".utf8))
    try scanner.finish()
  }

  @Test(arguments: [
    #"{"a":1"#, #"{"a" 1}"#, #"[1,]"#, #"{"a":tru}"#, #""\ud800""#, #""\x""#, "\"a\nb\"", "01x",
    "1.", "1e", "-", "", "[", "{", "nul", #"{"a":1}}"#, "\"\u{7}\"", "+1", ",",
  ])
  func `refuses what is not JSON`(text: String) {
    var scanner = JSONScanner(Array(text.utf8))
    #expect(throws: JSONError.self) {
      try scanner.skipValue()
      try scanner.finish()
    }
  }

  @Test func `names the line and the byte`() throws {
    var scanner = JSONScanner(Array("{\"a\":1,\n \"b\":x}".utf8))
    let error = #expect(throws: JSONError.self) { try scanner.skipValue() }
    #expect(error?.line == 2)
    #expect(error?.byteOffset == 13)
    #expect(error?.problem == .unexpectedByte(0x78))
  }

  @Test func `stops at its depth limit instead of overflowing the stack`() {
    var scanner = JSONScanner([UInt8](repeating: 0x5B, count: 100_000))
    let error = #expect(throws: JSONError.self) { try scanner.skipValue() }
    #expect(error?.problem == .tooDeep)
  }

  @Test func `never traps on damaged bytes`() {
    let good = Array(
      #"{"a":[1,-2.5e3,"x\u0041\n",{"b":null}],"c":true,"text":"\ud83d\ude00"}"#.utf8)
    var random = RandomText(seed: 3)
    var failureCount = 0
    for _ in 0..<20_000 {
      var bytes = good
      for _ in 0...random.below(3) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      bytes.removeLast(random.below(4) == 0 ? random.below(bytes.count) : 0)
      var scanner = JSONScanner(bytes)
      do { try scanner.skipValue() } catch { failureCount += 1 }
    }
    #expect(failureCount > 1000)
  }
}

@Suite struct `UTF-8 check` {
  @Test func `agrees with the standard library on random bytes`() {
    var random = RandomText(seed: 11)
    var validCount = 0
    for _ in 0..<20_000 {
      var bytes = Array(random.text(partCount: 4).utf8)
      if random.below(2) == 0, !bytes.isEmpty {
        bytes[random.below(bytes.count)] = UInt8(random.below(256))
      }
      let isValid = String(validating: bytes, as: UTF8.self) != nil
      validCount += isValid ? 1 : 0
      #expect((firstInvalidUTF8(in: bytes, range: 0..<bytes.count) == nil) == isValid, "\(bytes)")
    }
    #expect(validCount > 1000 && validCount < 19_000)
  }

  @Test func `points at the first bad byte`() {
    #expect(firstInvalidUTF8(in: [0x61, 0xC3, 0xA9, 0xFF], range: 0..<4) == 3)
    #expect(firstInvalidUTF8(in: [0x61, 0xC3], range: 0..<2) == 1)
    #expect(firstInvalidUTF8(in: [0xED, 0xA0, 0x80], range: 0..<3) == 0)
  }
}
