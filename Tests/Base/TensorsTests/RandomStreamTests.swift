import Tensors
import Testing

@Suite struct `Random stream` {
  @Test func `draws what docs/numerics.md says, past 2^32 too`() {
    // Computed apart, from the page's text.
    let stream = RandomStream(seed: 42, phase: 1, step: 7, slice: 2, purpose: 3005)
    #expect(stream.key0 == 0x1bad_5a31 && stream.key1 == 0x2acf_172e)
    let indices: [UInt64] = [0, 1, 1 << 32 - 1, 1 << 32, 1 << 40 + 5]
    #expect(
      indices.map(stream.bits(at:))
        == [0x9898_c799, 0x8e03_b41e, 0x9e73_1a87, 0x159f_f584, 0xf420_2cd8])
    let other = RandomStream(seed: .max, purpose: 1)
    #expect([0, 1].map(other.bits(at:)) == [0xa791_28b6, 0xc586_7556])
  }

  @Test func `every part of the key makes another stream`() {
    let streams = [
      RandomStream(seed: 1, purpose: 1), RandomStream(seed: 2, purpose: 1),
      RandomStream(seed: 1, phase: 1, purpose: 1), RandomStream(seed: 1, step: 1, purpose: 1),
      RandomStream(seed: 1, slice: 1, purpose: 1), RandomStream(seed: 1, purpose: 2),
    ]
    for (index, stream) in streams.enumerated() {
      for other in streams[..<index] {
        // Two unrelated streams agree in one of 2^32 draws.
        #expect((0..<1000).filter { stream.bits(at: $0) == other.bits(at: $0) }.isEmpty)
      }
    }
  }

  @Test func `is uniform, and below its bound`() {
    let stream = RandomStream(seed: 3, purpose: 4)
    var counts = [Int](repeating: 0, count: 7)
    var sum = 0.0
    for index in 0..<70_000 as Range<UInt64> {
      counts[stream.integer(below: 7, at: index)] += 1
      let value = stream.uniform(at: index)
      #expect(value >= 0 && value < 1)
      sum += Double(value)
    }
    // Four standard errors: sqrt(70,000 / 7 x 6 / 7) = 93, and sqrt(1 / 12 / 70,000) = 0.0011.
    #expect(counts.allSatisfy { abs($0 - 10_000) < 4 * 93 })
    #expect(abs(sum / 70_000 - 0.5) < 4 * 0.0011)
    #expect((0..<100).allSatisfy { stream.integer(below: 1, at: $0) == 0 })
  }
}
