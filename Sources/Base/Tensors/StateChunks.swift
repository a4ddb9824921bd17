/// The state of a replica cut into equal chunks: master, first and second moment, one after the
/// other, `count` elements each, in chunks of 4 MiB. The cut depends on the model alone, so a
/// checkpoint does not know how many workers wrote it.
public struct StateChunks: Equatable, Sendable {
  /// Elements of one chunk: 4 MiB of `f32`.
  public static let chunkElementCount = 1 << 20

  /// Elements of each of the three parts (`ParameterLayout.count`).
  public let count: Int

  public init(count: Int) { self.count = count }

  public var chunkCount: Int { (3 * count + Self.chunkElementCount - 1) / Self.chunkElementCount }

  /// One piece of a chunk: part 0, 1 or 2 (master, first, second moment) and a range within it.
  public struct Piece: Equatable, Sendable {
    public let part: Int
    public let range: Range<Int>
  }

  /// The chunk's pieces, in order.
  public func pieces(of chunk: Int) -> [Piece] {
    precondition(chunk >= 0 && chunk < chunkCount, "chunk \(chunk) is outside 0..<\(chunkCount)")
    let first = chunk * Self.chunkElementCount
    let last = min(first + Self.chunkElementCount, 3 * count)
    return (0..<3).compactMap { part in
      let lower = max(first, part * count)
      let upper = min(last, (part + 1) * count)
      guard lower < upper else { return nil }
      return Piece(part: part, range: lower - part * count..<upper - part * count)
    }
  }

  /// The chunk's bytes, out of three windows of `count` elements each.
  public func bytes(of chunk: Int, in parts: [SharedRows<Float>]) -> [UInt8] {
    var bytes: [UInt8] = []
    for piece in pieces(of: chunk) { parts[piece.part][piece.range].appendBytes(to: &bytes) }
    return bytes
  }

  /// Bytes of the chunk; all but the last hold 4 MiB.
  public func byteCount(of chunk: Int) -> Int {
    pieces(of: chunk).reduce(0) { $0 + $1.range.count * MemoryLayout<Float>.stride }
  }

  /// Sets the chunk's elements in three windows of `count` elements each.
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
}
