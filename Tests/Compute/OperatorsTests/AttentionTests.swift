import Operators
import System
import Tensors
import Testing

private let scalar = KernelVariant(named: "scalar")!

@Suite struct `Attention` {
  /// One tile and one row less and more, several tiles, and less than a strip of six rows.
  static let lengths = [1, 5, 6, 63, 64, 65, 130]
  /// Heads narrower than a panel, of a panel, and wider; widths that divide no panel; groups.
  static let shapes = [
    AttentionShape(headCount: 4, keyValueHeadCount: 2, headWidth: 20),
    AttentionShape(headCount: 3, keyValueHeadCount: 1, headWidth: 32),
    AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: 48),
    AttentionShape(headCount: 2, keyValueHeadCount: 2, headWidth: 64),
    AttentionShape(headCount: 2, keyValueHeadCount: 1, headWidth: 80),
    AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: 128),
    AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: 2),
    AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: ModelShape.headWidthMax),
  ]

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `matches f64 forward and backward at every length`(
    variant: KernelVariant, precision: Precision
  ) {
    let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headWidth: 20)
    for length in Self.lengths {
      let problem = AttentionProblem(
        shape: shape, segmentLengths: [length], precision: precision, seed: UInt64(length))
      expectMatch(problem, variant)
    }
  }

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `matches f64 forward and backward for every head width and group`(
    variant: KernelVariant, precision: Precision
  ) {
    for shape in Self.shapes {
      let problem = AttentionProblem(shape: shape, segmentLengths: [70, 3], precision: precision)
      expectMatch(problem, variant)
    }
  }

  /// Its operands are rounded where those of the fused kernels are, so the same bounds hold: a
  /// probability is divided by its sum before it is rounded instead of after.
  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `with its scores in memory it matches f64 within the same bounds`(
    variant: KernelVariant, precision: Precision
  ) {
    for shape in Self.shapes.prefix(5) {
      let problem = AttentionProblem(
        shape: shape, segmentLengths: [70, 3, 16, 1], precision: precision)
      expectMatch(problem, variant, apart: [.attention])
    }
  }

  @Test func `threads do not change a bit of it either`() {
    let problem = AttentionProblem(
      shape: Self.shapes[0], segmentLengths: [70, 3], precision: .bf16)
    let results = [1, 3].map { memberCount in
      let held = EngineForTest(.best, .bf16, memberCount: memberCount, apart: [.attention])
      return AttentionResult(problem, on: held.engine)
    }
    #expect(results[0].hasBits(of: results[1]))
  }

  private func expectMatch(
    _ problem: AttentionProblem, _ variant: KernelVariant, apart: Set<Fusion> = []
  ) {
    let reference = AttentionReference(problem)
    let held = EngineForTest(variant, problem.qkv.precision, apart: apart)
    let result = AttentionResult(problem, on: held.engine)
    func expectWithin(
      _ values: [Float], _ expected: [AttentionReference.Bounded], _ what: String
    ) {
      let worst = zip(values, expected).map { abs(Double($0) - $1.value) / $1.error }
        .max { $0 < $1 || $1.isNaN } ?? 0
      #expect(
        worst <= 1, "\(what) is off by \(worst) bounds: \(problem.shape), \(problem.segments)")
    }
    expectWithin(result.output, reference.output, "output")
    expectWithin(result.logSumExp, reference.logSumExp, "logSumExp")
    expectWithin(result.gradient, reference.gradient, "gradient")
  }

  @Test(arguments: [
    AttentionShape(headCount: 2, keyValueHeadCount: 1, headWidth: 6),
    AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: 20),
  ])
  func `its gradient is the slope of its output before the rotation`(shape: AttentionShape) {
    let held = EngineForTest(.best, .f32)
    let problem = AttentionProblem(shape: shape, segmentLengths: [7, 4], precision: .f32)
    let gradient = AttentionResult(problem, on: held.engine).gradient
    // Operands stay below 3 and probabilities sum to 1, so the third derivative of the loss along
    // one element stays below 100; with a step of 2^-7 the difference quotient errs by at most
    // 100 h^2 / 6 = 1e-3, and by the f32 rounding of the two outputs, 1e-6 / 2 h.
    let step = 0x1p-7
    for index in stride(from: 0, to: gradient.count, by: 5) {
      let slope = (loss(problem, moving: index, by: step, held.engine)
        - loss(problem, moving: index, by: -step, held.engine)) / (2 * step)
      #expect(abs(slope - Double(gradient[index])) <= 2e-3, "element \(index)")
    }
  }

  /// sum(output * dOutput) when one element, before its rotation, moves.
  private func loss(
    _ problem: AttentionProblem, moving index: Int, by step: Double, _ engine: Engine
  ) -> Double {
    let shape = problem.shape
    let (row, column) = index.quotientAndRemainder(dividingBy: shape.queryKeyValueWidth)
    let moved = AttentionProblem(
      shape: shape, segmentLengths: problem.segments.map(\.count), precision: .f32)
    func add(_ value: Double, at column: Int) {
      let old = Double(moved.qkv.float(row: row, column: column))
      moved.qkv.set(row: row, column: column, Float(old + value))
    }
    if column >= (shape.headCount + shape.keyValueHeadCount) * shape.headWidth {
      add(step, at: column)
    } else {
      let pair = column % shape.headWidth / 2
      let position = Int(problem.positions[row])
      let cosine = Double(problem.rotary.cosine(position: position, pair: pair))
      let sine = Double(problem.rotary.sine(position: position, pair: pair))
      let isEven = column % 2 == 0
      add(step * cosine, at: column)
      add(isEven ? step * sine : -step * sine, at: isEven ? column + 1 : column - 1)
    }
    let output = AttentionResult(moved, on: engine).output
    return zip(output, problem.dOutput.values).reduce(0) { $0 + Double($1.0) * Double($1.1) }
  }

  @Test(arguments: Precision.allCases)
  func `every portable variant gives the bits of the scalar one`(precision: Precision) {
    for shape in Self.shapes {
      let problem = AttentionProblem(shape: shape, segmentLengths: [130, 5], precision: precision)
      let expected = AttentionResult(problem, on: EngineForTest(scalar, precision).engine)
      for variant in KernelVariant.available {
        guard precision == .f32 || variant.profile == scalar.profile else { continue }
        let held = EngineForTest(variant, precision)
        let isSame = AttentionResult(problem, on: held.engine).hasBits(of: expected)
        #expect(isSame, "\(variant), \(shape)")
      }
    }
  }

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `one, two and three threads give the same bits`(
    variant: KernelVariant, precision: Precision
  ) {
    let shape = AttentionShape(headCount: 6, keyValueHeadCount: 3, headWidth: 20)
    let problem = AttentionProblem(
      shape: shape, segmentLengths: [65, 1, 40, 130], precision: precision)
    let alone = AttentionResult(problem, on: EngineForTest(variant, precision).engine)
    for memberCount in 2...3 {
      let held = EngineForTest(variant, precision, memberCount: memberCount)
      let isSame = AttentionResult(problem, on: held.engine).hasBits(of: alone)
      #expect(isSame, "\(memberCount) threads")
    }
  }

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `a segment has the same bits alone and among others`(
    variant: KernelVariant, precision: Precision
  ) {
    let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headWidth: 20)
    let problem = AttentionProblem(
      shape: shape, segmentLengths: [65, 1, 40, 130], precision: precision)
    let held = EngineForTest(variant, precision)
    let together = AttentionResult(problem, on: held.engine)
    for segment in problem.segments {
      let alone = AttentionResult(AttentionProblem(segment: segment, of: problem), on: held.engine)
      func part(_ values: [Float], width: Int) -> [Float] {
        Array(values[segment.lowerBound * width..<segment.upperBound * width])
      }
      let isSame = alone.output == part(together.output, width: shape.outputWidth)
        && alone.gradient == part(together.gradient, width: shape.queryKeyValueWidth)
      #expect(isSame, "\(segment)")
    }
  }

  @Test(arguments: Precision.allCases)
  func `rows outside of all segments are left alone`(precision: Precision) {
    let shape = AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: 20)
    let whole = AttentionProblem(shape: shape, segmentLengths: [3, 5, 4], precision: precision)
    let middle = AttentionProblem(whole, segments: [3..<8])
    let result = AttentionResult(middle, on: EngineForTest(.best, precision).engine)
    for row in 0..<12 {
      let isInside = (3..<8).contains(row)
      #expect(result.output[row * 20].isNaN != isInside)
      #expect(result.gradient[row * 60].isNaN != isInside)
    }
  }
}
