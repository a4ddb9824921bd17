/// How a model's state (master weights and both moments) is cut into chunks for files and wires.
///
/// Each part is a flat space of `elementCount` elements in the order of ``ParameterLayout``, cut
/// into chunks of 4 MiB; the last chunk of a part may be shorter. Chunks are numbered through:
/// first those of the master weights, then the first moment's, then the second's.
public struct StateChunks: Equatable, Sendable {
  public enum Part: Int, CaseIterable, Sendable { case master, firstMoment, secondMoment }

  /// One chunk: elements `range` of `part`.
  public struct Chunk: Equatable, Sendable {
    public let part: Part
    public let range: Range<Int>
    /// 4 per element.
    public var byteCount: Int { 4 * range.count }

    public init(part: Part, range: Range<Int>) {
      self.part = part
      self.range = range
    }
  }

  /// Elements of a full chunk: 4 MiB of `f32`.
  public static let chunkElementCount = 1 << 20

  /// Elements of one part.
  public let elementCount: Int

  /// - Precondition: `elementCount` is positive.
  public init(elementCount: Int) {
    precondition(elementCount > 0, "a state has elements, got \(elementCount)")
    self.elementCount = elementCount
  }

  public init(_ layout: ParameterLayout) { self.init(elementCount: layout.count) }

  public var countPerPart: Int {
    (elementCount + Self.chunkElementCount - 1) / Self.chunkElementCount
  }

  /// Chunks in all.
  public var count: Int { 3 * countPerPart }

  public subscript(_ index: Int) -> Chunk {
    precondition(index >= 0 && index < count, "chunk \(index) is outside 0..<\(count)")
    let (part, number) = index.quotientAndRemainder(dividingBy: countPerPart)
    let start = number * Self.chunkElementCount
    return Chunk(
      part: Part.allCases[part],
      range: start..<min(start + Self.chunkElementCount, elementCount))
  }

  /// The chunks that `rank` of `worldSize` sends when all share the work: every `worldSize`-th.
  public func share(ofRank rank: Int, worldSize: Int) -> [Int] {
    precondition(rank >= 0 && rank < worldSize, "rank \(rank) is outside 0..<\(worldSize)")
    return Array(stride(from: rank, to: count, by: worldSize))
  }
}
