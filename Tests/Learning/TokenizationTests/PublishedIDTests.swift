internal import System
internal import Testing
internal import Tokenization

/// The vocabularies that others published, where the data folder has them.
private enum Published {
  static let gpt2 = load("gpt2") { () throws in
    try Tokenizer.load(
      merges: SampleData.read("tokenizer/gpt2/vocab.bpe"),
      vocabulary: SampleData.read("tokenizer/gpt2/encoder.json"), splitter: .gpt2)
  }
  static let cl100k = load("cl100k_base") { () throws in
    try ranks(SampleData.read("tokenizer/cl100k_base.tiktoken"), "cl100k_base.tiktoken")
  }
  static let o200k = load("o200k_base") { () throws in
    try ranks(
      Compression.gzip.decompress(SampleData.read("tokenizer/o200k_base.tiktoken.gz")),
      "o200k_base.tiktoken.gz")
  }

  static func tokenizer(_ name: String) -> Tokenizer? {
    switch name {
    case "gpt2", "r50k_base": gpt2
    case "cl100k_base": cl100k
    case "o200k_base": o200k
    default: nil
    }
  }

  private static func load(_ name: String, _ body: () throws -> Tokenizer) -> Tokenizer? {
    do { return try body() } catch {
      Issue.record("\(name): \(error)")
      return nil
    }
  }

  private static func ranks(_ bytes: [UInt8], _ name: String) throws -> Tokenizer {
    let known = try #require(KnownRankFile(fileName: name))
    return try Tokenizer.load(ranks: bytes, splitter: known.splitter, specials: known.specials)
  }
}

@Suite(.enabled(if: SampleData.has("tokenizer/expected_ids.json") && Compression.gzip.isAvailable))
struct `Published vocabularies` {
  /// Ids of one text by tiktoken 0.14.
  struct Expected {
    var name = ""
    var byteCount = 0
    var ids: [String: (count: Int, digest: String)] = [:]
  }

  @Test func `give the ids that tiktoken gives`() throws {
    let files = try readExpected()
    #expect(files.count == 7)
    for file in files {
      let text = try text(of: file)
      #expect(text.count == file.byteCount, "\(file.name)")
      #expect(Set(file.ids.keys) == ["gpt2", "cl100k_base", "o200k_base"])
      for (encoding, expected) in file.ids {
        let tokenizer = try #require(Published.tokenizer(encoding))
        let ids = try tokenizer.encode(text)
        #expect(ids.count == expected.count, "\(encoding), \(file.name)")
        var hash = SHA256()
        hash.update(
          ids.flatMap { id in (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) } })
        #expect(hash.hexDigest == expected.digest, "\(encoding), \(file.name)")
      }
    }
  }

  @Test func `give the same ids once written as tokenizer.json and read`() throws {
    let text = try SampleData.read("tokenizer/minbpe_taylorswift.txt")
    for name in ["gpt2", "cl100k_base", "o200k_base"] {
      let tokenizer = try #require(Published.tokenizer(name))
      let read = try Tokenizer.load(json: tokenizer.json())
      #expect(read.splitter == tokenizer.splitter)
      #expect(read.specials == tokenizer.specials)
      #expect(try read.encode(text) == tokenizer.encode(text))
    }
  }

  @Test func `have the ids and special tokens that their makers gave them`() throws {
    let gpt2 = try #require(Published.gpt2)
    #expect(gpt2.specials == [.init(id: 50256, name: "<|endoftext|>")])
    #expect(gpt2.vocabularySize == 50257)
    #expect(try #require(Published.cl100k).vocabularySize == 100_277)
    #expect(try #require(Published.o200k).vocabularySize == 200_019)
    // The ids of " hello", "<|endoftext|>" as text: "<", "|", "endoftext" in parts, never 50256.
    #expect(try gpt2.encode(" hello") == [23748])
    #expect(try gpt2.encode("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29])
  }

  @Test func `take other tokens where the longest is taken`() throws {
    let gpt2 = try #require(Published.gpt2)
    let text = try Array(SampleData.read("tokenizer/minbpe_taylorswift.txt"))
    let merged = try gpt2.encode(text)
    let longest = try gpt2.encode(text, mode: .longest)
    #expect(gpt2.decode(longest) == text)
    #expect(merged != longest)
  }

  /// SharpToken's vectors allow special tokens in text. Here no text gives one: whoever wants one
  /// encodes the text before it, adds its id, and encodes the text after it. So does this test.
  @Test(.enabled(if: SampleData.has("tokenizer/sharptoken_TestPlans.txt")))
  func `give the ids of SharpToken's test plans`() throws {
    let file = try SampleData.read("tokenizer/sharptoken_TestPlans.txt")
    var counts: [String: Int] = [:]
    for plan in String(decoding: file, as: UTF8.self).split(separator: "\n\n") {
      let lines = plan.split(separator: "\n", omittingEmptySubsequences: false)
      let fields = ["EncodingName: ", "Sample: ", "Encoded: ["]
      let isPlan = lines.count == 3 && zip(lines, fields).allSatisfy { $0.hasPrefix($1) }
      try #require(isPlan, "\(plan)")
      let name = String(lines[0].dropFirst(fields[0].count))
      guard let tokenizer = Published.tokenizer(name) else { continue }
      counts[name, default: 0] += 1
      let expected = lines[2].dropFirst(fields[2].count).dropLast().split(separator: ", ")
      let sample = String(lines[1].dropFirst(fields[1].count))
      #expect(try encode(sample, tokenizer) == expected.map { UInt32($0) }, "\(name): \(sample)")
    }
    #expect(counts == ["r50k_base": 67, "cl100k_base": 75, "o200k_base": 70])
  }

  private func encode(_ sample: String, _ tokenizer: Tokenizer) throws -> [UInt32] {
    var ids: [UInt32] = []
    var rest = sample[...]
    while true {
      let places = tokenizer.specials.compactMap { special in
        rest.firstRange(of: special.name).map { (range: $0, id: special.id) }
      }
      guard let next = places.min(by: { $0.range.lowerBound < $1.range.lowerBound }) else { break }
      ids += try tokenizer.encode(String(rest[..<next.range.lowerBound])) + [next.id]
      rest = rest[next.range.upperBound...]
    }
    return ids + (try tokenizer.encode(String(rest)))
  }

  // MARK: - The file of expectations

  /// The text that a name stands for: a file, or one side of nanoGPT's cut of it.
  private func text(of file: Expected) throws -> [UInt8] {
    let path = String(file.name.prefix { $0 != "[" })
    let all = try SampleData.read(path)
    if file.name.contains("[:90%]") { return Array(all.prefix(file.byteCount)) }
    if file.name.contains("[90%:]") { return Array(all.suffix(file.byteCount)) }
    return all
  }

  private func readExpected() throws -> [Expected] {
    var scanner = JSONScanner(try SampleData.read("tokenizer/expected_ids.json"))
    var files: [Expected] = []
    let failing = { (error: JSONError) -> JSONError in error }
    try scanner.readObject(failing: failing) { (scanner, key) throws(JSONError) in
      guard key == Array("files".utf8) else { return try scanner.skipValue() }
      try scanner.readArray(failing: failing) { (scanner) throws(JSONError) in
        var file = Expected()
        try scanner.readObject(failing: failing) { (scanner, key) throws(JSONError) in
          switch String(decoding: key, as: UTF8.self) {
          case "name": file.name = String(decoding: try scanner.readString(), as: UTF8.self)
          case "utf8_bytes": file.byteCount = try scanner.readInteger()
          case "enc":
            try scanner.readObject(failing: failing) { (scanner, key) throws(JSONError) in
              file.ids[String(decoding: key, as: UTF8.self)] = try readIDs(&scanner)
            }
          default: try scanner.skipValue()
          }
        }
        files.append(file)
      }
    }
    return files
  }

  private func readIDs(
    _ scanner: inout JSONScanner
  ) throws(JSONError) -> (count: Int, digest: String) {
    var found = (count: 0, digest: "")
    try scanner.readObject(failing: { $0 }) { (scanner, key) throws(JSONError) in
      switch String(decoding: key, as: UTF8.self) {
      case "n": found.count = try scanner.readInteger()
      case "sha256_u32le": found.digest = String(decoding: try scanner.readString(), as: UTF8.self)
      default: try scanner.skipValue()
      }
    }
    return found
  }
}
