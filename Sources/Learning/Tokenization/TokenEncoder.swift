/// Which of the ways to write a piece in tokens is taken.
public enum EncodingMode: String, CaseIterable, Sendable {
  /// Byte pairs are merged in the order in which training found them.
  case merges
  /// The longest token that fits, from left to right: how the procedure is often told. Gives other
  /// ids where an early merge takes a byte that a longer token would have needed.
  case longest
}

/// Encodes texts one after the other and remembers the pieces it has met.
///
/// The ids are those of ``Tokenizer/encode(_:mode:)``, whatever was encoded before.
public struct TokenEncoder: Sendable {
  private let tokenizer: Tokenizer
  private let byteIDs: [UInt32]
  /// For the mode `longest`.
  private let vocabulary: TokenTrie?
  private var cache = PieceCache()
  /// Ids of the cached pieces, one after the other, and where each piece's end.
  private var cachedIDs: [UInt32] = []
  private var cachedEnds: [Int] = [0]
  private var replay = MergeReplay()
  private var pieceIDs: [UInt32] = []

  /// Longer pieces are rare and would fill the cache with what does not come back.
  private var cachedPieceByteCountMax = 64
  /// Bounds the cache to about 100 MB however strange the text is.
  private static let cachedPieceCountMax = 1 << 20

  init(_ tokenizer: Tokenizer, mode: EncodingMode) {
    self.tokenizer = tokenizer
    let mergesBytes = tokenizer.kind == .bpe
    byteIDs = mergesBytes ? tokenizer.byteIDs : []
    vocabulary = mergesBytes && mode == .longest ? TokenTrie(tokenizer.tokens) : nil
    if mergesBytes, mode == .merges, tokenizer.takesWholePiecesFirst { rememberVocabulary() }
  }

  /// Starts as if every piece that is a token as a whole had been met, and had given that token.
  private mutating func rememberVocabulary() {
    let tokens = tokenizer.tokens
    cachedPieceByteCountMax = max(cachedPieceByteCountMax, tokens.byteCountMax)
    cache = PieceCache(expectedCount: tokens.count)
    for id in 0..<tokens.count where tokens.byteCount(of: id) > 0 {
      let bytes = tokens.bytes.span, range = tokens.range(of: id)
      cache.insert(bytes, range, hash: PieceCache.hash(bytes, range))
      cachedIDs.append(UInt32(id))
      cachedEnds.append(cachedIDs.count)
    }
  }

  /// Encodes `range` of `text` (all of it by default) onto the end of `ids`.
  ///
  /// - Throws: ``TokenizerError/invalidUTF8(byteOffset:)``,
  ///   ``TokenizerError/unknownCharacter(scalar:byteOffset:)``; offsets count from the start of
  ///   `text`.
  public mutating func encode(
    _ text: [UInt8], range: Range<Int>? = nil, into ids: inout [UInt32]
  ) throws(TokenizerError) {
    let range = range ?? 0..<text.count
    if tokenizer.kind == .bytes {
      ids.reserveCapacity(ids.count + range.count)
      for index in range { ids.append(UInt32(text[index])) }
      return
    }
    if let bad = firstInvalidUTF8(in: text, range: range) { throw .invalidUTF8(byteOffset: bad) }
    if tokenizer.kind == .characters {
      try encodeCharacters(text.span, range, &ids)
    } else {
      encodePieces(text.span, range, &ids)
    }
  }

  private func encodeCharacters(
    _ text: Span<UInt8>, _ range: Range<Int>, _ ids: inout [UInt32]
  ) throws(TokenizerError) {
    var index = range.lowerBound
    while index < range.upperBound {
      let (scalar, length) = decodeScalar(text, at: index)
      let id = tokenizer.characters.id(of: scalar)
      guard id != CharacterTable.absent else {
        throw .unknownCharacter(scalar: scalar, byteOffset: index)
      }
      ids.append(id)
      index += length
    }
  }

  private mutating func encodePieces(
    _ text: Span<UInt8>, _ range: Range<Int>, _ ids: inout [UInt32]
  ) {
    let rules = tokenizer.splitter.rules
    var start = range.lowerBound
    while start < range.upperBound {
      let end = rules.pieceEnd(in: text, from: start, to: range.upperBound)
      encodePiece(text, start..<end, &ids)
      start = end
    }
  }

  private mutating func encodePiece(
    _ text: Span<UInt8>, _ piece: Range<Int>, _ ids: inout [UInt32]
  ) {
    if piece.count == 1 {
      ids.append(byteIDs[Int(text[piece.lowerBound])])
      return
    }
    guard piece.count <= cachedPieceByteCountMax else {
      write(text, piece, &ids)
      return
    }
    let hash = PieceCache.hash(text, piece)
    if let found = cache.index(of: text, piece, hash: hash) {
      for place in cachedEnds[found]..<cachedEnds[found + 1] { ids.append(cachedIDs[place]) }
      return
    }
    let first = ids.count
    write(text, piece, &ids)
    guard cache.count < Self.cachedPieceCountMax else { return }
    cache.insert(text, piece, hash: hash)
    cachedIDs.append(contentsOf: ids[first...])
    cachedEnds.append(cachedIDs.count)
  }

  private mutating func write(
    _ text: Span<UInt8>, _ piece: Range<Int>, _ ids: inout [UInt32]
  ) {
    if let vocabulary {
      vocabulary.match(text, piece, into: &ids)
      return
    }
    pieceIDs.removeAll(keepingCapacity: true)
    for index in piece { pieceIDs.append(byteIDs[Int(text[index])]) }
    replay.merge(pieceIDs, with: tokenizer.merges, into: &ids)
  }
}

extension Tokenizer {
  /// The id of every single byte; `UInt32.max` for one without.
  var byteIDs: [UInt32] {
    var found = [UInt32](repeating: UInt32.max, count: 256)
    for id in 0..<tokens.count where tokens.byteCount(of: id) == 1 {
      found[Int(tokens[id][0])] = UInt32(id)
    }
    return found
  }
}
