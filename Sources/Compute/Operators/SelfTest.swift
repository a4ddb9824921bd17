internal import System
internal import Tensors

extension Engine {
  /// SHA-256 (64 hex digits) over the results of a fixed run of the products and what is fused
  /// with them: two workers with the same digest compute the same training step.
  ///
  /// All portable variants share one digest per precision. Takes a few milliseconds.
  public func selfTestDigest() -> String {
    var test = SelfTest(engine: self)
    return test.digest()
  }
}

/// One small feed-forward step with a head: every kind of product, widths that fill no panel.
private struct SelfTest {
  private static let tokenCount = 13, width = 70, features = 45, vocabularySize = 131

  let engine: Engine
  private var hash = SHA256()

  init(engine: Engine) { self.engine = engine }

  mutating func digest() -> String {
    let (tokenCount, width) = (Self.tokenCount, Self.width)
    let input = draws(tokenCount * width, purpose: 1)
    let gateUp = makeWeights(2 * Self.features, width, purpose: 2)
    let down = makeWeights(width, Self.features, purpose: 3)
    let head = makeWeights(Self.vocabularySize, width, purpose: 4)

    let normed = operands(width)
    engine.rmsNormForward(
      input, gain: draws(width, purpose: 5), epsilon: 1e-5, output: normed,
      inverseRMS: zeros(tokenCount))
    let pairs = operands(2 * Self.features)
    let hidden = operands(Self.features)
    engine.matmul(normed, gateUp, .swiglu(gateUp: pairs, hidden: hidden))
    let output = zeros(tokenCount * width)
    let mask = DropoutMask(
      rate: 0.1, stream: RandomStream(seed: 1, purpose: 6), firstIndex: 1 << 33)
    engine.matmul(hidden, down, .residual(input: input, output: output, mask))
    append(output)

    let final = operands(width)
    engine.roundToOperand(output, output: final)
    let gradient = zeros(max(Self.vocabularySize, 2 * Self.features) * width)
    let dOutput = zeros(tokenCount * width)
    let targets = (0..<tokenCount).map { UInt32($0 * 10) }
    let statistics = engine.headLoss(
      normed: final, head: head, targets: targets,
      isTarget: targets.map { $0 != 50 },
      gradient: HeadGradient(normed: dOutput, weights: gradient, accumulates: false),
      workspace: HeadWorkspace(
        width: width, vocabularySize: Self.vocabularySize, engine: engine))
    hash.update(statistics.lossSum.bitPattern)
    append(dOutput)
    append(gradient)

    engine.roundToOperand(dOutput, output: final, dropout: mask)
    engine.matmulInput(final, down, .swigluBackward(gateUp: pairs, dGateUp: pairs))
    let dNormed = zeros(tokenCount * width)
    engine.matmulInput(pairs, gateUp, .store(dNormed))
    append(dNormed)
    appendWeightGradient(pairs, normed, gradient)
    return hash.hexDigest
  }

  private mutating func appendWeightGradient(
    _ dY: OperandRows, _ x: OperandRows, _ gradient: SharedRows<Float>
  ) {
    func packed(_ rows: OperandRows) -> PackedPairs {
      let pairs = PackedPairs(
        rowCapacity: rows.rowCount, columnCount: rows.columnCount, form: engine.form)
      engine.packPairs(rows, into: pairs)
      return pairs
    }
    engine.matmulWeight(
      dY: packed(dY), x: packed(x), into: gradient,
      rowOffsets: (0..<dY.columnCount).map { $0 * x.columnCount }, accumulate: true)
    append(gradient)
  }

  private mutating func append(_ values: SharedRows<Float>) {
    values.withBytes { hash.update($0) }
  }

  private func zeros(_ count: Int) -> SharedRows<Float> {
    AlignedStorage(count: count, filledWith: 0).rows
  }

  private func operands(_ columnCount: Int) -> OperandRows {
    OperandStorage(
      rowCount: Self.tokenCount, columnCount: columnCount, precision: engine.precision
    ).rows
  }

  /// Uniform in -1 ..< 1.
  private func draws(_ count: Int, purpose: UInt64) -> SharedRows<Float> {
    let stream = RandomStream(seed: 2026, purpose: purpose)
    let values = zeros(count)
    for index in 0..<count { values[index] = 2 * stream.uniform(at: UInt64(index)) - 1 }
    return values
  }

  private func makeWeights(_ rows: Int, _ columns: Int, purpose: UInt64) -> PackedWeights {
    let weights = PackedWeights(
      rowOffsets: (0..<rows).map { $0 * columns }, columnCount: columns, form: engine.form)
    engine.pack(weights, from: draws(rows * columns, purpose: purpose))
    return weights
  }
}
