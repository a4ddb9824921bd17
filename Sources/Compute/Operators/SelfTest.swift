internal import System
internal import Tensors

extension Engine {
  /// SHA-256 (64 hex digits) over the results of every operator of a training step on fixed
  /// inputs: two workers with the same digest compute the same step.
  ///
  /// All portable variants share one digest per precision. Takes 2 ms, with scalar kernels 44.
  public func selfTestDigest() -> String {
    var test = SelfTest(engine: self)
    return test.digest()
  }
}

/// One small step: every operator, widths that fill no panel, sums of more than one block.
private struct SelfTest {
  private static let tokenCount = 83, width = 140, features = 45, vocabularySize = 131
  /// More than a tile of 64 keys, and less.
  private static let segments = [0..<70, 70..<83]
  private static let attention = AttentionShape(
    headCount: 2, keyValueHeadCount: 1, headWidth: 20)
  private static let mask = DropoutMask(
    rate: 0.1, stream: RandomStream(seed: 1, purpose: 6), firstIndex: 1 << 33)

  let engine: Engine
  private var hash = SHA256()

  init(engine: Engine) { self.engine = engine }

  mutating func digest() -> String {
    appendFeedForward()
    appendAttention()
    appendUpdate()
    return hash.hexDigest
  }

  private mutating func appendFeedForward() {
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
    engine.matmul(hidden, down, .residual(input: input, output: output, Self.mask))
    append(output)

    let final = operands(width)
    engine.roundToOperand(output, output: final)
    let gradient = zeros(max(Self.vocabularySize, 2 * Self.features) * width)
    let dOutput = zeros(tokenCount * width)
    let targets = (0..<tokenCount).map { UInt32($0 * 10 % Self.vocabularySize) }
    let statistics = engine.headLoss(
      normed: final, head: head, targets: targets,
      isTarget: targets.map { $0 != 50 },
      gradient: HeadGradient(normed: dOutput, weights: gradient, accumulates: false),
      workspace: HeadWorkspace(
        width: width, vocabularySize: Self.vocabularySize, engine: engine))
    hash.update(statistics.lossSum.bitPattern)
    append(dOutput)
    append(gradient)

    engine.roundToOperand(dOutput, output: final, dropout: Self.mask)
    engine.matmulInput(final, down, .swigluBackward(gateUp: pairs, dGateUp: pairs))
    let dNormed = zeros(tokenCount * width)
    engine.matmulInput(pairs, gateUp, .store(dNormed))
    append(dNormed)
    appendWeightGradient(pairs, normed, gradient)
  }

  private mutating func appendAttention() {
    let (tokenCount, shape) = (Self.tokenCount, Self.attention)
    let input = operands(Self.width)
    engine.roundToOperand(draws(tokenCount * Self.width, purpose: 7), output: input)
    let rotary = RotaryTable(headWidth: shape.headWidth, positionCount: tokenCount)
    let positions = AlignedStorage<Int32>(count: tokenCount, filledWith: 0).rows
    for row in 0..<tokenCount { positions[row] = Int32(row) }
    let qkv = operands(shape.queryKeyValueWidth)
    engine.matmul(
      input, makeWeights(shape.queryKeyValueWidth, Self.width, purpose: 8),
      .rotary(
        qkv, rotary, positions: positions,
        rotaryColumnCount: (shape.headCount + shape.keyValueHeadCount) * shape.headWidth))
    let output = operands(shape.outputWidth)
    let logSumExp = zeros(shape.headCount * tokenCount)
    let workspace = AttentionWorkspace(
      shape: shape, segmentLength: tokenCount, precision: engine.precision,
      memberCount: engine.team.memberCount)
    engine.attentionForward(
      qkv: qkv, shape: shape, segments: Self.segments, output: output, logSumExp: logSumExp,
      workspace: workspace)
    append(output)
    append(logSumExp)

    let dOutput = operands(shape.outputWidth)
    engine.roundToOperand(draws(tokenCount * shape.outputWidth, purpose: 9), output: dOutput)
    let dQKV = operands(shape.queryKeyValueWidth)
    engine.attentionBackward(
      qkv: qkv, output: output, dOutput: dOutput, logSumExp: logSumExp, shape: shape,
      segments: Self.segments, dQKV: dQKV, rotary: rotary, positions: positions,
      workspace: workspace)
    append(dQKV)
  }

  /// The gradients of a norm and of a look-up, and an update with them.
  private mutating func appendUpdate() {
    let (tokenCount, width, rowCount) = (Self.tokenCount, Self.width, 5)
    let input = draws(tokenCount * width, purpose: 10), gain = draws(width, purpose: 11)
    let inverseRMS = zeros(tokenCount), gainGradient = zeros(width)
    let stream = draws(tokenCount * width, purpose: 12)
    engine.rmsNormForward(
      input, gain: gain, epsilon: 1e-5, output: operands(width), inverseRMS: inverseRMS)
    engine.rmsNormBackward(
      input, gain: gain, inverseRMS: inverseRMS,
      dOutput: draws(tokenCount * width, purpose: 13), residualGradient: stream,
      gainGradient: gainGradient,
      scratch: zeros(Engine.rmsNormScratchCount(rowCount: tokenCount, width: width)))
    append(stream)
    append(gainGradient)

    let gradient = zeros(rowCount * width)
    engine.embeddingBackward(
      rows: (0..<tokenCount).map { $0 % rowCount }, dOutput: stream, lookupGradient: gradient,
      dropout: Self.mask)
    append(gradient)
    hash.update(engine.sumOfSquares(gradient).bitPattern)

    let master = draws(rowCount * width, purpose: 14)
    let (first, second) = (draws(rowCount * width, purpose: 15), zeros(rowCount * width))
    engine.adamW(
      master: master, firstMoment: first, secondMoment: second, gradient: gradient,
      AdamWArguments(
        scale: 0.01, learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8,
        weightDecay: 0.1, correction1: 0.1, correction2: 0.05))
    for window in [master, first, second] { append(window) }
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

  private mutating func append(_ rows: OperandRows) {
    let values = zeros(rows.rowCount * rows.columnCount)
    for row in 0..<rows.rowCount {
      for column in 0..<rows.columnCount {
        values[row * rows.columnCount + column] = rows.float(row: row, column: column)
      }
    }
    append(values)
  }

  private func zeros(_ count: Int) -> SharedRows<Float> {
    AlignedStorage(count: count, filledWith: 0).rows
  }

  private func operands(_ columnCount: Int) -> OperandRows {
    OperandStorage(
      rowCount: Self.tokenCount, columnCount: columnCount, precision: engine.precision
    ).rows
  }

  /// Uniform in `-scale ..< scale`.
  private func draws(_ count: Int, purpose: UInt64, scale: Float = 1) -> SharedRows<Float> {
    let stream = RandomStream(seed: 2026, purpose: purpose)
    let values = zeros(count)
    for index in 0..<count {
      values[index] = scale * (2 * stream.uniform(at: UInt64(index)) - 1)
    }
    return values
  }

  /// Small ones: scores of attention of about 1, so that no probability is 0 or 1.

  private func makeWeights(_ rows: Int, _ columns: Int, purpose: UInt64) -> PackedWeights {
    let weights = PackedWeights(
      rowOffsets: (0..<rows).map { $0 * columns }, columnCount: columns, form: engine.form)
    engine.pack(weights, from: draws(rows * columns, purpose: purpose, scale: 0.25))
    return weights
  }
}
