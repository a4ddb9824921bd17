/// The parts of a state, one after the other, cut into equal chunks of 4 MiB. The cut depends on
/// the state's layout alone, so a checkpoint does not know how many workers wrote it.
public struct StateChunks: Equatable, Sendable {
  /// Elements of one chunk: 4 MiB of `f32`.
  public static let chunkElementCount = 1 << 20

  /// Elements of each part.
  public let counts: [Int]
  /// Elements of all parts.
  private let total: Int

  public init(counts: [Int]) {
    self.counts = counts
    total = counts.reduce(0, +)
  }

  public var chunkCount: Int { (total + Self.chunkElementCount - 1) / Self.chunkElementCount }

  /// One piece of a chunk: the index of a part and a range within it.
  public struct Piece: Equatable, Sendable {
    public let part: Int
    public let range: Range<Int>

    package init(part: Int, range: Range<Int>) {
      self.part = part
      self.range = range
    }
  }

  /// The chunk's pieces, in order.
  public func pieces(of chunk: Int) -> [Piece] {
    precondition(chunk >= 0 && chunk < chunkCount, "chunk \(chunk) is outside 0..<\(chunkCount)")
    let first = chunk * Self.chunkElementCount
    let last = min(first + Self.chunkElementCount, total)
    var start = 0
    return counts.enumerated().compactMap { part, count in
      defer { start += count }
      let (lower, upper) = (max(first, start), min(last, start + count))
      return lower < upper ? Piece(part: part, range: lower - start..<upper - start) : nil
    }
  }

  /// The chunk's bytes, out of one window for each part.
  public func bytes(of chunk: Int, in parts: [SharedRows<Float>]) -> [UInt8] {
    var bytes: [UInt8] = []
    for piece in pieces(of: chunk) { parts[piece.part][piece.range].appendBytes(to: &bytes) }
    return bytes
  }

  /// Bytes of the chunk; all but the last hold 4 MiB.
  public func byteCount(of chunk: Int) -> Int {
    pieces(of: chunk).reduce(0) { $0 + $1.range.count * MemoryLayout<Float>.stride }
  }

  /// Sets the chunk's elements in the windows of the parts.
  ///
  /// - Precondition: `bytes` holds exactly the chunk.
  public func setBytes(_ bytes: [UInt8], of chunk: Int, in parts: [SharedRows<Float>]) {
    var rest = bytes[...]
    for piece in pieces(of: chunk) {
      let byteCount = piece.range.count * MemoryLayout<Float>.stride
      parts[piece.part][piece.range].copyBytes(from: rest.prefix(byteCount))
      rest = rest.dropFirst(byteCount)
    }
    precondition(rest.isEmpty, "chunk \(chunk) has \(rest.count) bytes too many")
  }

  /// The chunks that holder `rank` of `count` sends: a run of them, perhaps none.
  public func share(ofRank rank: Int, of count: Int) -> Range<Int> {
    chunkCount * rank / count..<chunkCount * (rank + 1) / count
  }
}
