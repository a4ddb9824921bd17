internal import Corpus
internal import Settings
internal import System
internal import Tensors
internal import Testing
internal import Tokenization

@Suite struct `A text source` {
  private func texts(_ path: String) throws -> [String] {
    var found: [String] = []
    try TextSource(.path(path)).forEachDocument { document in
      found.append(String(decoding: document.bytes[document.range], as: UTF8.self))
    }
    return found
  }

  /// `hello gzip\n` and `hello zstd\n`, compressed by gzip 1.12 and zstd 1.5.4.
  private static let gzip: [UInt8] = [
    31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 87, 72, 175, 202, 44, 224, 2, 0, 57,
    124, 99, 86, 11, 0, 0, 0,
  ]
  private static let zstd: [UInt8] = [
    40, 181, 47, 253, 4, 88, 89, 0, 0, 104, 101, 108, 108, 111, 32, 122, 115, 116, 100, 10, 108,
    87, 249, 81,
  ]

  @Test func `reads a folder in path order and leaves other files out`() throws {
    let scratch = try Scratch()
    try scratch.write("second", to: "b.txt")
    try scratch.write("first", to: "a/z.txt")
    try scratch.write(
      "{\"text\":\"third\"}\n\n{\"id\":1,\"text\":\"four\\nth\"}\r\n", to: "c.jsonl")
    try scratch.write("no", to: "README.md")
    try scratch.write("", to: "empty.txt")
    let source = try TextSource(.path(scratch.path))
    #expect(try texts(scratch.path) == ["first", "second", "third", "four\nth"])
    #expect(source.skippedPaths == ["\(scratch.path)/README.md"])
  }

  @Test(.enabled(if: Compression.gzip.isAvailable && Compression.zstd.isAvailable))
  func `reads gzip and zstd, several members as one text`() throws {
    let scratch = try Scratch()
    try scratch.write(Self.gzip + Self.gzip, to: "a.txt.gz")
    try scratch.write(Self.zstd + Self.zstd, to: "b.zst")
    #expect(try texts(scratch.path) == ["hello gzip\nhello gzip\n", "hello zstd\nhello zstd\n"])
  }

  @Test(.enabled(if: Compression.gzip.isAvailable && Compression.zstd.isAvailable))
  func `names a compressed file that is cut off or damaged`() throws {
    let scratch = try Scratch()
    let cut = try scratch.write(Array(Self.gzip.dropLast(5)), to: "cut.txt.gz")
    #expect(throws: CorpusError.compression(path: cut, .truncated(format: "gzip"))) {
      try texts(cut)
    }
    let short = try scratch.write(Array(Self.zstd.dropLast(5)), to: "short.txt.zst")
    #expect(throws: CorpusError.compression(path: short, .truncated(format: "zstd"))) {
      try texts(short)
    }
    for (bytes, name) in [(Self.gzip, "x.gz"), (Self.zstd, "x.zst")] {
      var damaged = bytes
      damaged[0] ^= 0xFF
      let path = try scratch.write(damaged, to: name)
      #expect(throws: CorpusError.self) { try texts(path) }
    }
  }

  @Test func `names the file and the byte that is not UTF-8`() throws {
    let scratch = try Scratch()
    let path = try scratch.write([0x61, 0x0A, 0xFF, 0x62], to: "bad.txt")
    #expect(throws: CorpusError.invalidUTF8(path: path, byteOffset: 2)) { try texts(path) }
    let lines = try scratch.write(
      Array("{\"text\":\"a\"}\n{\"text\":\"".utf8) + [0xC3] + Array("\"}".utf8), to: "bad.jsonl")
    #expect(throws: CorpusError.invalidUTF8(path: lines, byteOffset: 22)) { try texts(lines) }
  }

  @Test(arguments: [
    ("{\"text\":\"a\"}\n{\"text\":\"b\"", 2), ("{\"text\":\"a\"} x", 1), ("[1]", 1), ("\n\n7", 3),
    ("{\"text\":\"a\\q\"}", 1),
  ])
  func `names the line that is not a JSON object`(text: String, line: Int) throws {
    let scratch = try Scratch()
    let path = try scratch.write(text, to: "bad.jsonl")
    let error = #expect(throws: CorpusError.self) { try texts(path) }
    guard case .malformedLine(path, line, _, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func `names the line that has no text`() throws {
    let scratch = try Scratch()
    let path = try scratch.write("{\"text\":\"a\"}\n{\"text\":5}", to: "bad.jsonl")
    #expect(throws: CorpusError.lineWithoutText(path: path, line: 2)) { try texts(path) }
  }

  @Test func `says what is missing`() throws {
    let scratch = try Scratch()
    #expect(throws: CorpusError.missing(path: "\(scratch.path)/none")) {
      try TextSource(.path("\(scratch.path)/none"))
    }
    #expect(throws: CorpusError.noTextFiles(path: scratch.path)) {
      try TextSource(.path(scratch.path))
    }
    let path = try scratch.write("", to: "empty.txt")
    #expect(throws: CorpusError.emptySource(path: path)) {
      try Corpus(
        data: DataChoice(source: .path(path)), tokenizer: .bytes,
        cacheDirectories: ["\(scratch.path)/data"], sequenceLength: 4)
    }
  }
}

@Suite struct `Splitting a corpus` {
  private func corpus(
    _ scratch: Scratch, _ path: String, _ split: DataChoice.Split,
    _ tokenizer: Tokenizer = .bytes
  ) throws -> Corpus {
    try Corpus(
      data: DataChoice(source: .path(path), split: split), tokenizer: tokenizer,
      cacheDirectories: ["\(scratch.path)/data"], sequenceLength: 4)
  }

  @Test func `by tail holds back the last bytes in path order`() throws {
    let scratch = try Scratch()
    try scratch.write(String(repeating: "a", count: 70), to: "text/a.txt")
    try scratch.write(String(repeating: "b", count: 30), to: "text/b.txt")
    let corpus = try corpus(scratch, "\(scratch.path)/text", .tail(0.1))
    #expect(corpus.trainingByteCount == 90)
    #expect(corpus.trainingTokenCount == 92)
    #expect(corpus.validationByteCount == 10)
    let slice = corpus.validationSlice(
      slice: 0, sliceCount: 1, sequenceLength: 100, tokenLimit: nil)
    #expect(slice.sequences[0].tokens == [UInt32](repeating: 0x62, count: 10))
  }

  @Test func `by tail never cuts a character`() throws {
    let scratch = try Scratch()
    let path = try scratch.write(String(repeating: "\u{4F60}", count: 11), to: "a.txt")
    // A tenth of 33 bytes: the cut at byte 29 moves to 30.
    let corpus = try corpus(scratch, path, .tail(0.1))
    #expect(corpus.trainingByteCount == 30)
    #expect(corpus.validationByteCount == 3)
  }

  @Test func `by documents keeps equal documents together`() throws {
    let scratch = try Scratch()
    let lines = (0..<1000).map { "{\"text\":\"document \($0 % 500)\"}" }
    let path = try scratch.write(lines.joined(separator: "\n"), to: "a.jsonl")
    let corpus = try corpus(scratch, path, .documents(0.2))
    // 500 distinct documents, 2 of each: 200 expected, standard deviation 2 * sqrt(500 * 0.16).
    let heldBack = 1000 - corpus.trainingDocumentCount
    #expect(heldBack % 2 == 0)
    #expect(abs(heldBack - 200) < 72)
  }

  @Test func `of nothing leaves no validation`() throws {
    let scratch = try Scratch()
    let path = try scratch.write("some words", to: "a.txt")
    let corpus = try corpus(scratch, path, .tail(0))
    #expect(corpus.validationTokenCount == 0)
    #expect(
      corpus.validationSlice(slice: 0, sliceCount: 1, sequenceLength: 4, tokenLimit: nil)
        .sequences.isEmpty)
  }

  @Test func `refuses a text too short for one window`() throws {
    let scratch = try Scratch()
    let path = try scratch.write("abcd", to: "a.txt")
    #expect(throws: CorpusError.tooFewTokens(path: path, found: 4, needed: 5)) {
      try corpus(scratch, path, .tail(0.25))
    }
  }

  @Test(.enabled(if: SampleData.has("tinyshakespeare/input.txt")))
  func `of tiny Shakespeare gives nanoGPT's parts`() throws {
    let scratch = try Scratch()
    let data = DataChoice(
      source: .path(SampleData.path("tinyshakespeare/input.txt")), order: .random)
    let tokenizer = try Corpus.trainTokenizer(
      ResolvedPlan.TokenizerChoice(kind: .characters, vocabularySize: 0), on: data)
    #expect(tokenizer.vocabularySize == 65)
    let corpus = try Corpus(
      data: data, tokenizer: tokenizer, cacheDirectories: [scratch.path], sequenceLength: 64)
    #expect(corpus.trainingTokenCount == 1_003_854)
    #expect(corpus.validationTokenCount == 111_540)
  }

  @Test(.enabled(if: SampleData.has("books")))
  func `of the books trains and tokenizes in well under a minute`() throws {
    let scratch = try Scratch()
    let data = DataChoice(source: .path(SampleData.path("books")))
    let start = Clock.monotonicSeconds
    let tokenizer = try Corpus.trainTokenizer(
      ResolvedPlan.TokenizerChoice(kind: .bpe, vocabularySize: 8192), on: data)
    let trained = Clock.monotonicSeconds
    let corpus = try Corpus(
      data: data, tokenizer: tokenizer, cacheDirectories: [scratch.path], sequenceLength: 256)
    let built = Clock.monotonicSeconds
    print(
      "books: tokenizer \(trained - start) s, tokens \(built - trained) s, "
        + "\(corpus.trainingTokenCount) + \(corpus.validationTokenCount)")
    #expect(corpus.trainingDocumentCount >= 26)
    #expect(corpus.trainingByteCount + corpus.validationByteCount == 18_939_485)
    #expect(built - start < 60)
  }
}
