import Operators
import System
import Tensors

/// One micro-batch of attention with random operands.
struct AttentionProblem {
  let shape: AttentionShape
  let segments: [Range<Int>]
  let qkv: OperandRows
  let dOutput: OperandRows
  let rotary: RotaryTable
  /// `[T]`: the row's place in its window of 100 tokens.
  let positions: SharedRows<Int32>

  var tokenCount: Int { qkv.rowCount }

  init(
    shape: AttentionShape, segmentLengths: [Int], precision: Precision, seed: UInt64 = 1
  ) {
    self.shape = shape
    var segments: [Range<Int>] = []
    for length in segmentLengths {
      let begin = segments.last?.upperBound ?? 0
      segments.append(begin..<begin + length)
    }
    self.segments = segments
    let tokenCount = segments.last?.upperBound ?? 0
    let stream = RandomStream(seed: seed, purpose: 1)
    qkv = OperandStorage(
      rowCount: tokenCount, columnCount: shape.queryKeyValueWidth, precision: precision
    ).rows
    qkv.fill { row, column in
      let draw = 2 * stream.uniform(at: UInt64(row * shape.queryKeyValueWidth + column)) - 1
      return column < shape.outputWidth ? 3 * draw : draw  // large queries: uneven probabilities
    }
    dOutput = OperandStorage(
      rowCount: tokenCount, columnCount: shape.outputWidth, precision: precision
    ).rows
    let other = RandomStream(seed: seed, purpose: 2)
    dOutput.fill { row, column in
      2 * other.uniform(at: UInt64(row * shape.outputWidth + column)) - 1
    }
    rotary = RotaryTable(headWidth: shape.headWidth, positionCount: 100)
    positions = AlignedStorage<Int32>(count: tokenCount, filledWith: 0).rows
    for row in 0..<tokenCount { positions[row] = Int32(row % 100) }
  }

  /// The same operands cut otherwise.
  init(_ other: AttentionProblem, segments: [Range<Int>]) {
    shape = other.shape
    self.segments = segments
    qkv = other.qkv
    dOutput = other.dOutput
    rotary = other.rotary
    positions = other.positions
  }

  /// The problem of one of its segments, on the same operands.
  init(segment: Range<Int>, of whole: AttentionProblem) {
    shape = whole.shape
    segments = [0..<segment.count]
    qkv = whole.qkv.rows(segment)
    dOutput = whole.dOutput.rows(segment)
    rotary = whole.rotary
    positions = whole.positions[segment]
  }
}

/// What the kernels make of a problem.
struct AttentionResult: Equatable {
  var output: [Float] = []
  var logSumExp: [Float] = []
  var gradient: [Float] = []

  /// Runs both passes. Every buffer is NaN before.
  init(_ problem: AttentionProblem, on engine: Engine) {
    let shape = problem.shape
    let output = OperandStorage(
      rowCount: problem.tokenCount, columnCount: shape.outputWidth, precision: engine.precision
    ).rows
    let gradient = OperandStorage(
      rowCount: problem.tokenCount, columnCount: shape.queryKeyValueWidth,
      precision: engine.precision
    ).rows
    output.fill { _, _ in .nan }
    gradient.fill { _, _ in .nan }
    let logSumExp = AlignedStorage<Float>(
      count: shape.headCount * problem.tokenCount, filledWith: .nan
    ).rows
    let workspace = AttentionWorkspace(
      shape: shape, segmentLength: problem.segments.map(\.count).max() ?? 1,
      precision: engine.precision, memberCount: engine.team.memberCount)
    engine.attentionForward(
      qkv: problem.qkv, shape: shape, segments: problem.segments, output: output,
      logSumExp: logSumExp, workspace: workspace)
    engine.attentionBackward(
      qkv: problem.qkv, output: output, dOutput: problem.dOutput, logSumExp: logSumExp,
      shape: shape, segments: problem.segments, dQKV: gradient, rotary: problem.rotary,
      positions: problem.positions, workspace: workspace)
    self.output = output.values
    self.logSumExp = logSumExp.array
    self.gradient = gradient.values
  }

  /// Equality of every bit; `==` would call two zeros equal and two NaN different.
  func hasBits(of other: AttentionResult) -> Bool {
    func same(_ a: [Float], _ b: [Float]) -> Bool {
      a.map(\.bitPattern) == b.map(\.bitPattern)
    }
    return same(output, other.output) && same(logSumExp, other.logSumExp)
      && same(gradient, other.gradient)
  }
}

extension OperandRows {
  /// All elements, row-major.
  var values: [Float] {
    (0..<rowCount).flatMap { row in (0..<columnCount).map { float(row: row, column: $0) } }
  }

  func fill(_ value: (_ row: Int, _ column: Int) -> Float) {
    for row in 0..<rowCount {
      for column in 0..<columnCount { set(row: row, column: column, value(row, column)) }
    }
  }
}

/// An engine for the length of a test; its threads end with it.
final class EngineForTest {
  let engine: Engine

  init(
    _ variant: KernelVariant, _ precision: Precision, memberCount: Int = 1,
    apart: Set<Fusion> = []
  ) {
    engine = Engine(
      team: ThreadTeam(memberCount: memberCount), variant: variant, precision: precision,
      apart: apart)
  }

  deinit { engine.team.stop() }
}
