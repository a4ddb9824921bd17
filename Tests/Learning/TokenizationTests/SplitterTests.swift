internal import System
internal import Testing
internal import Tokenization

@Suite struct `Splitting text` {
  @Test(arguments: Splitter.allCases)
  func `cuts random text where its regular expression does`(splitter: Splitter) throws {
    let regex = try Regex(splitter.pattern).matchingSemantics(.unicodeScalar)
    var random = RandomText(seed: 7)
    for _ in 0..<1500 {
      let text = random.text(partCount: 1 + random.below(12))
      // Swift's regex folds the case of ASCII alone; see the long s below. And it has the
      // toolchain's Unicode; see the kinds of scalars.
      if text.contains("'\u{17F}") || text.unicodeScalars.contains(where: isNew) { continue }
      let expected = text.matches(of: regex).map { Array(text.utf8[$0.range]) }
      #expect(splitter.pieces(of: text) == expected, "in \(text.debugDescription)")
    }
  }

  private func isNew(_ scalar: Unicode.Scalar) -> Bool {
    scalar == "\u{295}" || (scalar.properties.age?.major ?? 0) > 16
  }

  @Test func `does not change with the toolchain's Unicode`() {
    // A byte per scalar, U+0000 on without surrogates, by the properties Lu Lt, Ll, Lm Lo, M, N
    // and \s of Oniguruma in Hugging Face tokenizers 0.23.3, which is at Unicode 16.0.
    var hash = SHA256()
    for plane: UInt32 in 0..<17 {
      let values = (plane << 16..<(plane + 1) << 16).filter { Unicode.Scalar($0) != nil }
      hash.update(values.map { ScalarKind(of: $0).rawValue })
    }
    #expect(
      hash.hexDigest == "ec2c2ba98752593310ea42f1b8a77bf26cda9b642dd4b7a35b6e541b16229148")
    // Assigned in 17.0, a letter there, is like a symbol; a letter that 17.0 no longer calls small
    // is like one that it does.
    #expect(ScalarKind(of: 0x323B0) == ScalarKind(of: 0x21))
    #expect(ScalarKind(of: 0x295) == ScalarKind(of: 0x61))
  }

  @Test func `cl100k keeps white space at the end whole, llama3 cuts after the line end`() {
    #expect(words(.cl100k, "a \n  ") == ["a", " \n  "])
    #expect(words(.llama3, "a \n  ") == ["a", " \n", "  "])
    #expect(words(.cl100k, "a \n  b") == words(.llama3, "a \n  b"))
  }

  @Test func `gpt2 takes one space into words, numbers of any length and symbols`() {
    #expect(words(.gpt2, "it's  12345 !?") == ["it", "'s", " ", " 12345", " !?"])
    #expect(words(.gpt2, "!\n\nx") == ["!", "\n", "\n", "x"])
    #expect(words(.gpt2, "IT'S\tx") == ["IT", "'", "S", "\t", "x"])
  }

  @Test func `o200k cuts where a capital follows a small letter`() {
    #expect(words(.o200k, "camelCase HTTPServer") == ["camel", "Case", " HTTPServer"])
    #expect(words(.o200k, "ABC abC") == ["ABC", " ab", "C"])
    #expect(words(.o200k, "We'LL've (it'\u{17F}") == ["We'LL", "'ve", " (", "it'\u{17F}"])
    #expect(words(.o200k, "a/b//\n/c ?/\n") == ["a", "/b", "//\n/", "c", " ?/\n"])
  }

  @Test func `o200k gives back capitals until the small-letter part can have a scalar`() {
    // Ideographs, modifier letters and marks belong to both parts of the word.
    #expect(words(.o200k, "\u{65E5}\u{672C}AB") == ["\u{65E5}\u{672C}", "AB"])
    #expect(words(.o200k, "A\u{2B0}B") == ["A\u{2B0}", "B"])
    #expect(words(.o200k, "A\u{2B0}Bc") == ["A\u{2B0}Bc"])
    #expect(words(.o200k, "\u{301}AB") == ["\u{301}", "AB"])
    #expect(words(.o200k, "\u{301}Ab") == ["\u{301}Ab"])
    #expect(words(.o200k, "\u{301}'s!\u{301}") == ["\u{301}'s", "!\u{301}"])
    #expect(words(.o200k, "1\u{301}") == ["1", "\u{301}"])
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

  @Test func `cl100k takes a long s for an s, as Oniguruma and the Rust regex do`() {
    #expect(words(.cl100k, "a'\u{17F}b") == ["a", "'\u{17F}", "b"])
    #expect(words(.gpt2, "a'\u{17F}b") == ["a", "'", "\u{17F}b"])
  }

  @Test func `cl100k lets symbols take a space before and newlines after`() {
    #expect(words(.cl100k, "end ...\n\nNext") == ["end", " ...\n\n", "Next"])
    #expect(words(.cl100k, "(word)") == ["(word", ")"])
  }

  private func words(_ splitter: Splitter, _ text: String) -> [String] {
    splitter.pieces(of: text).map { String(decoding: $0, as: UTF8.self) }
  }
}
