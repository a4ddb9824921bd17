internal import System
internal import Testing
internal import Tokenization

private let sample = """
  The miller's wife said: "We'll go to the mill, and then we'll see the miller."
  So they went to the mill 12 times, 123 times, 1234 times; the wheel turned and turned.

  Then the river rose -- higher than the wheel! -- and the mill stood still.
  """

@Suite struct `A tokenizer` {
  static let bpe = try? Tokenizer.train(.bpe, on: Array(sample.utf8), vocabularySize: 320)
  static let characters = try? Tokenizer.train(.characters, on: Array(sample.utf8))

  @Test func `gives back the text it encoded`() throws {
    let bpe = try #require(Self.bpe)
    var random = RandomText(seed: 5)
    for _ in 0..<500 {
      let text = Array(random.text(partCount: 20).utf8)
      #expect(bpe.decode(try bpe.encode(text)) == text)
      #expect(Tokenizer.bytes.decode(try Tokenizer.bytes.encode(text)) == text)
    }
    let characters = try #require(Self.characters)
    #expect(characters.decode(try characters.encode(sample)) == Array(sample.utf8))
  }

  @Test func `has the special tokens at the end and counts them`() throws {
    let bpe = try #require(Self.bpe)
    #expect(bpe.vocabularySize == 320)
    #expect(bpe.bos == 313)
    #expect(bpe.id(of: .assistantEnd) == 319)
    #expect(Tokenizer.bytes.vocabularySize == 263)
    #expect(Tokenizer.bytes.bos == 256)
    let characters = try #require(Self.characters)
    #expect(characters.bos == nil)
    #expect(characters.vocabularySize == Set(sample.unicodeScalars).count)
  }

  @Test func `never makes a special token of a user's text`() throws {
    let bpe = try #require(Self.bpe)
    let text = SpecialToken.allCases.map(\.rawValue).joined(separator: " hello ")
    #expect(try bpe.encode(text).allSatisfy { bpe.byteCount(of: $0) > 0 })
    #expect(bpe.decode(try bpe.encode(text)) == Array(text.utf8))
  }

  @Test func `leaves special tokens out of decoded text`() throws {
    let bpe = try #require(Self.bpe)
    let bos = try #require(bpe.bos)
    #expect(bpe.decode([bos] + (try bpe.encode("the mill"))) == Array("the mill".utf8))
  }

  @Test func `reads what it wrote and keeps its digest`() throws {
    for tokenizer in [try #require(Self.bpe), try #require(Self.characters), .bytes] {
      let read = try Tokenizer.load(json: tokenizer.json())
      #expect(read.kind == tokenizer.kind)
      #expect(read.vocabularySize == tokenizer.vocabularySize)
      #expect(read.digest == tokenizer.digest)
      #expect(try read.encode(sample) == tokenizer.encode(sample))
    }
  }

  @Test func `keeps characters apart that Swift strings take for equal`() throws {
    // U+00C5 and U+212B are canonically equivalent; so are the two letters and a + ring.
    let text = Array("\u{C5}\u{212B}A\u{30A}".utf8)
    let tokenizer = try Tokenizer.train(.characters, on: text)
    #expect(tokenizer.vocabularySize == 4)
    let read = try Tokenizer.load(json: tokenizer.json())
    #expect(try read.decode(read.encode(text)) == text)
  }

  @Test func `names the byte that is not UTF-8 and the character that is unknown`() throws {
    let bpe = try #require(Self.bpe)
    let characters = try #require(Self.characters)
    #expect(throws: TokenizerError.invalidUTF8(byteOffset: 2)) {
      try bpe.encode([0x61, 0x62, 0xC3, 0x28])
    }
    #expect(throws: TokenizerError.unknownCharacter(scalar: 0xE9, byteOffset: 1)) {
      try characters.encode("t\u{E9}")
    }
    #expect(try Tokenizer.bytes.encode([0xFF, 0x00]) == [255, 0])
  }

  @Test func `an encoder gives the same ids whatever it met before`() throws {
    let bpe = try #require(Self.bpe)
    var encoder = bpe.makeEncoder()
    var random = RandomText(seed: 9)
    for _ in 0..<300 {
      let text = Array((random.text(partCount: 5) + sample.prefix(random.below(80))).utf8)
      var ids: [UInt32] = []
      try encoder.encode(text, into: &ids)
      #expect(try ids == bpe.encode(text))
    }
  }

  @Test func `long pieces merge as short ones do`() throws {
    // A run of one letter merges in pairs of pairs; a table of doublings shows every length.
    let training = Array(String(repeating: "a", count: 4096).utf8)
    let tokenizer = try Tokenizer.train(.bpe, on: training, vocabularySize: 256 + 7 + 6)
    for length in [47, 48, 49, 50, 63, 64, 65, 1000, 4095] {
      let text = [UInt8](repeating: 0x61, count: length)
      let ids = try tokenizer.encode(text)
      #expect(tokenizer.decode(ids) == text)
      // Greedy doublings from the left: 64 as often as it fits, then the binary digits.
      #expect(ids.count == length / 64 + (length % 64).nonzeroBitCount)
    }
    let long = [UInt8](repeating: 0x61, count: 300_000)
    #expect(try tokenizer.encode(long).count == 300_000 / 64 + (300_000 % 64).nonzeroBitCount)
  }

  @Test(arguments: [
    "{", "[]", "{}", #"{"model":{"type":"Unigram","vocab":[]}}"#,
    #"{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"#
      + #""pre_tokenizer":{"type":"ByteLevel","use_regex":false}}"#,
    #"{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}"#,
    #"{"model":{"type":"BPE","vocab":{"a":5},"merges":[]}}"#,
    #"{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}}"#,
    #"{"model":{"type":"BPE","vocab":{"a":99999999999999999999}}}"#,
    #"{"added_tokens":[{"id":7}],"model":{"type":"BPE","vocab":{"a":0}}}"#,
    #"{"normalizer":{"type":"NFC"},"model":{"type":"BPE","vocab":{"a":0}}}"#,
  ])
  func `refuses a damaged or foreign tokenizer file`(text: String) {
    #expect(throws: TokenizerError.self) { try Tokenizer.load(json: Array(text.utf8)) }
  }

  @Test func `never traps on a damaged tokenizer file`() throws {
    let good = try #require(Self.bpe).json()
    var random = RandomText(seed: 13)
    var failureCount = 0
    for _ in 0..<300 {
      var bytes = good
      for _ in 0...random.below(4) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      do { _ = try Tokenizer.load(json: bytes) } catch { failureCount += 1 }
    }
    #expect(failureCount > 100)
  }
}

@Suite struct `Tokenizer training` {
  @Test func `does not depend on the order of the documents`() throws {
    let lines = sample.split(separator: "\n").map { Array($0.utf8) }
    var forward = Tokenizer.Trainer(kind: .bpe, vocabularySize: 300)
    var backward = Tokenizer.Trainer(kind: .bpe, vocabularySize: 300)
    for line in lines { try forward.add(line) }
    for line in lines.reversed() { try backward.add(line) }
    #expect(try forward.finish().digest == backward.finish().digest)
  }

  @Test func `breaks a tie for the lexicographically greatest pair`() throws {
    // "ab", "cd" and "zz" occur twice each, nothing else does.
    let tokenizer = try Tokenizer.train(
      .bpe, on: Array("ab\ncd\nzz\nab\ncd\nzz".utf8), vocabularySize: 266)
    #expect([256, 257, 258].map { String(decoding: tokenizer.name(of: $0), as: UTF8.self) }
      == ["zz", "cd", "ab"])
  }

  @Test func `says how large a vocabulary a small text can give`() throws {
    #expect(throws: TokenizerError.vocabularyTooLarge(requested: 1000, reachable: 265)) {
      try Tokenizer.train(.bpe, on: Array("abc abc".utf8).prefix(3) + [], vocabularySize: 1000)
    }
    #expect(throws: TokenizerError.vocabularyTooSmall(requested: 100, least: 263)) {
      try Tokenizer.train(.bpe, on: Array("abc".utf8), vocabularySize: 100)
    }
    #expect(throws: TokenizerError.emptyText) {
      try Tokenizer.train(.characters, on: [])
    }
  }

  @Test(.enabled(if: SampleData.has("tokenizer/cs336_bpe/corpus.en")))
  func `finds the reference merges of CS336`() throws {
    let text = try SampleData.read("tokenizer/cs336_bpe/corpus.en")
    // The reference counts one special token; this tokenizer has seven: 500 - 1 + 7.
    let tokenizer = try Tokenizer.train(.bpe, on: text, vocabularySize: 506, splitter: .gpt2)
    let reference = try SampleData.read("tokenizer/cs336_bpe/train-bpe-reference-merges.txt")
      .split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
    #expect(reference.count == 243)
    #expect(tokenizer.mergeTexts == reference)
  }

  @Test(.enabled(if: SampleData.has("tinyshakespeare/input.txt")))
  func `learns 8192 tokens from a megabyte within three seconds`() throws {
    let text = try SampleData.read("tinyshakespeare/input.txt")
    // Other tests run beside this one, so the best of some tries counts.
    var best = Double.infinity
    for _ in 0..<5 where best >= 3 {
      let start = Clock.monotonicSeconds
      let tokenizer = try Tokenizer.train(.bpe, on: text, vocabularySize: 8192)
      best = min(best, Clock.monotonicSeconds - start)
      #expect(tokenizer.vocabularySize == 8192)
    }
    #expect(best < 3)
  }
}
