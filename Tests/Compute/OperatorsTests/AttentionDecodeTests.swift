import KernelSupport
import Operators
import System
import Tensors
import Testing

@Suite struct `Attention of new tokens` {
  static let shapes = [
    AttentionShape(headCount: 8, keyValueHeadCount: 1, headWidth: 20),
    AttentionShape(headCount: 2, keyValueHeadCount: 2, headWidth: 64),
    AttentionShape(headCount: 2, keyValueHeadCount: 1, headWidth: 80),
  ]

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `token by token it gives the bits of the training forward`(
    variant: KernelVariant, precision: Precision
  ) {
    for shape in Self.shapes {
      let problem = AttentionProblem(shape: shape, segmentLengths: [130], precision: precision)
      let held = EngineForTest(variant, precision)
      let decoded = decode(problem, portions: Array(repeating: 1, count: 130), on: held.engine)
      let isSame = bits(decoded) == bits(AttentionResult(problem, on: held.engine).output)
      #expect(isSame, "\(shape)")
    }
  }

  @Test(arguments: Precision.allCases)
  func `every portable variant gives the bits of the scalar one`(precision: Precision) {
    for shape in Self.shapes {
      let problem = AttentionProblem(shape: shape, segmentLengths: [70], precision: precision)
      var expected: [UInt32] = []
      for variant in KernelVariant.available.reversed() {  // scalar first
        guard precision == .f32 || variant.profile == "portable" else { continue }
        let held = EngineForTest(variant, precision)
        let decoded = bits(decode(problem, portions: [62, 1, 7], on: held.engine))
        if expected.isEmpty { expected = decoded }
        let isSame = decoded == expected
        #expect(isSame, "\(variant), \(shape)")
      }
    }
  }

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `a prompt in portions of any size gives the same bits`(
    variant: KernelVariant, precision: Precision
  ) {
    let shape = AttentionShape(headCount: 4, keyValueHeadCount: 2, headWidth: 20)
    let problem = AttentionProblem(shape: shape, segmentLengths: [150], precision: precision)
    let held = EngineForTest(variant, precision)
    let expected = bits(AttentionResult(problem, on: held.engine).output)
    for portions in [[150], [60, 90], [7, 1, 64, 1, 77], [65, 85], [149, 1]] {
      let isSame = bits(decode(problem, portions: portions, on: held.engine)) == expected
      #expect(isSame, "\(portions)")
    }
  }

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `an output that vanishes has the sign of zero that it has in training`(
    variant: KernelVariant, precision: Precision
  ) {
    let shape = AttentionShape(headCount: 1, keyValueHeadCount: 1, headWidth: 20)
    let problem = AttentionProblem(shape: shape, segmentLengths: [9], precision: precision)
    // Products of a probability and such a value are flushed to zero with their sign; how many
    // products with probability 0 follow depends on the rows computed beside a row.
    for row in 0..<9 {
      for column in 40..<60 {
        problem.qkv.set(
          row: row, column: column,
          row % 2 == 0 ? -Float.leastNormalMagnitude : Float.leastNormalMagnitude)
      }
    }
    let held = EngineForTest(variant, precision)
    let decoded = decode(problem, portions: Array(repeating: 1, count: 9), on: held.engine)
    let isSame = bits(decoded) == bits(AttentionResult(problem, on: held.engine).output)
    #expect(isSame)
  }

  @Test(arguments: Precision.allCases, 1...3)
  func `a stream has the same bits alone and among others`(
    precision: Precision, memberCount: Int
  ) {
    let shape = AttentionShape(headCount: 4, keyValueHeadCount: 2, headWidth: 20)
    let lengths = [70, 3, 130, 64]
    let problem = AttentionProblem(shape: shape, segmentLengths: lengths, precision: precision)
    let held = EngineForTest(.best, precision, memberCount: memberCount)
    let expected = bits(AttentionResult(problem, on: held.engine).output)
    // All prompts but their last two tokens at once, then two steps of one token each.
    let caches = lengths.map { _ in KeyValueCache(shape: shape, precision: precision) }
    var rows = problem.segments.map { Array($0.dropLast(2)) }
    for _ in 0..<3 {
      let output = step(problem, rows: rows, caches: caches, on: held.engine)
      for (index, row) in rows.joined().enumerated() {
        let width = shape.outputWidth
        let isSame = bits(output)[index * width..<(index + 1) * width]
          == expected[row * width..<(row + 1) * width]
        #expect(isSame, "row \(row)")
      }
      rows = zip(rows, problem.segments).map { done, segment in
        [min((done.last ?? segment.lowerBound) + 1, segment.upperBound - 1)]
      }
    }
  }

  @Test(arguments: Precision.allCases)
  func `a cut or emptied cache forgets what followed`(precision: Precision) {
    let shape = AttentionShape(headCount: 2, keyValueHeadCount: 1, headWidth: 20)
    let problem = AttentionProblem(shape: shape, segmentLengths: [90], precision: precision)
    let held = EngineForTest(.best, precision)
    let cache = KeyValueCache(shape: shape, precision: precision)
    let first = step(problem, rows: [Array(0..<90)], caches: [cache], on: held.engine)
    for kept in [67, 64, 33, 0] {
      // What follows is forgotten even where it was not a number.
      cache.truncate(to: kept)
      let poison = AttentionProblem(shape: shape, segmentLengths: [20], precision: precision)
      poison.qkv.fill { _, _ in .nan }
      _ = step(poison, rows: [Array(0..<20)], caches: [cache], on: held.engine)
      cache.truncate(to: kept)
      let isSame = (kept..<90).allSatisfy { row in
        let again = step(problem, rows: [[row]], caches: [cache], on: held.engine)
        return bits(again) == bits(Array(first[row * again.count..<(row + 1) * again.count]))
      }
      #expect(isSame, "\(kept) kept")
    }
    #expect(cache.tokenCount == 90)
    #expect(cache.tokenCapacity == 128)
  }

  /// Feeds the one segment of a problem in portions.
  private func decode(_ problem: AttentionProblem, portions: [Int], on engine: Engine) -> [Float] {
    let cache = KeyValueCache(shape: problem.shape, precision: engine.precision)
    var begin = 0
    var output: [Float] = []
    for count in portions {
      output += step(problem, rows: [Array(begin..<begin + count)], caches: [cache], on: engine)
      begin += count
    }
    return output
  }

  /// Feeds rows of a problem, `rows[i]` to cache i.
  private func step(
    _ problem: AttentionProblem, rows: [[Int]], caches: [KeyValueCache], on engine: Engine
  ) -> [Float] {
    let all = Array(rows.joined())
    let qkv = OperandStorage(
      rowCount: all.count, columnCount: problem.shape.queryKeyValueWidth,
      precision: engine.precision
    ).rows
    qkv.fill { row, column in problem.qkv.float(row: all[row], column: column) }
    let output = OperandStorage(
      rowCount: all.count, columnCount: problem.shape.outputWidth, precision: engine.precision
    ).rows
    engine.attentionDecode(
      qkv: qkv, shape: problem.shape, newTokenCounts: rows.map(\.count), caches: caches,
      output: output)
    return output.values
  }

  private func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
}
