import KernelSupport
import Operators
import Tensors
import Testing

/// [T, V, D]: around blocks of 128 and chunks of 512 tokens, blocks of 1024 columns, panels, odd
/// vocabularies, and a vocabulary summed in more than one block of k (2048 bf16, 1024 f32; widened
/// bf16: 128, past 33 strips of rows).
private let shapes: [[Int]] = [
  [1, 2, 2], [3, 65, 8], [7, 64, 33], [5, 1027, 16], [257, 67, 10], [513, 19, 6], [9, 4101, 6],
  [140, 600, 6], [200, 131, 6],
]

@Suite struct `Head and cross-entropy` {
  @Test(arguments: Kind.all, shapes)
  func `losses and gradients match f64`(kind: Kind, shape: [Int]) {
    let problem = Problem(shape, kind.precision)
    let result = kind.withEngine { problem.run($0) }
    let reference = problem.reference()
    #expect(result.statistics.tokenCount == Int64(problem.isTarget.count(where: { $0 })))
    let lossError = abs(result.statistics.lossSum - reference.lossSum)
    #expect(lossError <= reference.lossTolerance, "loss off by \(lossError)")
    // Probabilities carry the relative error of exp and the logits; then the operand's rounding.
    let relative = reference.logitError + 20 * roundoff
      + (kind.precision == .bf16 ? bf16Roundoff : 0)
    for (index, expected) in reference.dNormed.enumerated() {
      let tolerance = expected.magnitude * relative + expected.tolerance + 1e-30
      #expect(abs(Double(result.dNormed[index]) - expected.value) <= tolerance, "dX \(index)")
    }
    for (index, expected) in reference.dWeights.enumerated() {
      let tolerance = expected.magnitude * relative + expected.tolerance + 1e-30
      #expect(abs(Double(result.dWeights[index]) - expected.value) <= tolerance, "dW \(index)")
    }
  }

  @Test(arguments: Kind.portable, shapes)
  func `portable variants give the bits of scalar`(kind: Kind, shape: [Int]) throws {
    let scalar = Kind(
      variant: try #require(KernelVariant(named: "scalar")), precision: kind.precision)
    let problem = Problem(shape, kind.precision)
    #expect(scalar.withEngine { problem.run($0) } == kind.withEngine { problem.run($0) })
  }

  @Test(arguments: Kind.all, shapes)
  func `one, two and three threads give the same bits`(kind: Kind, shape: [Int]) {
    let problem = Problem(shape, kind.precision)
    let alone = kind.withEngine { problem.run($0) }
    for members in 2...3 {
      #expect(kind.withEngine(members: members) { problem.run($0) } == alone)
    }
  }

  @Test(arguments: Kind.best) func `the loss alone is the same loss`(kind: Kind) {
    let problem = Problem([600, 67, 10], kind.precision)
    kind.withEngine { engine in
      let whole = problem.run(engine)
      let losses = AlignedStorage<Double>(count: 600, filledWith: .nan).rows
      let alone = engine.headLoss(
        normed: problem.normed.operands(kind.precision), head: problem.weights.packed(by: engine),
        targets: problem.targets, isTarget: problem.isTarget, losses: losses, gradient: nil,
        workspace: HeadWorkspace(width: 10, vocabularySize: 67, engine: engine))
      #expect(alone == whole.statistics)
      // Token by token, in the order in which blocks of 128 are summed.
      let blocks = stride(from: 0, to: 600, by: 128).map { start in
        losses[start..<min(start + 128, 600)].array.reduce(0, +)
      }
      #expect(blocks.reduce(0, +) == alone.lossSum)
    }
  }

  @Test(arguments: Kind.best, [[1, 2, 2], [140, 600, 6], [1100, 19, 6]])
  func `logits of all tokens at once give the same bits`(kind: Kind, shape: [Int]) {
    let problem = Problem(shape, kind.precision)
    let fused = kind.withEngine(members: 2) { problem.run($0) }
    let apart = kind.withEngine(members: 2, apart: [.head]) { problem.run($0) }
    #expect(apart == fused)
  }

  @Test(arguments: Kind.best) func `tokens that are no target have no gradient`(kind: Kind) {
    var problem = Problem([8, 70, 12], kind.precision)
    problem.isTarget = [Bool](repeating: false, count: 8)
    // What stands at an ignored position need not be a token.
    problem.targets[0] = .max
    let result = kind.withEngine { problem.run($0) }
    #expect(result.statistics == SliceStatistics(tokenCount: 0, lossSum: 0))
    #expect(result.dNormed.allSatisfy { $0 == 0 } && result.dWeights.allSatisfy { $0 == 0 })
  }

  @Test(arguments: Kind.best)
  func `an ignored token changes nothing for the others`(kind: Kind) {
    let problem = Problem([9, 70, 12], kind.precision)
    var changed = problem
    for column in 0..<12 where !problem.isTarget[2] { changed.normed.values[24 + column] = 3 }
    #expect(!problem.isTarget[2])
    #expect(kind.withEngine { problem.run($0) } == kind.withEngine { changed.run($0) })
  }

  @Test(arguments: Kind.best) func `accumulating adds to the gradient`(kind: Kind) {
    let problem = Problem([10, 70, 12], kind.precision)
    let fresh = kind.withEngine { problem.run($0) }
    let before = Matrix(70, 12, purpose: 40, .f32).values
    let added = kind.withEngine { problem.run($0, onto: before) }
    #expect(bits(added.dWeights) == bits(zip(before, fresh.dWeights).map { $0 + $1 }))
    #expect(bits(added.dNormed) == bits(fresh.dNormed))
  }

  /// Powers of two round nothing, so a token's gradient is its weight times what it was.
  @Test(arguments: Kind.best) func `weights multiply gradients only`(kind: Kind) {
    let problem = Problem([600, 70, 12], kind.precision)
    let plain = kind.withEngine { problem.run($0) }
    let weights = (0..<600).map { [4, -0.5, 0, 1][$0 % 4] as Float }
    let weighted = kind.withEngine { problem.run($0, weights: weights) }
    #expect(weighted.statistics == plain.statistics)
    for (index, value) in plain.dNormed.enumerated() {
      #expect(weighted.dNormed[index] == weights[index / 12] * value)
    }
    let same = kind.withEngine { problem.run($0, weights: Array(repeating: 4, count: 600)) }
    #expect(bits(same.dWeights) == bits(plain.dWeights.map { 4 * $0 }))
  }

  @Test func `f32 gradients are the slopes of the loss`() {
    let kind = Kind(variant: .best, precision: .f32)
    var problem = Problem([6, 37, 9], .f32)
    let result = kind.withEngine { problem.run($0) }
    // Central differences: error h^2/6 times a third derivative of order 1, plus the f32 noise of
    // two losses of order 20 over 2 h; at h = 2^-6 both are below 1e-4.
    let step: Float = 0x1p-6
    for (purpose, count) in [(0, problem.normed.values.count), (1, problem.weights.values.count)] {
      for index in stride(from: 0, to: count, by: 7) {
        func loss(_ change: Float) -> Double {
          if purpose == 0 {
            problem.normed.values[index] += change
          } else {
            problem.weights.values[index] += change
          }
          return kind.withEngine { problem.run($0).statistics.lossSum }
        }
        let above = loss(step), below = loss(-2 * step)
        _ = loss(step)
        let slope = (above - below) / Double(2 * step)
        let gradient = purpose == 0 ? result.dNormed[index] : result.dWeights[index]
        #expect(abs(slope - Double(gradient)) < 3e-4, "\(purpose) \(index)")
      }
    }
  }

  @Test(arguments: Kind.all) func `a hopeless or certain token stays finite`(kind: Kind) {
    // Logits of +-100 * 2: the target's probability underflows, or is 1.
    var problem = Problem([2, 3, 2], kind.precision)
    problem.normed.values = [100, 0, 100, 0]
    problem.weights.values = [2, 0, -2, 0, 0, 0]
    problem.targets = [1, 0]
    problem.isTarget = [true, true]
    let result = kind.withEngine { problem.run($0) }
    #expect(result.statistics.lossSum == 400)
    #expect(result.dNormed == [2 - -2, 0, 0, 0])
  }

  @Test(arguments: Kind.best) func `a NaN reaches the loss`(kind: Kind) {
    var problem = Problem([9, 70, 12], kind.precision)
    problem.normed.values[0] = .nan
    problem.isTarget[0] = true
    #expect(kind.withEngine { problem.run($0) }.statistics.lossSum.isNaN)
  }

  @Test(arguments: Kind.all, shapes)
  func `the losses of rows of logits are those of the fused head`(kind: Kind, shape: [Int]) {
    let problem = Problem(shape, kind.precision)
    kind.withEngine(members: 2) { engine in
      let normed = problem.normed.operands(kind.precision)
      let head = problem.weights.packed(by: engine)
      let fused = AlignedStorage<Double>(count: shape[0], filledWith: .nan).rows
      _ = engine.headLoss(
        normed: normed, head: head, targets: problem.targets,
        isTarget: Array(repeating: true, count: shape[0]), losses: fused, gradient: nil,
        workspace: HeadWorkspace(width: shape[2], vocabularySize: shape[1], engine: engine))
      // Rows a few at a time, as generation has them.
      for first in stride(from: 0, to: shape[0], by: 5) {
        let rows = first..<min(first + 5, shape[0])
        let logits = LogitRows(rowCount: rows.count, vocabularySize: shape[1])
        let losses = AlignedStorage<Double>(count: rows.count, filledWith: .nan).rows
        engine.logits(normed: normed.rows(rows), head: head, into: logits)
        engine.losses(of: logits, targets: Array(problem.targets[rows]), into: losses)
        #expect(losses.array.map(\.bitPattern) == fused[rows].array.map(\.bitPattern))
      }
    }
  }

  @Test(arguments: Kind.best) func `logits of a few rows are the product`(kind: Kind) {
    let problem = Problem([3, 70, 12], kind.precision)
    let logits = LogitRows(rowCount: 3, vocabularySize: 70)
    kind.withEngine {
      $0.logits(
        normed: problem.normed.operands(kind.precision), head: problem.weights.packed(by: $0),
        into: logits)
    }
    for t in 0..<3 {
      for v in 0..<70 {
        var sum = Sum()
        for d in 0..<12 { sum.add(problem.normed[t, d], problem.weights[v, d]) }
        #expect(sum.matches(logits[t][v]))
      }
    }
  }
}

/// Activations, a head and targets.
private struct Problem {
  var normed, weights: Matrix
  var targets: [UInt32]
  var isTarget: [Bool]

  init(_ shape: [Int], _ precision: Precision) {
    normed = Matrix(shape[0], shape[2], purpose: 20, precision)
    weights = Matrix(shape[1], shape[2], purpose: 21, precision)
    let stream = RandomStream(seed: 5, purpose: 22)
    targets = (0..<shape[0]).map {
      UInt32(stream.integer(below: shape[1], at: UInt64($0)))
    }
    isTarget = (0..<shape[0]).map { $0 % 5 != 2 }
  }

  struct Result: Equatable {
    let statistics: SliceStatistics
    let dNormed, dWeights: [Float]
  }

  func run(
    _ engine: Engine, weights rowWeights: [Float]? = nil, onto before: [Float]? = nil
  ) -> Result {
    let dNormed = filled(normed.values.count, with: .nan)
    let dWeights = before.map(window) ?? filled(weights.values.count, with: .nan)
    let statistics = engine.headLoss(
      normed: normed.operands(engine.precision), head: weights.packed(by: engine),
      targets: targets, isTarget: isTarget, weights: rowWeights.map(window),
      gradient: HeadGradient(normed: dNormed, weights: dWeights, accumulates: before != nil),
      workspace: HeadWorkspace(
        width: weights.columnCount, vocabularySize: weights.rowCount, engine: engine,
        tokenCapacity: targets.count))
    return Result(statistics: statistics, dNormed: dNormed.array, dWeights: dWeights.array)
  }

  struct Reference {
    var lossSum = 0.0, lossTolerance = 0.0, logitError = 0.0
    var dNormed, dWeights: [Sum]
  }

  func reference() -> Reference {
    let (vocabulary, width) = (weights.rowCount, weights.columnCount)
    var result = Reference(
      dNormed: Array(repeating: Sum(), count: normed.values.count),
      dWeights: Array(repeating: Sum(), count: weights.values.count))
    for t in 0..<normed.rowCount where isTarget[t] {
      var logits: [Double] = []
      for v in 0..<vocabulary {
        var sum = Sum()
        for d in 0..<width { sum.add(normed[t, d], weights[v, d]) }
        logits.append(sum.value)
        result.logitError = max(result.logitError, 2 * sum.tolerance)
      }
      let maximum = logits.max() ?? 0
      let exponentials = logits.map { PortableMath.exp($0 - maximum) }
      let total = exponentials.reduce(0, +)
      result.lossSum += PortableMath.log(total) + maximum - logits[Int(targets[t])]
      // The logits' error twice (sum and target), and the exponentials' relative error: 4 of exp
      // and its argument, 7 per addition tree of 16 lanes x 64 vectors.
      result.lossTolerance += result.logitError + 80 * roundoff
      for v in 0..<vocabulary {
        let d = exponentials[v] / total - (v == Int(targets[t]) ? 1 : 0)
        for column in 0..<width {
          result.dNormed[t * width + column].add(d, weights[v, column])
          result.dWeights[v * width + column].add(d, normed[t, column])
        }
      }
    }
    return result
  }
}
