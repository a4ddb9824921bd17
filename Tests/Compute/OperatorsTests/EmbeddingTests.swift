import KernelSupport
import Operators
import Tensors
import Testing

@Suite struct `Embedding` {
  static let widths = [1, 15, 16, 17, 50]
  static let ids: [UInt32] = [4, 0, 4, 2, 4, 6, 0]

  private func mask(_ rate: Float) -> DropoutMask? {
    rate == 0 ? nil : DropoutMask(rate: rate, stream: RandomStream(seed: 5, purpose: 1))
  }

  /// What the mask multiplies element `e` by.
  private func factor(_ mask: DropoutMask?, _ e: Int) -> Float {
    guard let mask else { return 1 }
    let isKept = mask.stream.uniform(at: mask.firstIndex + UInt64(e)) >= mask.rate
    return isKept ? 1 / (1 - mask.rate) : 0
  }

  @Test(arguments: widths, [0, 0.4] as [Float])
  func `the forward pass copies rows through the mask`(width: Int, rate: Float) throws {
    let table = draws(7 * width, 1)
    let expected = Self.ids.indices.flatMap { t in
      (0..<width).map { table[Int(Self.ids[t]) * width + $0] * factor(mask(rate), t * width + $0) }
    }
    for variant in variantNames {
      for members in 1...3 {
        let output = filled(Self.ids.count * width)
        try withEngine(variant, members: members) {
          $0.embeddingForward(
            ids: Self.ids, table: window(table), output: output, dropout: mask(rate))
        }
        #expect(output.array == expected)  // 0 and -0 are equal: a product with 0 keeps its sign
      }
    }
  }

  @Test(arguments: widths, [0, 0.4] as [Float])
  func `the backward pass adds tokens in their order`(width: Int, rate: Float) throws {
    let rows = [1, 0, 1, 2, 1, 3, 0]
    let dOutput = draws(rows.count * width, 2), start = draws(4 * width, 3)
    var expected = start
    for t in rows.indices {
      for d in 0..<width {
        expected[rows[t] * width + d] += dOutput[t * width + d] * factor(mask(rate), t * width + d)
      }
    }
    for variant in variantNames {
      for members in 1...3 {
        let gradient = window(start)
        try withEngine(variant, members: members) {
          $0.embeddingBackward(
            rows: rows, dOutput: window(dOutput), lookupGradient: gradient, dropout: mask(rate))
        }
        #expect(bits(gradient.array) == bits(expected))
      }
    }
  }

  @Test(arguments: widths)
  func `every variant and team gives the scalar bits of the forward pass`(width: Int) throws {
    let table = draws(7 * width, 1)
    let found = try disagreeing { engine in
      let output = filled(Self.ids.count * width)
      engine.embeddingForward(
        ids: Self.ids, table: window(table), output: output, dropout: mask(0.4))
      return output.array
    }
    #expect(found == [])
  }

  @Test func `the backward pass is the transpose of the forward pass`() throws {
    // The look-up is linear: <forward(table), dy> = <table, backward(dy)>, up to the rounding of
    // 7 x 9 products and sums of magnitude below 2.
    let width = 9, table = draws(7 * width, 1), dOutput = draws(7 * width, 2)
    let output = filled(7 * width), gradient = filled(7 * width)
    try withEngine {
      $0.embeddingForward(ids: Self.ids, table: window(table), output: output, dropout: mask(0.4))
      $0.embeddingBackward(
        rows: Self.ids.map(Int.init), dOutput: window(dOutput), lookupGradient: gradient,
        dropout: mask(0.4))
    }
    func dot(_ a: [Float], _ b: [Float]) -> Double {
      zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
    #expect(abs(dot(output.array, dOutput) - dot(table, gradient.array)) < 63 * 2 * 4 * roundoff)
  }

  @Test func `no token touches nothing`() throws {
    let table = window(draws(32, 1)), gradient = window(draws(32, 2))
    try withEngine {
      $0.embeddingForward(ids: [], table: table, output: filled(0))
      $0.embeddingBackward(rows: [], dOutput: filled(0), lookupGradient: gradient)
    }
    #expect(bits(gradient.array) == bits(draws(32, 2)))
  }
}
