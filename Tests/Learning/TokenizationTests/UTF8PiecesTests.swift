import Testing
import Tokenization

@Suite struct `UTF-8 in pieces` {
  @Test func `a character comes with its last byte`() {
    var pieces = UTF8Pieces()
    let found = Array("a\u{E9}\u{20AC}\u{1F600}".utf8).map { pieces.append([$0]) }
    #expect(found == ["a", "", "\u{E9}", "", "", "\u{20AC}", "", "", "", "\u{1F600}"])
    #expect(pieces.finish().isEmpty)
  }

  @Test func `any bytes in any pieces make the text of the whole`() {
    var draws = SystemRandomNumberGenerator()
    // Bytes that begin, continue, cut short and break characters.
    let bytes: [UInt8] = [
      0x61, 0x80, 0xBF, 0xC1, 0xC3, 0xE0, 0xE2, 0x82, 0xAC, 0xED, 0xA0, 0xF0, 0x9F, 0x98, 0xF4,
      0x90, 0xF5, 0xFF,
    ]
    for _ in 0..<2000 {
      let text = (0..<Int.random(in: 1...12, using: &draws)).map { _ in
        bytes[Int.random(in: 0..<bytes.count, using: &draws)]
      }
      var pieces = UTF8Pieces()
      var found = ""
      var rest = text[...]
      while !rest.isEmpty {
        let count = Int.random(in: 1...rest.count, using: &draws)
        found += pieces.append(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
      }
      #expect(found + pieces.finish() == String(decoding: text, as: UTF8.self), "\(text)")
    }
  }
}
