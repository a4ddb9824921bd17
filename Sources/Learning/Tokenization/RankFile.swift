extension Tokenizer {
  /// Reads a file of ranks: a line per token, base64 of its bytes, a space, its rank, which is its
  /// id.
  ///
  /// tiktoken takes a piece that is a token as it is, and else merges the two neighbours that
  /// together spell the token of lowest rank. A token that its own bytes merge to is always made
  /// of the same two parts: whatever happens inside its bytes before it comes to be happens in any
  /// text that holds them, unless a merge crosses their border, and then the token does not come
  /// to be. So one merge per token says the same as the ranks. Tokens that their bytes do not
  /// merge to come from whole pieces alone.
  ///
  /// - Throws: ``TokenizerError/malformedTokenizer(key:problem:)``.
  package static func load(
    ranks file: [UInt8], splitter: Splitter, specials: [Special] = []
  ) throws(TokenizerError) -> Tokenizer {
    let tokens = try readRanks(file)
    try ByteLevelVocabulary.check(
      specials, isTaken: { $0 < tokens.count && tokens.byteCount(of: $0) > 0 })
    let bytes = Tokenizer(kind: .bpe, splitter: splitter, tokens: tokens, specials: [])
    try bytes.checkBytes(key: "ranks")
    let (merges, isComplete) = findMerges(tokens, bytes.byteIDs)
    return Tokenizer(
      kind: .bpe, splitter: splitter, tokens: tokens, specials: specials, merges: merges,
      takesWholePiecesFirst: !isComplete)
  }

  private static func readRanks(_ file: [UInt8]) throws(TokenizerError) -> TokenBytes {
    var byID: [[UInt8]?] = []
    var seen: Set<[UInt8]> = []
    let lines = file.split(separator: 0x0A, omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where !line.isEmpty {
      let parts = line.split(separator: 0x20)
      guard parts.count == 2, let bytes = base64(parts[0]), !bytes.isEmpty,
        let rank = Int(String(decoding: parts[1], as: UTF8.self)), rank >= 0
      else {
        throw .malformedTokenizer(
          key: "line \(index + 1)", problem: "it is not base64, a space and a rank")
      }
      guard rank < idCountMax else { throw idTooLarge(rank, key: "line \(index + 1)") }
      while byID.count <= rank { byID.append(nil) }
      guard byID[rank] == nil, seen.insert(bytes).inserted else {
        throw .malformedTokenizer(
          key: "line \(index + 1)", problem: "its token or its rank has occurred before")
      }
      byID[rank] = bytes
    }
    return TokenBytes(byID)
  }

  /// The merge that makes each token, and whether every token has one.
  private static func findMerges(
    _ tokens: TokenBytes, _ byteIDs: [UInt32]
  ) -> (merges: MergeTable, isComplete: Bool) {
    var merges = MergeTable(countMax: tokens.count)
    var replay = MergeReplay()
    var parts: [UInt32] = []
    var isComplete = true
    for id in 0..<tokens.count where tokens.byteCount(of: id) > 1 {
      parts.removeAll(keepingCapacity: true)
      replay.merge(tokens[id].map { byteIDs[Int($0)] }, with: merges, into: &parts)
      if parts.count == 2 {
        merges.append(Merge(left: parts[0], right: parts[1], result: UInt32(id)))
      } else {
        isComplete = false
      }
    }
    return (merges, isComplete)
  }

  /// The merges as text in the byte-level alphabet, one pair each, as vocabularies write them.
  package var mergeTexts: [String] {
    merges.merges.map { merge in
      [merge.left, merge.right].map {
        String(decoding: ByteAlphabet.spell(tokens[Int($0)]), as: UTF8.self)
      }.joined(separator: " ")
    }
  }

  private static func base64(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var bitCount = 0
    for character in text where character != 0x3D {
      let digit: UInt8
      switch character {
      case 0x41...0x5A: digit = character - 0x41
      case 0x61...0x7A: digit = character - 0x61 + 26
      case 0x30...0x39: digit = character - 0x30 + 52
      case 0x2B: digit = 62
      case 0x2F: digit = 63
      default: return nil
      }
      bits = bits << 6 | UInt32(digit)
      bitCount += 6
      if bitCount >= 8 {
        bitCount -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(bitCount)))
      }
    }
    return bytes
  }
}

/// What OpenAI's rank files do not say themselves: the splitter and the special tokens.
package struct KnownRankFile: Sendable {
  package let splitter: Splitter
  package let specials: [Tokenizer.Special]

  /// - Parameter fileName: Without folder; `.gz` and `.tiktoken` may end it.
  package init?(fileName: String) {
    let endOfText = "<|endoftext|>", endOfPrompt = "<|endofprompt|>"
    let known: (Splitter, [(Int, String)])
    switch fileName.prefix(while: { $0 != "." }) {
    case "r50k_base", "p50k_base": known = (.gpt2, [(50256, endOfText)])
    case "cl100k_base":
      known = (
        .cl100k,
        [
          (100_257, endOfText), (100_258, "<|fim_prefix|>"), (100_259, "<|fim_middle|>"),
          (100_260, "<|fim_suffix|>"), (100_276, endOfPrompt),
        ]
      )
    case "o200k_base": known = (.o200k, [(199_999, endOfText), (200_018, endOfPrompt)])
    default: return nil
    }
    splitter = known.0
    specials = known.1.map { Tokenizer.Special(id: UInt32($0.0), name: $0.1) }
  }
}
