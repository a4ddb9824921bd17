internal import Testing
internal import Tokenization

@Suite struct `Splitting text` {
  @Test(arguments: Splitter.allCases)
  func `cuts random text where its regular expression does`(splitter: Splitter) throws {
    let regex = try Regex(splitter.pattern).matchingSemantics(.unicodeScalar)
    var random = RandomText(seed: 7)
    for _ in 0..<1500 {
      let text = random.text(partCount: 1 + random.below(12))
      let expected = text.matches(of: regex).map { Array(text.utf8[$0.range]) }
      #expect(splitter.pieces(of: text) == expected, "in \(text.debugDescription)")
    }
  }

  @Test func `cl100k keeps one space with the word that follows`() {
    #expect(words(.cl100k, "a   b") == ["a", "  ", " b"])
    #expect(words(.cl100k, "a \n\n b") == ["a", " \n\n", " b"])
    #expect(words(.cl100k, "x  ") == ["x", "  "])
  }

  @Test func `cl100k groups digits by three and takes contractions in any case`() {
    #expect(words(.cl100k, "12345 it'S") == ["123", "45", " it", "'S"])
    #expect(words(.cl100k, "he'll've") == ["he", "'ll", "'ve"])
    #expect(words(.cl100k, "'tis") == ["'t", "is"])
  }

  @Test func `cl100k lets symbols take a space before and newlines after`() {
    #expect(words(.cl100k, "end ...\n\nNext") == ["end", " ...\n\n", "Next"])
    #expect(words(.cl100k, "(word)") == ["(word", ")"])
  }

  private func words(_ splitter: Splitter, _ text: String) -> [String] {
    splitter.pieces(of: text).map { String(decoding: $0, as: UTF8.self) }
  }
}
