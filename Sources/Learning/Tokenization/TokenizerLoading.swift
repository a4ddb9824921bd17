extension Tokenizer {
  /// Reads tokenizer.json: byte-level BPE with a known splitter, or single characters.
  ///
  /// Special tokens keep their ids and are never found in text. What a file says about a
  /// post-processor, a decoder, truncation and padding has no part in encoding and is not kept.
  ///
  /// - Throws: ``TokenizerError`` naming the part of the file.
  public static func load(json: [UInt8]) throws(TokenizerError) -> Tokenizer {
    var file = TokenizerFile()
    var scanner = JSONScanner(json)
    try file.read(&scanner)
    do { try scanner.finish() } catch { throw .malformedJSON(error) }
    return try file.tokenizer()
  }

  /// Reads GPT-2's pair of files: merges, one pair a line, and a JSON object of ids.
  ///
  /// A token that is neither a byte nor what a merge makes is a special token.
  ///
  /// - Throws: ``TokenizerError`` naming the part of the file.
  package static func load(
    merges: [UInt8], vocabulary: [UInt8], splitter: Splitter
  ) throws(TokenizerError) -> Tokenizer {
    var parts = ByteLevelVocabulary()
    var made: Set<[UInt8]> = Set(ByteAlphabet.scalars.map(utf8Bytes(of:)))
    let lines = merges.split(separator: 0x0A, omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where !line.isEmpty {
      if index == 0, line.starts(with: Array("#version".utf8)) { continue }
      let pair = line.split(separator: 0x20).map { Array($0) }
      guard pair.count == 2 else {
        throw .malformedTokenizer(key: "line \(index + 1)", problem: "it is not a pair to merge")
      }
      parts.merges.append((pair[0], pair[1]))
      made.insert(pair[0] + pair[1])
    }
    var scanner = JSONScanner(vocabulary)
    var specials: [Special] = []
    for (token, id) in try readVocabulary(&scanner) {
      if made.contains(token) {
        parts.tokens.append((token, id))
      } else {
        specials.append(try special(id: id, name: token))
      }
    }
    do { try scanner.finish() } catch { throw .malformedJSON(error) }
    return try parts.tokenizer(
      kind: .bpe, splitter: splitter, specials: specials.sorted { $0.id < $1.id })
  }

  fileprivate static func special(id: Int, name: [UInt8]) throws(TokenizerError) -> Special {
    guard 0 <= id, id < idCountMax else { throw idTooLarge(id, key: "added_tokens") }
    return Special(id: UInt32(id), name: text(name))
  }
}

/// The parts of tokenizer.json that matter here, as read.
struct TokenizerFile {
  private struct AddedToken {
    var id: Int?
    var content: [UInt8]?
    var isSpecial = false
  }

  /// A pre-tokenizer as written; a `Sequence` has some of its own.
  private struct PreTokenizer {
    var type = ""
    var pattern: [UInt8]?
    var isPatternLiteral = false
    var behavior = "Isolated"
    var isInverted = false
    var addsPrefixSpace = false
    var usesRegex = true
    var members: [PreTokenizer] = []
  }

  private var added: [AddedToken] = []
  private var modelType: String?
  private var parts = ByteLevelVocabulary()
  /// Options of the model that are set and that this program does not have.
  private var modelOptions: [String] = []
  private var ignoresMerges = false
  private var normalizer: String?
  private var preTokenizer: PreTokenizer?

  // MARK: - Reading

  mutating func read(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "added_tokens":
        try array(&scanner) { (scanner) throws(TokenizerError) in
          added.append(try readAddedToken(&scanner))
        }
      case "normalizer":
        if try isNull(&scanner) { return try skip(&scanner) }
        normalizer = try readType(&scanner)
      case "pre_tokenizer":
        if try isNull(&scanner) { return try skip(&scanner) }
        preTokenizer = try readPreTokenizer(&scanner, depth: 0)
      case "model": try readModel(&scanner)
      default: try skip(&scanner)
      }
    }
  }

  private func readAddedToken(_ scanner: inout JSONScanner) throws(TokenizerError) -> AddedToken {
    var token = AddedToken()
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "id": token.id = try integer(&scanner)
      case "content": token.content = try string(&scanner)
      case "special": token.isSpecial = try isTrue(&scanner)
      default: try skip(&scanner)
      }
    }
    return token
  }

  /// The "type" of an object.
  private func readType(_ scanner: inout JSONScanner) throws(TokenizerError) -> String {
    var type = ""
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      if text(key) == "type" { type = text(try string(&scanner)) } else { try skip(&scanner) }
    }
    return type
  }

  private func readPreTokenizer(
    _ scanner: inout JSONScanner, depth: Int
  ) throws(TokenizerError) -> PreTokenizer {
    guard depth < 4 else {
      throw .unsupported(
        key: "pre_tokenizer", found: "sequences in sequences", supported: "4 levels of them")
    }
    var found = PreTokenizer()
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "type": found.type = text(try string(&scanner))
      case "pretokenizers":
        try array(&scanner) { (scanner) throws(TokenizerError) in
          found.members.append(try readPreTokenizer(&scanner, depth: depth + 1))
        }
      case "pattern":
        guard try peek(&scanner) == UInt8(ascii: "{") else { return try skip(&scanner) }
        try object(&scanner) { (scanner, key) throws(TokenizerError) in
          found.isPatternLiteral = text(key) != "Regex"
          found.pattern = try string(&scanner)
        }
      case "behavior":
        guard try peek(&scanner) == UInt8(ascii: "\"") else { return try skip(&scanner) }
        found.behavior = text(try string(&scanner))
      case "invert": found.isInverted = try isTrue(&scanner)
      case "use_regex": found.usesRegex = try isTrue(&scanner)
      case "add_prefix_space": found.addsPrefixSpace = try isTrue(&scanner)
      default: try skip(&scanner)
      }
    }
    return found
  }

  private mutating func readModel(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try object(&scanner) { (scanner, key) throws(TokenizerError) in
      switch text(key) {
      case "type": modelType = text(try string(&scanner))
      case "vocab":
        // A list is Unigram's, which its type says too.
        guard try peek(&scanner) == UInt8(ascii: "{") else { return try skip(&scanner) }
        parts.tokens = try readVocabulary(&scanner)
      case "merges": try readMerges(&scanner)
      case "ignore_merges": ignoresMerges = try isTrue(&scanner)
      case "byte_fallback":
        if try isTrue(&scanner) { modelOptions.append("byte_fallback") }
      case "dropout", "continuing_subword_prefix", "end_of_word_suffix":
        if try isNull(&scanner) { return try skip(&scanner) }
        var isSet = true
        if try peek(&scanner) == UInt8(ascii: "\"") {
          isSet = try !string(&scanner).isEmpty
        } else {
          try skip(&scanner)
        }
        if isSet { modelOptions.append(text(key)) }
      default: try skip(&scanner)
      }
    }
  }

  /// Merges are pairs `["a", "b"]`, or `"a b"` in older files.
  private mutating func readMerges(_ scanner: inout JSONScanner) throws(TokenizerError) {
    try array(&scanner) { (scanner) throws(TokenizerError) in
      var pair: [[UInt8]] = []
      if try peek(&scanner) == UInt8(ascii: "[") {
        try array(&scanner) { (scanner) throws(TokenizerError) in
          pair.append(try string(&scanner))
        }
      } else {
        pair = try string(&scanner).split(separator: 0x20).map { Array($0) }
      }
      guard pair.count == 2 else {
        throw .malformedTokenizer(
          key: "model.merges", problem: "merge \(parts.merges.count) is not a pair")
      }
      parts.merges.append((pair[0], pair[1]))
    }
  }
}

extension TokenizerFile {
  // MARK: - Judging

  func tokenizer() throws(TokenizerError) -> Tokenizer {
    // The first files of this form did not say their model's type.
    let type = modelType ?? (parts.merges.isEmpty ? "" : "BPE")
    guard ["BPE", "WordLevel"].contains(type) else {
      throw .unsupported(key: "model.type", found: "\"\(type)\"", supported: "BPE, WordLevel")
    }
    if let normalizer {
      throw .unsupported(key: "normalizer", found: "\"\(normalizer)\"", supported: "null")
    }
    if let option = modelOptions.first {
      throw .unsupported(key: "model.\(option)", found: "a value", supported: "null or false")
    }
    let specials = try orderedSpecials()
    // The vocabulary of some files repeats the special tokens.
    var vocabulary = parts
    let names = Dictionary(
      specials.map { (Array($0.name.utf8), Int($0.id)) }, uniquingKeysWith: { first, _ in first })
    vocabulary.tokens.removeAll { names[$0.text] == $0.id }
    return type == "WordLevel"
      ? try characterTokenizer(vocabulary.textsByID(), specials)
      : try byteLevelTokenizer(vocabulary, specials)
  }

  private func orderedSpecials() throws(TokenizerError) -> [Tokenizer.Special] {
    var specials: [Tokenizer.Special] = []
    for token in added {
      guard let id = token.id, let content = token.content else {
        throw .malformedTokenizer(key: "added_tokens", problem: "an entry lacks id or content")
      }
      // Others are searched for in every text before it is cut; here no text names a token.
      guard token.isSpecial else {
        throw .unsupported(
          key: "added_tokens", found: "\"\(text(content))\" with \"special\": false",
          supported: "special tokens")
      }
      specials.append(try Tokenizer.special(id: id, name: content))
    }
    return specials.sorted { $0.id < $1.id }
  }

  private func byteLevelTokenizer(
    _ vocabulary: ByteLevelVocabulary, _ specials: [Tokenizer.Special]
  ) throws(TokenizerError) -> Tokenizer {
    let (patterns, isByteLevel) = try preTokenizerParts()
    guard isByteLevel else {
      throw .unsupported(
        key: "pre_tokenizer", found: preTokenizer.map { "\"\($0.type)\"" } ?? "null",
        supported: "ByteLevel, alone or after a Split")
    }
    let isPlain = vocabulary.merges.isEmpty && patterns.isEmpty
    guard isPlain || patterns.count == 1,
      let splitter = isPlain ? .cl100k : Splitter(pattern: patterns[0])
    else {
      throw .unsupported(
        key: "pre_tokenizer",
        found: patterns.isEmpty ? "no pattern" : patterns.joined(separator: " then "),
        supported: "the patterns of \(Splitter.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return try vocabulary.tokenizer(
      kind: isPlain ? .bytes : .bpe, splitter: splitter, specials: specials,
      takesWholePiecesFirst: ignoresMerges)
  }

  /// The patterns that cut the text, and whether the pieces are spelled in bytes at the end.
  private func preTokenizerParts() throws(TokenizerError) -> (patterns: [String], isByteLevel: Bool)
  {
    var patterns: [String] = []
    var isByteLevel = false
    var rest = preTokenizer.map { [$0] } ?? []
    while !rest.isEmpty {
      let next = rest.removeFirst()
      if next.type == "Sequence" {
        rest = next.members + rest
        continue
      }
      if isByteLevel { throw refusal(of: next, "\"\(next.type)\" after ByteLevel") }
      switch next.type {
      case "Split": patterns.append(try pattern(of: next))
      case "ByteLevel":
        if next.addsPrefixSpace { throw refusal(of: next, "\"add_prefix_space\": true") }
        isByteLevel = true
        if next.usesRegex { patterns.append(Splitter.gpt2.pattern) }
      default: throw refusal(of: next, "\"\(next.type)\"")
      }
    }
    return (patterns, isByteLevel)
  }

  /// The pattern whose matches are the pieces, whatever lies between them.
  private func pattern(of split: PreTokenizer) throws(TokenizerError) -> String {
    guard let pattern = split.pattern, !split.isPatternLiteral else {
      throw refusal(of: split, "a \"Split\" without a \"Regex\"")
    }
    // Known patterns leave nothing between their matches, so both forms give the matches.
    guard
      split.isInverted ? split.behavior == "Removed" : split.behavior == "Isolated"
    else {
      throw refusal(
        of: split,
        "a \"Split\" with \"behavior\": \"\(split.behavior)\", \"invert\": \(split.isInverted)")
    }
    return text(pattern)
  }

  private func refusal(of preTokenizer: PreTokenizer, _ found: String) -> TokenizerError {
    .unsupported(
      key: "pre_tokenizer", found: found,
      supported: "ByteLevel without prefix space, alone or after a Split that isolates")
  }

  private func characterTokenizer(
    _ texts: [[UInt8]?], _ specials: [Tokenizer.Special]
  ) throws(TokenizerError) -> Tokenizer {
    let (patterns, isByteLevel) = try preTokenizerParts()
    guard !isByteLevel, patterns == [Tokenizer.anyCharacterPattern], specials.isEmpty else {
      throw .unsupported(
        key: "model.type", found: "WordLevel over words", supported: "WordLevel over characters")
    }
    var scalars: [UInt32] = []
    for (id, text) in texts.enumerated() {
      guard let text, !text.isEmpty, case let (scalar, length) = decodeScalar(text.span, at: 0),
        length == text.count, scalar > scalars.last ?? 0 || scalars.isEmpty
      else {
        throw .malformedTokenizer(
          key: "model.vocab", problem: "token \(id) is not the next single character")
      }
      scalars.append(scalar)
    }
    return Tokenizer(
      kind: .characters, tokens: TokenBytes(texts), specials: [],
      characters: CharacterTable(scalars))
  }
}

// MARK: - The scanner's calls with this module's errors

/// An object of tokens and their ids.
private func readVocabulary(
  _ scanner: inout JSONScanner
) throws(TokenizerError) -> [(text: [UInt8], id: Int)] {
  var tokens: [(text: [UInt8], id: Int)] = []
  try object(&scanner) { (scanner, key) throws(TokenizerError) in
    tokens.append((key, try integer(&scanner)))
  }
  return tokens
}

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

private func isTrue(_ scanner: inout JSONScanner) throws(TokenizerError) -> Bool {
  let isTrue = try peek(&scanner) == UInt8(ascii: "t")
  try skip(&scanner)
  return isTrue
}

private func isNull(_ scanner: inout JSONScanner) throws(TokenizerError) -> Bool {
  try peek(&scanner) == UInt8(ascii: "n")
}

private func peek(_ scanner: inout JSONScanner) throws(TokenizerError) -> UInt8 {
  do { return try scanner.peek() } catch { throw .malformedJSON(error) }
}

private func skip(_ scanner: inout JSONScanner) throws(TokenizerError) {
  do { try scanner.skipValue() } catch { throw .malformedJSON(error) }
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
