extension Tokenizer {
  /// Trains a tokenizer on documents, fed one after the other.
  ///
  /// The result depends on the texts' bytes alone, not on their order.
  public struct Trainer: Sendable {
    private let kind: Kind
    private let vocabularySize: Int
    private let splitter: Splitter
    private var pieces = PieceCounter()
    private var isScalarSeen: [Bool] = []
    private var isEmpty = true

    /// - Parameter vocabularySize: V, special tokens included; `bpe` only.
    public init(kind: Kind, vocabularySize: Int = 0, splitter: Splitter = .cl100k) {
      self.kind = kind
      self.vocabularySize = vocabularySize
      self.splitter = splitter
    }

    /// Learns from `range` of `text` (all of it by default).
    ///
    /// - Throws: ``TokenizerError/invalidUTF8(byteOffset:)``.
    public mutating func add(
      _ text: [UInt8], range: Range<Int>? = nil
    ) throws(TokenizerError) {
      let range = range ?? 0..<text.count
      if range.isEmpty || kind == .bytes { return }
      if let bad = firstInvalidUTF8(in: text, range: range) {
        throw .invalidUTF8(byteOffset: bad)
      }
      isEmpty = false
      switch kind {
      case .bytes: break
      case .characters: addScalars(text.span, range)
      case .bpe: pieces.add(text.span, range, splitter)
      }
    }

    /// The tokenizer.
    ///
    /// - Throws: ``TokenizerError/emptyText``,
    ///   ``TokenizerError/vocabularyTooSmall(requested:least:)``,
    ///   ``TokenizerError/vocabularyTooLarge(requested:reachable:)``.
    public func finish() throws(TokenizerError) -> Tokenizer {
      if kind == .bytes { return .bytes }
      guard !isEmpty else { throw .emptyText }
      return kind == .characters ? characterTokenizer() : try mergingTokenizer()
    }

    private mutating func addScalars(_ text: Span<UInt8>, _ range: Range<Int>) {
      var index = range.lowerBound
      while index < range.upperBound {
        let (scalar, length) = decodeScalar(text, at: index)
        if scalar >= isScalarSeen.count {
          let missing = Int(scalar) + 1 - isScalarSeen.count
          isScalarSeen.append(contentsOf: repeatElement(false, count: missing))
        }
        isScalarSeen[Int(scalar)] = true
        index += length
      }
    }

    private func characterTokenizer() -> Tokenizer {
      let scalars = isScalarSeen.indices.filter { isScalarSeen[$0] }.map { UInt32($0) }
      return Tokenizer(
        kind: .characters, tokens: TokenBytes(scalars.map(utf8Bytes(of:))), specials: [],
        characters: CharacterTable(scalars))
    }

    private func mergingTokenizer() throws(TokenizerError) -> Tokenizer {
      let specialCount = SpecialToken.allCases.count
      let least = 256 + specialCount
      guard vocabularySize >= least else {
        throw .vocabularyTooSmall(requested: vocabularySize, least: least)
      }
      let wanted = vocabularySize - specialCount
      var training = MergeTraining(pieces)
      training.run(untilTokenCount: wanted)
      guard training.tokens.count == wanted else {
        throw .vocabularyTooLarge(
          requested: vocabularySize, reachable: training.tokens.count + specialCount)
      }
      return Tokenizer(
        kind: .bpe, splitter: splitter, tokens: training.tokens,
        specials: Tokenizer.ownSpecials(from: wanted), merges: MergeTable(merges: training.merges))
    }
  }

  /// Trains a tokenizer on one text.
  public static func train(
    _ kind: Kind, on text: [UInt8], vocabularySize: Int = 0, splitter: Splitter = .cl100k
  ) throws(TokenizerError) -> Tokenizer {
    var trainer = Trainer(kind: kind, vocabularySize: vocabularySize, splitter: splitter)
    try trainer.add(text)
    return try trainer.finish()
  }
}

/// How often each distinct piece occurs.
struct PieceCounter: Sendable {
  private(set) var pieces = PieceCache()
  private(set) var counts: [Int] = []

  mutating func add(_ text: Span<UInt8>, _ range: Range<Int>, _ splitter: Splitter) {
    let rules = splitter.rules
    var start = range.lowerBound
    while start < range.upperBound {
      let end = rules.pieceEnd(in: text, from: start, to: range.upperBound)
      count(text, start..<end)
      start = end
    }
  }

  private mutating func count(_ text: Span<UInt8>, _ piece: Range<Int>) {
    let hash = PieceCache.hash(text, piece)
    if let index = pieces.index(of: text, piece, hash: hash) {
      counts[index] += 1
    } else {
      pieces.insert(text, piece, hash: hash)
      counts.append(1)
    }
  }
}
