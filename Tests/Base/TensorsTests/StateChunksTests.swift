import Tensors
import Testing

@Suite struct `State chunks` {
  private static let chunk = StateChunks.chunkElementCount

  /// Parts that end inside a chunk, with it, beside it; and so small that one chunk holds all.
  static let counts = [1, 5, chunk / 3, chunk - 1, chunk, chunk + 1, 2 * chunk + 7]

  @Test(arguments: counts) func `hold every element once, in order`(count: Int) {
    let counts = [count, 3, count, 2 * count]
    let chunks = StateChunks(counts: counts)
    let starts = counts.indices.map { counts[..<$0].reduce(0, +) }
    var next = 0
    for chunk in 0..<chunks.chunkCount {
      let start = next
      for piece in chunks.pieces(of: chunk) {
        #expect(starts[piece.part] + piece.range.lowerBound == next)
        #expect(piece.range.upperBound <= counts[piece.part])
        next += piece.range.count
      }
      #expect(chunks.byteCount(of: chunk) == 4 * (next - start))
      #expect(next - start == Self.chunk || chunk == chunks.chunkCount - 1)
    }
    #expect(next == counts.reduce(0, +))
  }

  @Test func `travel as bytes and come back`() {
    let count = Self.chunk / 2 + 3
    let chunks = StateChunks(counts: [count, count, count])
    func parts(_ value: (Int, Int) -> Float) -> [SharedRows<Float>] {
      (0..<3).map { part in
        let rows = AlignedStorage<Float>(count: count, filledWith: 0).rows
        for index in 0..<count { rows[index] = value(part, index) }
        return rows
      }
    }
    let from = parts { Float($0 + 1) * Float($1 % 1000) }
    let to = parts { _, _ in -1 }
    #expect(chunks.chunkCount == 2)
    for chunk in 0..<chunks.chunkCount {
      let bytes = chunks.bytes(of: chunk, in: from)
      #expect(bytes.count == chunks.byteCount(of: chunk))
      chunks.setBytes(bytes, of: chunk, in: to)
    }
    for part in 0..<3 { #expect(to[part].array == from[part].array) }
  }

  @Test(arguments: [1, 2, 3, 7]) func `are shared out, each to one`(holders: Int) {
    let chunks = StateChunks(counts: [5 * Self.chunk, 1])
    let shares = (0..<holders).map { chunks.share(ofRank: $0, of: holders) }
    #expect(shares.flatMap { Array($0) } == Array(0..<6))
  }

  @Test func `stop the program where bytes are no chunk`() async {
    await #expect(processExitsWith: .failure) {
      let rows = AlignedStorage<Float>(count: 4, filledWith: 0).rows
      let bytes = [UInt8](repeating: 0, count: 4 * 12 + 4)
      StateChunks(counts: [4, 4, 4]).setBytes(bytes, of: 0, in: [rows, rows, rows])
    }
  }
}
