extension Tokenizer {
  /// Reads a file of ranks: a line per token, base64 of its bytes, a space, its rank, which is its
  /// id. Merges follow from the ranks: two neighbours merge if they spell a token together.
  ///
  /// - Throws: ``TokenizerError/malformedTokenizer(key:problem:)``.
  package static func load(
    ranks file: [UInt8], splitter: Splitter
  ) throws(TokenizerError) -> Tokenizer {
    var tokens = TokenBytes([])
    var ids: [[UInt8]: UInt32] = [:]
    for line in file.split(separator: 0x0A) {
      let parts = line.split(separator: 0x20)
      guard parts.count == 2, let bytes = base64(parts[0]), !bytes.isEmpty,
        Int(String(decoding: parts[1], as: UTF8.self)) == tokens.count
      else {
        throw .malformedTokenizer(
          key: "line \(tokens.count + 1)", problem: "it is not base64 and the next rank")
      }
      ids[bytes] = UInt32(tokens.count)
      tokens.append(bytes)
    }
    var merges: [Merge] = []
    for id in 0..<tokens.count {
      let bytes = tokens[id]
      for cut in 1..<max(bytes.count, 1) {
        guard let left = ids[Array(bytes[..<cut])], let right = ids[Array(bytes[cut...])] else {
          continue
        }
        merges.append(Merge(left: left, right: right, result: UInt32(id)))
      }
    }
    let found = Tokenizer(
      kind: .bpe, splitter: splitter, tokens: tokens, specialNames: [],
      merges: MergeTable(merges: merges))
    guard !found.byteIDs.contains(UInt32.max) else {
      throw .malformedTokenizer(key: "ranks", problem: "a byte has no token")
    }
    return found
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
