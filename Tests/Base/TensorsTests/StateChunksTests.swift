import Tensors
import Testing

@Suite struct `State chunks` {
  private static let chunk = StateChunks.chunkElementCount

  /// Parts that end inside a chunk, with it, beside it; and so small that one chunk holds all.
  static let counts = [1, 5, chunk / 3, chunk - 1, chunk, chunk + 1, 2 * chunk + 7]

  @Test(arguments: counts) func `hold every element once, in order`(count: Int) {
    let chunks = StateChunks(count: count)
    var next = 0
    for chunk in 0..<chunks.chunkCount {
      let start = next
      for piece in chunks.pieces(of: chunk) {
        #expect(piece.part * count + piece.range.lowerBound == next)
        #expect(piece.range.upperBound <= count)
        next += piece.range.count
      }
      #expect(chunks.byteCount(of: chunk) == 4 * (next - start))
      #expect(next - start == Self.chunk || chunk == chunks.chunkCount - 1)
    }
    #expect(next == 3 * count)
  }

  @Test func `travel as bytes and come back`() {
    let count = Self.chunk / 2 + 3
    let chunks = StateChunks(count: count)
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

  @Test func `stop the program where bytes are no chunk`() async {
    await #expect(processExitsWith: .failure) {
      let rows = AlignedStorage<Float>(count: 4, filledWith: 0).rows
      let bytes = [UInt8](repeating: 0, count: 4 * 12 + 4)
      StateChunks(count: 4).setBytes(bytes, of: 0, in: [rows, rows, rows])
    }
  }
}
