import KernelSupport
import Operators
import Tensors
import Testing

@Suite struct `Elementwise operators` {
  static let counts = [1, 15, 16, 17, 1000]

  @Test(arguments: counts)
  func `add is the sum of two floats on every variant and team`(count: Int) throws {
    let x = draws(count, 1), y = draws(count, 2)
    let expected = bits(zip(x, y).map { $0 + $1 })
    for variant in variantNames {
      for members in 1...3 {
        let sum = window(y)
        try withEngine(variant, members: members) { $0.add(window(x), into: sum) }
        #expect(bits(sum.array) == expected)
      }
    }
  }

  @Test(arguments: counts, Precision.allCases)
  func `rounding keeps the mask of the stream`(count: Int, precision: Precision) throws {
    // The run of indices crosses 2^32, where the draw's second word changes.
    let mask = DropoutMask(
      rate: 0.3, stream: RandomStream(seed: 3, step: 9, purpose: 5), firstIndex: 1 << 32 - 11)
    let x = draws(count, 1), scale = 1 / (1 - mask.rate)
    let expected = (0..<count).map { e -> Float in
      let isKept = mask.stream.uniform(at: mask.firstIndex + UInt64(e)) >= mask.rate
      let value = isKept ? x[e] * scale : 0
      return precision == .bf16 ? BFloat16(value).float : value
    }
    for variant in variantNames {
      for members in 1...3 {
        let output = OperandStorage(rowCount: 1, columnCount: count, precision: precision)
        try withEngine(variant, members: members) {
          $0.roundToOperand(window(x), output: output.rows, dropout: mask)
        }
        #expect(bits(output.rows.floats) == bits(expected))
      }
    }
  }

  @Test(arguments: variantNames)
  func `rounding handles ties, infinities, NaN and the largest float`(variant: String) throws {
    let tie = Float(bitPattern: 0x3F80_8000), tieToUpper = Float(bitPattern: 0x3F81_8000)
    let x: [Float] = [
      0, -0.0, tie, tieToUpper, -tie, .infinity, -.infinity, .greatestFiniteMagnitude,
      .nan, Float(bitPattern: 0x7F80_0001), 1, -1, 3.14159, 1e-30, 65_504, -2.5e-7, tie,
    ]
    let output = OperandStorage(rowCount: 1, columnCount: x.count, precision: .bf16)
    try withEngine(variant) { $0.roundToOperand(window(x), output: output.rows) }
    #expect(bits(output.rows.floats) == bits(x.map { BFloat16($0).float }))
  }

  @Test(arguments: [0.1, 0.5, 0.9] as [Float])
  func `dropout drops its share and leaves the mean`(rate: Float) throws {
    let count = 100_000
    let mask = DropoutMask(rate: rate, stream: RandomStream(seed: 1, purpose: 2))
    let output = OperandStorage(rowCount: 100, columnCount: count / 100, precision: .f32)
    let ones = window(Array(repeating: 1, count: count))
    try withEngine { $0.roundToOperand(ones, output: output.rows, dropout: mask) }
    let values = output.rows.floats
    // Binomial: 5 standard deviations.
    let kept = Double(values.count { $0 != 0 }), p = Double(1 - rate)
    #expect(abs(kept - Double(count) * p) < 5 * (Double(count) * p * (1 - p)).squareRoot())
    // Neighbours are kept independently: the share of kept pairs is p^2, its deviation at most 0.5.
    let pairs = Double(zip(values, values.dropFirst()).count { $0 != 0 && $1 != 0 })
    #expect(abs(pairs - Double(count) * p * p) < 5 * Double(count).squareRoot())
    #expect(Set(values).subtracting([0]) == [1 / (1 - rate)])
  }

  @Test func `a rate of 0 is no dropout`() throws {
    let x = draws(40, 1)
    let output = OperandStorage(rowCount: 2, columnCount: 20, precision: .f32)
    let mask = DropoutMask(rate: 0, stream: RandomStream(seed: 1, purpose: 2))
    try withEngine { $0.roundToOperand(window(x), output: output.rows, dropout: mask) }
    #expect(bits(output.rows.floats) == bits(x))
  }

  /// The documented order, in Swift: sixteen lanes in a block, halves pairwise, blocks in a tree.
  private func squares(_ x: [Float]) -> Double {
    let length = 65_536
    var blocks = stride(from: 0, to: x.count, by: length).map { start -> Double in
      var lanes = [Double](repeating: 0, count: 16)
      for i in start..<min(start + length, x.count) {
        lanes[(i - start) % 16] += Double(x[i]) * Double(x[i])
      }
      for width in [8, 4, 2, 1] { for i in 0..<width { lanes[i] += lanes[i + width] } }
      return lanes[0]
    }
    var stride = 1
    while stride < blocks.count {
      for b in Swift.stride(from: 0, to: blocks.count - stride, by: 2 * stride) {
        blocks[b] += blocks[b + stride]
      }
      stride *= 2
    }
    return blocks[0]
  }

  @Test(arguments: [1, 15, 16, 17, 65_535, 65_536, 65_537, 5 * 65_536 + 3])
  func `the sum of squares has its documented order on every variant`(count: Int) throws {
    let x = draws(count, 1)
    let expected = squares(x)
    // Against plain summation: count roundings of 2^-53 at most in either.
    let plain = x.reduce(0.0) { $0 + Double($1) * Double($1) }
    #expect(abs(expected - plain) <= 2 * Double(count) * 0x1p-53 * plain)
    for variant in variantNames {
      for members in 1...3 {
        let sum = try withEngine(variant, members: members) { $0.sumOfSquares(window(x)) }
        #expect(sum.bitPattern == expected.bitPattern)
      }
    }
  }

  @Test func `a NaN or an overflow shows in the sum of squares`() throws {
    var x = draws(100, 1)
    x[70] = .nan
    #expect(try withEngine { $0.sumOfSquares(window(x)) }.isNaN)
    x[70] = .infinity
    #expect(try withEngine { $0.sumOfSquares(window(x)) } == .infinity)
    x[70] = .greatestFiniteMagnitude  // its square is finite in f64
    #expect(try withEngine { $0.sumOfSquares(window(x)) }.isFinite)
    #expect(try withEngine { $0.sumOfSquares(filled(0)) } == 0)
  }
}
