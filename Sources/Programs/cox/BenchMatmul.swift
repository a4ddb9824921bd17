internal import Operators
internal import Planning
internal import Settings
internal import System
internal import Tensors

/// Every product of a shape's step, one by one, on numbers that stay in range.
struct MatmulBench {
  private let setup: BenchSetup
  private let peak: Double
  private var rows: [Row] = []

  private struct Row {
    var name: String
    /// M, N, K of a product; rows, columns, 0 of a packing.
    var sizes: (Int, Int, Int)
    var seconds: Double
    /// Floating-point operations; 0 where bytes are moved only.
    var operations: Double
    /// Bytes read and written, where nothing is computed.
    var bytes = 0.0
  }

  static func run(_ setup: BenchSetup, asJSON: Bool) {
    var bench = MatmulBench(setup)
    let preset = setup.preset
    let shape = preset.model
    let tokenCount = preset.sequencesPerStep / 4 * shape.sequenceLength
    let (width, forward) = (shape.modelWidth, shape.feedForwardWidth)
    bench.measure("qkv", tokenCount, shape.queryKeyValueWidth, width)
    bench.measure("attention output", tokenCount, width, shape.attentionWidth)
    bench.measure("gate and up", tokenCount, 2 * forward, width)
    bench.measure("down", tokenCount, width, forward)
    let block = min(tokenCount, Engine.headBlockTokenCount)
    bench.measure("head", block, shape.vocabularySize, width)
    bench.print(asJSON: asJSON)
  }

  private init(_ setup: BenchSetup) {
    self.setup = setup
    peak = setup.engine.teamPeakGigaflops()
  }

  private var engine: Engine { setup.engine }

  /// `Y = X W^T`, `dX = dY W`, `dW = dY^T X`, and the packing that each needs.
  private mutating func measure(_ name: String, _ m: Int, _ n: Int, _ k: Int) {
    let master = AlignedStorage(count: n * k, filledWith: Float(0.01)).rows
    let weights = PackedWeights(
      rowOffsets: (0..<n).map { $0 * k }, columnCount: k, form: engine.form)
    let (x, dY) = (operands(m, k), operands(m, n))
    let (y, dX) = (operands(m, n), operands(m, k))
    let outputSide = PackedPairs(rowCapacity: m, columnCount: n, form: engine.form)
    let inputSide = PackedPairs(rowCapacity: m, columnCount: k, form: engine.form)
    let gradient = AlignedStorage(count: n * k, filledWith: Float(0)).rows
    let operations = 2 * Double(m) * Double(n) * Double(k)
    let element = Double(engine.precision.byteCount)
    let weightBytes = Double(n * k) * (4 + 2 * element)
    let pairBytes = Double(m * (n + k)) * 2 * element

    add("\(name): pack W", (n, k, 0), bytes: weightBytes) { $0.pack(weights, from: master) }
    add("\(name): Y", (m, n, k), operations) { $0.matmul(x, weights, .operand(y)) }
    add("\(name): dX", (m, k, n), operations) { $0.matmulInput(dY, weights, .operand(dX)) }
    add("\(name): pack X, dY", (m, n + k, 0), bytes: pairBytes) {
      $0.packPairs(dY, into: outputSide)
      $0.packPairs(x, into: inputSide)
    }
    add("\(name): dW", (n, k, m), operations) {
      $0.matmulWeight(
        dY: outputSide, x: inputSide, into: gradient, rowOffsets: (0..<n).map { $0 * k },
        accumulate: false)
    }
  }

  private func operands(_ rowCount: Int, _ columnCount: Int) -> OperandRows {
    let rows = OperandStorage(
      rowCount: rowCount, columnCount: columnCount, precision: engine.precision
    ).rows
    for column in 0..<columnCount { rows.set(row: 0, column: column, 0.5) }
    return rows
  }

  private mutating func add(
    _ name: String, _ sizes: (Int, Int, Int), _ operations: Double = 0, bytes: Double = 0,
    _ body: (Engine) -> Void
  ) {
    rows.append(
      Row(
        name: name, sizes: sizes, seconds: setup.medianSeconds { body(engine) },
        operations: operations, bytes: bytes))
  }

  private func print(asJSON: Bool) {
    guard asJSON else { return writeText(table, to: 1) }
    let list = rows.map { row -> JSONNode in
      var members: [(String, JSONNode)] = [
        ("name", .text(row.name)),
        ("sizes", .list([row.sizes.0, row.sizes.1, row.sizes.2].map { .integer($0) })),
        ("seconds_median", .decimal(row.seconds)),
      ]
      if row.operations > 0 {
        members += [
          ("gflops", BenchCommand.rounded(row.operations / row.seconds * 1e-9, 1)),
          ("of_peak", BenchCommand.rounded(row.operations / row.seconds * 1e-9 / peak, 4)),
        ]
      } else {
        members.append(("GBps", BenchCommand.rounded(row.bytes / row.seconds * 1e-9, 2)))
      }
      return .object(members)
    }
    let figures: [(String, JSONNode)] = [
      ("peak_measured_gflops", BenchCommand.rounded(peak, 1)), ("products", .list(list)),
    ]
    BenchCommand.print(setup.head + figures, asJSON: true)
  }

  private var table: String {
    let head = ["product", "M x N x K", "ms", "GFLOP/s", "of peak"]
    let body = rows.map { row -> [String] in
      let (m, n, k) = row.sizes
      let sizes = k > 0 ? "\(m) x \(n) x \(k)" : "\(m) x \(n)"
      let rate = row.operations / row.seconds * 1e-9
      let speed =
        row.operations > 0
        ? [Figures.fixed(rate, 1), Figures.fixed(100 * rate / peak, 1) + " %"]
        : [Figures.fixed(row.bytes / row.seconds * 1e-9, 1) + " GB/s", ""]
      return [row.name, sizes, Figures.fixed(row.seconds * 1000, 3)] + speed
    }
    let title =
      "\(setup.preset.rawValue), \(engine.team.memberCount) threads, \(engine.profile) "
      + "\(engine.precision.rawValue), peak measured \(Figures.fixed(peak, 1)) GFLOP/s"
    return ([title] + Figures.table([head] + body, right: [2, 3, 4])).joined(separator: "\n")
      + "\n"
  }
}
