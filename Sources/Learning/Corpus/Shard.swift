internal import System

/// One file of tokens.
///
///     0   "COXTOKEN"
///     8   u32 version, u32 bytes per token (2 or 4)
///     16  u64 token count, u64 document count, u64 index of the first token in the stream
///     40  u64 bytes of text of the stream, complete in its last shard
///     48  u64 1 in the last shard, else 0
///     56  identity of source, split and tokenizer (SHA-256)
///     88  u64 zero
///     96  tokens, padded with zeros to 8 bytes
///         u64 per document that starts here: its first token's index in the stream, ascending
///         SHA-256 of everything before
///
/// Numbers are little-endian. A long stream is cut into several shards, anywhere.
package struct Shard: Sendable {
  package struct Header: Equatable, Sendable {
    var tokenByteCount: Int
    var tokenCount: Int
    var documentCount: Int
    var firstToken: Int
    var textByteCount: Int
    var isLast: Bool
    var identity: [UInt8]

    package init(
      tokenByteCount: Int, tokenCount: Int, documentCount: Int, firstToken: Int,
      textByteCount: Int, isLast: Bool, identity: [UInt8]
    ) {
      self.tokenByteCount = tokenByteCount
      self.tokenCount = tokenCount
      self.documentCount = documentCount
      self.firstToken = firstToken
      self.textByteCount = textByteCount
      self.isLast = isLast
      self.identity = identity
    }
  }

  static let version: UInt32 = 1
  static let headerByteCount = 96
  static let digestByteCount = 32

  let header: Header
  let documentStarts: [Int]
  private let file: File

  // MARK: - Writing

  /// Writes a shard: aside, then renamed.
  static func write(
    _ header: Header, tokens: ArraySlice<UInt32>, documentStarts: ArraySlice<Int>, to path: String
  ) throws(SystemError) {
    try Files.write(bytes(header, tokens: tokens, documentStarts: documentStarts), to: path)
  }

  /// A shard's bytes.
  package static func bytes(
    _ header: Header, tokens: ArraySlice<UInt32>, documentStarts: ArraySlice<Int>
  ) -> [UInt8] {
    precondition(tokens.count == header.tokenCount, "\(tokens.count) tokens, not as announced")
    var bytes: [UInt8] = []
    bytes.reserveCapacity(
      headerByteCount + (tokens.count + 4) * header.tokenByteCount + 8 * documentStarts.count
        + digestByteCount)
    bytes.append(contentsOf: magic)
    append(UInt64(version) | UInt64(header.tokenByteCount) << 32, to: &bytes)
    append(UInt64(header.tokenCount), to: &bytes)
    append(UInt64(header.documentCount), to: &bytes)
    append(UInt64(header.firstToken), to: &bytes)
    append(UInt64(header.textByteCount), to: &bytes)
    append(header.isLast ? 1 : 0, to: &bytes)
    bytes.append(contentsOf: header.identity)
    append(0, to: &bytes)
    for token in tokens {
      bytes.append(UInt8(truncatingIfNeeded: token))
      bytes.append(UInt8(truncatingIfNeeded: token >> 8))
      if header.tokenByteCount == 4 {
        bytes.append(UInt8(truncatingIfNeeded: token >> 16))
        bytes.append(UInt8(truncatingIfNeeded: token >> 24))
      }
    }
    while bytes.count % 8 != 0 { bytes.append(0) }
    for start in documentStarts { append(UInt64(start), to: &bytes) }
    var hash = SHA256()
    hash.update(bytes)
    bytes.append(contentsOf: hash.digest)
    return bytes
  }

  private static let magic = Array("COXTOKEN".utf8)

  private static func append(_ number: UInt64, to bytes: inout [UInt8]) {
    for shift in stride(from: 0, to: 64, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: number >> shift))
    }
  }

  // MARK: - Reading

  /// Opens a shard and verifies every byte of it.
  ///
  /// - Throws: ``CorpusError/damagedShard(path:problem:)``, ``CorpusError/system(_:)``.
  init(_ path: String) throws(CorpusError) {
    let bytes: [UInt8]
    do {
      file = try File(path, .read)
      bytes = try Files.read(path)
    } catch {
      throw .system(error)
    }
    (header, documentStarts) = try Self.parse(bytes, path)
  }

  /// Reads and verifies a shard's bytes; `path` is for errors.
  package static func parse(
    _ bytes: [UInt8], _ path: String
  ) throws(CorpusError) -> (Header, [Int]) {
    func damaged(_ problem: String) -> CorpusError { .damagedShard(path: path, problem: problem) }
    guard bytes.count >= headerByteCount + digestByteCount else {
      throw damaged("is cut off: \(bytes.count) bytes")
    }
    guard Array(bytes[0..<8]) == magic else { throw damaged("is not a file of tokens") }
    let header = try parseHeader(bytes, damaged)
    let padded = (header.tokenCount * header.tokenByteCount + 7) / 8 * 8
    let indexStart = headerByteCount + padded
    let expected = indexStart + 8 * header.documentCount + digestByteCount
    guard bytes.count == expected else {
      throw damaged("has \(bytes.count) bytes where its header says \(expected)")
    }
    var hash = SHA256()
    hash.update(Array(bytes[0..<expected - digestByteCount]))
    guard hash.digest == Array(bytes[(expected - digestByteCount)...]) else {
      throw damaged("does not match its checksum")
    }
    var starts: [Int] = []
    for index in 0..<header.documentCount {
      let start = number(bytes, at: indexStart + 8 * index)
      let end = header.firstToken + header.tokenCount
      guard start >= header.firstToken, start < end, start > starts.last ?? -1 else {
        throw damaged("has documents out of order")
      }
      starts.append(start)
    }
    return (header, starts)
  }

  private static func parseHeader(
    _ bytes: [UInt8], _ damaged: (String) -> CorpusError
  ) throws(CorpusError) -> Header {
    let first = number(bytes, at: 8)
    let tokenByteCount = first >> 32
    guard first & 0xFFFF_FFFF == Int(version) else {
      throw damaged("has version \(first & 0xFFFF_FFFF), this program reads \(version)")
    }
    let tokenCount = number(bytes, at: 16)
    let documentCount = number(bytes, at: 24)
    let firstToken = number(bytes, at: 32)
    let textByteCount = number(bytes, at: 40)
    // Each count is far below what would overflow the sizes computed from it.
    let limit = 1 << 48
    guard tokenByteCount == 2 || tokenByteCount == 4,
      [tokenCount, documentCount, firstToken, textByteCount].allSatisfy({ 0..<limit ~= $0 })
    else { throw damaged("has an impossible header") }
    return Header(
      tokenByteCount: tokenByteCount, tokenCount: tokenCount, documentCount: documentCount,
      firstToken: firstToken, textByteCount: textByteCount, isLast: number(bytes, at: 48) == 1,
      identity: Array(bytes[56..<88]))
  }

  private static func number(_ bytes: [UInt8], at offset: Int) -> Int {
    var value: UInt64 = 0
    for index in 0..<8 { value |= UInt64(bytes[offset + index]) << (8 * index) }
    return Int(truncatingIfNeeded: value)
  }

  /// Appends the tokens of `range`, counted from the shard's first.
  func read(_ range: Range<Int>, into tokens: inout [UInt32]) throws(SystemError) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= header.tokenCount,
      "\(range) is outside 0..<\(header.tokenCount)")
    let width = header.tokenByteCount
    let byteCount = range.count * width
    let offset = Self.headerByteCount + range.lowerBound * width
    let bytes = try file.read(at: offset, byteCount: byteCount)
    guard bytes.count == byteCount else {
      throw .endOfFile(path: file.path, missing: byteCount - bytes.count)
    }
    for index in 0..<range.count {
      let at = index * width
      var token = UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8
      if width == 4 { token |= UInt32(bytes[at + 2]) << 16 | UInt32(bytes[at + 3]) << 24 }
      tokens.append(token)
    }
  }
}
