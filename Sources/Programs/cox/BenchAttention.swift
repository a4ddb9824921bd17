internal import Operators
internal import Settings
internal import System
internal import Tensors

/// Attention of one layer over a micro-batch of a shape, forward and backward.
struct AttentionBench {
  let setup: BenchSetup

  func measure() -> [(String, JSONNode)] {
    let (preset, engine) = (setup.preset, setup.engine)
    let model = preset.model
    let shape = AttentionShape(model)
    let (sequences, length) = (preset.sequencesPerStep / 4, model.sequenceLength)
    let tokenCount = sequences * length
    let segments = (0..<sequences).map { $0 * length..<($0 + 1) * length }
    let workspace = AttentionWorkspace(
      shape: shape, segmentLength: length, precision: engine.precision,
      memberCount: engine.team.memberCount)
    let inner = shape.queryKeyValueWidth
    let (qkv, dQKV) = (rows(tokenCount, inner), rows(tokenCount, inner))
    let outer = shape.outputWidth
    let (output, dOutput) = (rows(tokenCount, outer), rows(tokenCount, outer))
    let logSumExp = AlignedStorage(count: shape.headCount * tokenCount, filledWith: Float(0)).rows
    let rotary = RotaryTable(headWidth: shape.headWidth, positionCount: length)
    let positions = AlignedStorage(count: tokenCount, filledWith: Int32(0)).rows
    for row in 0..<tokenCount { positions[row] = Int32(row % length) }

    let forward = setup.medianSeconds {
      engine.attentionForward(
        qkv: qkv, shape: shape, segments: segments, output: output, logSumExp: logSumExp,
        workspace: workspace)
    }
    let backward = setup.medianSeconds {
      engine.attentionBackward(
        qkv: qkv, output: output, dOutput: dOutput, logSumExp: logSumExp, shape: shape,
        segments: segments, dQKV: dQKV, rotary: rotary, positions: positions, workspace: workspace)
    }
    // Pairs of a query and a key that it sees, and what one product of them costs.
    let pairs = Double(sequences) * Double(length) * Double(length + 1) / 2
    let product = 2 * pairs * Double(shape.headCount * shape.headWidth)
    return figures(tokenCount, product, forward, backward)
  }

  private func figures(
    _ tokenCount: Int, _ product: Double, _ forward: Double, _ backward: Double
  ) -> [(String, JSONNode)] {
    let peak = setup.engine.teamPeakGigaflops()
    func pass(_ name: String, _ products: Double, _ seconds: Double) -> [(String, JSONNode)] {
      let gigaflops = products * product / seconds * 1e-9
      return [
        ("\(name)_seconds_median", .decimal(seconds)),
        ("\(name)_gflops", BenchCommand.rounded(gigaflops, 1)),
        ("\(name)_of_peak", BenchCommand.rounded(gigaflops / peak, 4)),
      ]
    }
    let model = setup.preset.model
    return setup.head + [
      ("tokens", .integer(tokenCount)), ("context", .integer(model.sequenceLength)),
      ("heads", .integer(model.headCount)),
      ("key_value_heads", .integer(model.keyValueHeadCount)),
      ("head_width", .integer(model.headWidth)),
      ("flops_formula", .text("causal pairs x heads x 2 head_width x products, 2 and 4")),
    ] + pass("forward", 2, forward) + pass("backward", 4, backward)
      + pass("both", 6, forward + backward)
      + [("peak_measured_gflops", BenchCommand.rounded(peak, 1))]
  }

  /// Numbers that stay in range.
  private func rows(_ rowCount: Int, _ columnCount: Int) -> OperandRows {
    let rows = OperandStorage(
      rowCount: rowCount, columnCount: columnCount, precision: setup.engine.precision
    ).rows
    for row in 0..<rowCount {
      for column in 0..<columnCount { rows.set(row: row, column: column, 0.5) }
    }
    return rows
  }
}
