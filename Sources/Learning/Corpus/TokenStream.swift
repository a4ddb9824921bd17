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
    let digits = String(index)
    let padded = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    return "\(directory)/\(name)-\(padded).tokens"
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
      if shard.header.isLast { return TokenStream(shards) }
    }
  }

  /// Writes a stream and opens it.
  static func write(
    _ tokens: [UInt32], documentStarts: [Int], textByteCount: Int, tokenByteCount: Int,
    identity: [UInt8], directory: String, name: String
  ) throws(CorpusError) -> TokenStream {
    var first = 0
    var index = 0
    var documents = documentStarts[...]
    repeat {
      let count = min(tokens.count - first, Shard.tokenCountMax)
      let here = documents.prefix { $0 < first + count }
      documents = documents.dropFirst(here.count)
      let header = Shard.Header(
        tokenByteCount: tokenByteCount, tokenCount: count, documentCount: here.count,
        firstToken: first, textByteCount: textByteCount, isLast: first + count == tokens.count,
        identity: identity)
      do {
        try Shard.write(
          header, tokens: tokens[first..<first + count], documentStarts: here,
          to: path(directory, name, index))
      } catch {
        throw .system(error)
      }
      first += count
      index += 1
    } while first < tokens.count
    guard let stream = try open(directory, name: name, identity: identity) else {
      throw .damagedShard(path: path(directory, name, 0), problem: "is missing")
    }
    return stream
  }
}
