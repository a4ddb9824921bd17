extension Tokenizer {
  /// Reads tokenizer.json: byte-level BPE with a known splitter, or single characters.
  ///
  /// - Throws: ``TokenizerError`` naming the part of the file.
  public static func load(json: [UInt8]) throws(TokenizerError) -> Tokenizer {
    var file = TokenizerFile()
    var scanner = JSONScanner(json)
    try file.read(&scanner)
    do { try scanner.finish() } catch { throw .malformedJSON(error) }
    return try file.tokenizer()
  }
}

/// The parts of tokenizer.json that matter here, as read.
struct TokenizerFile {
  private var added: [(id: Int, content: [UInt8])] = []
  private var modelType = ""
  private var vocabulary: [(text: [UInt8], id: Int)] = []
  private var mergeTexts: [(left: [UInt8], right: [UInt8])] = []
  private var patterns: [String] = []
  private var preTokenizers: [String] = []
  private var hasNormalizer = false
  private var refusals: [TokenizerError] = []

  mutating func read(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "added_tokens": try readAddedTokens(&scanner)
      case "normalizer":
        let isNull = try peek(&scanner) == UInt8(ascii: "n")
        if !isNull {
          refusals.append(
            .unsupported(key: "normalizer", found: "a normalizer", supported: "null"))
        }
        try skip(&scanner)
      case "pre_tokenizer": try readPreTokenizer(&scanner)
      case "model": try readModel(&scanner)
      default: try skip(&scanner)
      }
    }
    if let first = refusals.first { throw first }
  }

  // MARK: - Reading

  private mutating func readAddedTokens(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try array(&scanner) { (scanner) throws(TokenizerError) in
      var id: Int?
      var content: [UInt8]?
      try object(&scanner) { (scanner, key) throws(TokenizerError) in
        switch text(key) {
        case "id": id = try integer(&scanner)
        case "content": content = try string(&scanner)
        default: try skip(&scanner)
        }
      }
      guard let id, let content else {
        throw .malformedTokenizer(key: "added_tokens", problem: "an entry lacks id or content")
      }
      added.append((id, content))
    }
  }

  private mutating func readPreTokenizer(
    _ scanner: inout JSONScanner, depth: Int = 0
  ) throws(TokenizerError) {
    guard depth < 4, try peek(&scanner) == UInt8(ascii: "{") else { return try skip(&scanner) }
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "type": preTokenizers.append(text(try string(&scanner)))
      case "pretokenizers":
        try array(&scanner) { (scanner) throws(TokenizerError) in
          try readPreTokenizer(&scanner, depth: depth + 1)
        }
      case "pattern":
        try object(&scanner) { (scanner, _) throws(TokenizerError) in
          patterns.append(text(try string(&scanner)))
        }
      case "use_regex":
        if try peek(&scanner) == UInt8(ascii: "t") { patterns.append(Splitter.gpt2.pattern) }
        try skip(&scanner)
      case "add_prefix_space":
        if try peek(&scanner) == UInt8(ascii: "t") {
          refusals.append(
            .unsupported(key: "add_prefix_space", found: "true", supported: "false"))
        }
        try skip(&scanner)
      default: try skip(&scanner)
      }
    }
  }

  private mutating func readModel(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "type": modelType = text(try string(&scanner))
      case "vocab":
        guard try peek(&scanner) == UInt8(ascii: "{") else {
          throw .unsupported(
            key: "model.vocab", found: "a list (Unigram)", supported: "BPE, WordLevel")
        }
        try object(&scanner) { (scanner, key) throws(TokenizerError) in
          vocabulary.append((key, try integer(&scanner)))
        }
      case "merges": try readMerges(&scanner)
      default: try skip(&scanner)
      }
    }
  }

  /// Merges are pairs `["a", "b"]`, or `"a b"` in older files.
  private mutating func readMerges(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try array(&scanner) { (scanner) throws(TokenizerError) in
      var parts: [[UInt8]] = []
      if try peek(&scanner) == UInt8(ascii: "[") {
        try array(&scanner) { (scanner) throws(TokenizerError) in
          parts.append(try string(&scanner))
        }
      } else {
        parts = try string(&scanner).split(separator: 0x20).map { Array($0) }
      }
      guard parts.count == 2 else {
        throw .malformedTokenizer(
          key: "model.merges", problem: "merge \(mergeTexts.count) is not a pair")
      }
      mergeTexts.append((parts[0], parts[1]))
    }
  }
}

extension TokenizerFile {
  // MARK: - Judging

  func tokenizer() throws(TokenizerError) -> Tokenizer {
    let texts = try orderedVocabulary()
    let specialNames = try orderedSpecialNames(after: texts.count)
    switch modelType {
    case "BPE": return try byteLevelTokenizer(texts, specialNames)
    case "WordLevel": return try characterTokenizer(texts, specialNames)
    default:
      throw .unsupported(
        key: "model.type", found: "\"\(modelType)\"", supported: "BPE, WordLevel")
    }
  }

  private func byteLevelTokenizer(
    _ texts: [[UInt8]], _ specialNames: [String]
  ) throws(TokenizerError) -> Tokenizer {
    guard preTokenizers.contains("ByteLevel") else {
      throw .unsupported(
        key: "pre_tokenizer", found: preTokenizers.first ?? "null", supported: "ByteLevel")
    }
    var tokens = TokenBytes([])
    var ids: [[UInt8]: UInt32] = [:]
    for (id, text) in texts.enumerated() {
      guard let bytes = ByteAlphabet.read(text), !bytes.isEmpty else {
        throw .malformedTokenizer(
          key: "model.vocab", problem: "token \(id) is not in the byte-level alphabet")
      }
      tokens.append(bytes)
      ids[text] = UInt32(id)
    }
    let kind: Tokenizer.Kind = mergeTexts.isEmpty && patterns.isEmpty ? .bytes : .bpe
    let merges = try readMerges(ids)
    let found = Tokenizer(
      kind: kind, splitter: try splitter(of: kind), tokens: tokens, specialNames: specialNames,
      merges: MergeTable(merges: merges))
    let byteIDs = found.byteIDs
    if let missing = byteIDs.firstIndex(of: UInt32.max) {
      throw .malformedTokenizer(key: "model.vocab", problem: "byte \(missing) has no token")
    }
    if kind == .bytes, byteIDs != (0..<256).map({ UInt32($0) }) {
      throw .unsupported(
        key: "model.vocab", found: "bytes in another order", supported: "byte b has id b")
    }
    return found
  }

  private func splitter(of kind: Tokenizer.Kind) throws(TokenizerError) -> Splitter {
    if kind == .bytes { return .cl100k }
    let known = Splitter.allCases.filter { patterns == [$0.pattern] }
    guard let splitter = known.first else {
      throw .unsupported(
        key: "pre_tokenizer", found: patterns.joined(separator: " then "),
        supported: "the patterns of \(Splitter.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return splitter
  }

  private func readMerges(_ ids: [[UInt8]: UInt32]) throws(TokenizerError) -> [Merge] {
    var merges: [Merge] = []
    for (rank, pair) in mergeTexts.enumerated() {
      guard let left = ids[pair.left], let right = ids[pair.right],
        let result = ids[pair.left + pair.right]
      else {
        throw .malformedTokenizer(
          key: "model.merges", problem: "merge \(rank) names a token that is not in the vocabulary")
      }
      merges.append(Merge(left: left, right: right, result: result))
    }
    return merges
  }

  private func characterTokenizer(
    _ texts: [[UInt8]], _ specialNames: [String]
  ) throws(TokenizerError) -> Tokenizer {
    guard patterns == [Tokenizer.anyCharacterPattern], specialNames.isEmpty else {
      throw .unsupported(
        key: "model.type", found: "WordLevel over words", supported: "WordLevel over characters")
    }
    var scalars: [UInt32] = []
    for (id, text) in texts.enumerated() {
      guard !text.isEmpty, case let (scalar, length) = decodeScalar(text.span, at: 0),
        length == text.count, scalar > scalars.last ?? 0 || scalars.isEmpty
      else {
        throw .malformedTokenizer(
          key: "model.vocab", problem: "token \(id) is not the next single character")
      }
      scalars.append(scalar)
    }
    return Tokenizer(
      kind: .characters, tokens: TokenBytes(texts), specialNames: [],
      characters: CharacterTable(scalars))
  }

  /// Texts of the vocabulary by id, special tokens left out.
  private func orderedVocabulary() throws(TokenizerError) -> [[UInt8]] {
    let addedIDs = Set(added.map(\.id))
    let ordinary = vocabulary.filter { !addedIDs.contains($0.id) }
    var texts = [[UInt8]?](repeating: nil, count: ordinary.count)
    for (text, id) in ordinary {
      guard texts.indices.contains(id), texts[id] == nil else {
        throw .malformedTokenizer(
          key: "model.vocab", problem: "id \(id) occurs twice or leaves a gap")
      }
      texts[id] = text
    }
    guard !texts.isEmpty else {
      throw .malformedTokenizer(key: "model.vocab", problem: "it is missing or empty")
    }
    return texts.compactMap { $0 }
  }

  private func orderedSpecialNames(after count: Int) throws(TokenizerError) -> [String] {
    var names: [String] = []
    for (index, entry) in added.sorted(by: { $0.id < $1.id }).enumerated() {
      guard entry.id == count + index else {
        throw .malformedTokenizer(
          key: "added_tokens",
          problem: "id \(entry.id) should be \(count + index): added tokens follow the vocabulary")
      }
      names.append(text(entry.content))
    }
    return names
  }
}

// MARK: - The scanner's calls with this module's errors

private func object(
  _ scanner: inout JSONScanner,
  _ body: (inout JSONScanner, [UInt8]) throws(TokenizerError) -> Void
) throws(TokenizerError) {
  try scanner.readObject(failing: { .malformedJSON($0) }, body)
}

private func array(
  _ scanner: inout JSONScanner, _ body: (inout JSONScanner) throws(TokenizerError) -> Void
) throws(TokenizerError) {
  try scanner.readArray(failing: { .malformedJSON($0) }, body)
}

private func string(_ scanner: inout JSONScanner) throws(TokenizerError) -> [UInt8] {
  do { return try scanner.readString() } catch { throw .malformedJSON(error) }
}

private func integer(_ scanner: inout JSONScanner) throws(TokenizerError) -> Int {
  do { return try scanner.readInteger() } catch { throw .malformedJSON(error) }
}

private func peek(_ scanner: inout JSONScanner) throws(TokenizerError) -> UInt8 {
  do { return try scanner.peek() } catch { throw .malformedJSON(error) }
}

private func skip(_ scanner: inout JSONScanner) throws(TokenizerError) {
  do { try scanner.skipValue() } catch { throw .malformedJSON(error) }
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
