internal import System

/// Tokens in a row, in one shard or several, and where documents start among them.
struct TokenStream: Sendable {
  let shards: [Shard]
  /// Ascending; the first is 0.
  let documentStarts: [Int]
  let tokenCount: Int
  /// Bytes of text that the tokens stand for.
  let textByteCount: Int

  /// - Precondition: The shards are those of one stream, in order.
  init(_ shards: [Shard]) {
    self.shards = shards
    documentStarts = shards.flatMap(\.documentStarts)
    tokenCount = shards.reduce(0) { $0 + $1.header.tokenCount }
    textByteCount = shards.last?.header.textByteCount ?? 0
  }

  var documentCount: Int { documentStarts.count }

  /// The tokens of document `index`.
  func range(ofDocument index: Int) -> Range<Int> {
    let end = index + 1 < documentStarts.count ? documentStarts[index + 1] : tokenCount
    return documentStarts[index]..<end
  }

  /// Appends the tokens of `range`.
  func read(_ range: Range<Int>, into tokens: inout [UInt32]) throws(SystemError) {
    for shard in shards {
      let first = shard.header.firstToken
      let part = range.clamped(to: first..<first + shard.header.tokenCount)
      if part.isEmpty { continue }
      try shard.read(part.lowerBound - first..<part.upperBound - first, into: &tokens)
    }
  }

  /// Path of shard `index` of the stream called `name`.
  static func path(_ directory: String, _ name: String, _ index: Int) -> String {
    "\(directory)/\(Self.name(name, index))"
  }

  /// File name of shard `index` of the stream called `name`.
  static func name(_ name: String, _ index: Int) -> String {
    let digits = String(index)
    let padded = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    return "\(name)-\(padded).tokens"
  }

  /// Opens and verifies a stream made earlier; nil if there is none.
  ///
  /// - Throws: ``CorpusError/damagedShard(path:problem:)``.
  static func open(
    _ directory: String, name: String, identity: [UInt8]
  ) throws(CorpusError) -> TokenStream? {
    var shards: [Shard] = []
    var tokenCount = 0
    while true {
      let path = path(directory, name, shards.count)
      guard Files.exists(path) else {
        if shards.isEmpty { return nil }
        throw .damagedShard(path: path, problem: "is missing")
      }
      let shard = try Shard(path)
      guard shard.header.identity == identity, shard.header.firstToken == tokenCount else {
        throw .damagedShard(path: path, problem: "belongs to other data")
      }
      shards.append(shard)
      tokenCount += shard.header.tokenCount
      guard shard.header.isLast else { continue }
      let stream = TokenStream(shards)
      guard tokenCount == 0 || stream.documentStarts.first == 0 else {
        throw .damagedShard(path: path, problem: "ends a stream that starts inside a document")
      }
      return stream
    }
  }
}

/// Writes a stream document by document; holds no more than one file's tokens and one document.
struct TokenStreamWriter {
  let directory: String
  let name: String
  let identity: [UInt8]
  let tokenByteCount: Int
  /// Most tokens of one file.
  let shardTokenCount: Int

  /// Tokens that are not in a file yet.
  private var tokens: [UInt32] = []
  private var documentStarts: [Int] = []
  private var writtenTokenCount = 0
  private var shardCount = 0
  private var textByteCount = 0

  init(
    directory: String, name: String, identity: [UInt8], tokenByteCount: Int, shardTokenCount: Int
  ) {
    precondition(shardTokenCount > 0, "a shard needs a token")
    self.directory = directory
    self.name = name
    self.identity = identity
    self.tokenByteCount = tokenByteCount
    self.shardTokenCount = shardTokenCount
  }

  /// Adds a document of `byteCount` bytes of text, whose tokens `body` appends.
  mutating func addDocument(
    byteCount: Int, _ body: (inout [UInt32]) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    let start = writtenTokenCount + tokens.count
    try body(&tokens)
    if writtenTokenCount + tokens.count > start { documentStarts.append(start) }
    textByteCount += byteCount
    // The last tokens wait for ``finish()``, which alone knows that the shard is the last.
    while tokens.count > shardTokenCount { try writeShard(shardTokenCount, isLast: false) }
  }

  /// Writes what is left and opens the stream.
  mutating func finish() throws(CorpusError) -> TokenStream {
    try writeShard(tokens.count, isLast: true)
    guard let stream = try TokenStream.open(directory, name: name, identity: identity) else {
      throw .damagedShard(path: TokenStream.path(directory, name, 0), problem: "is missing")
    }
    return stream
  }

  private mutating func writeShard(_ count: Int, isLast: Bool) throws(CorpusError) {
    let end = writtenTokenCount + count
    let documentCount = documentStarts.partitioningIndex { $0 >= end }
    let header = Shard.Header(
      tokenByteCount: tokenByteCount, tokenCount: count, documentCount: documentCount,
      firstToken: writtenTokenCount, textByteCount: textByteCount, isLast: isLast,
      identity: identity)
    do {
      try Shard.write(
        header, tokens: tokens[..<count], documentStarts: documentStarts[..<documentCount],
        to: TokenStream.path(directory, name, shardCount))
    } catch {
      throw .system(error)
    }
    tokens.removeFirst(count)
    documentStarts.removeFirst(documentCount)
    writtenTokenCount = end
    shardCount += 1
  }
}
