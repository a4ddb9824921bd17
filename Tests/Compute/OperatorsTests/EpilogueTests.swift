import Glibc
import KernelSupport
import Operators
import Tensors
import Testing

/// Multiplies by the identity, so that an epilogue receives exactly the given rows: a sum of one
/// value and zeros does not round.
private struct Identity {
  let weights: PackedWeights

  init(width: Int, _ engine: Engine) {
    var master = [Float](repeating: 0, count: width * width)
    for n in 0..<width { master[n * width + n] = 1 }
    weights = PackedWeights(
      rowOffsets: (0..<width).map { $0 * width }, columnCount: width, form: engine.form)
    engine.pack(weights, from: window(master))
  }
}

private func operand(_ values: [Float], columns: Int, _ precision: Precision) -> OperandRows {
  let rows = OperandStorage(
    rowCount: values.count / columns, columnCount: columns, precision: precision
  ).rows
  for (i, value) in values.enumerated() { rows.set(row: i / columns, column: i % columns, value) }
  return rows
}

/// Values that `bf16` holds, so that both precisions see the same tile.
private func shortDraws(_ count: Int, _ purpose: UInt64, scale: Float = 1) -> [Float] {
  draws(count, purpose).map { BFloat16($0 * scale).float }
}

/// The bf16 results of every variant, named where they are not the rounded f32 results of scalar.
private func unrounded(_ body: (Engine) -> [Float]) throws -> [String] {
  let rounded = try withEngine { bits(body($0).map { BFloat16($0).float }) }
  return try variantNames.filter { name in
    try withEngine(name, precision: .bf16) { bits(body($0)) } != rounded
  }
}

/// That it turns by the right angles is a test of the products.
@Suite struct `Rotary epilogue` {
  static let positions: [Int32] = [0, 5, 1, 30, 31, 2, 7, 0]
  static let rowCount = positions.count  // more than a tile of six

  /// Three heads that turn and one that does not, in panels that heads do not divide.
  private func turned(_ headWidth: Int, _ engine: Engine) -> [Float] {
    let width = 4 * headWidth, x = shortDraws(Self.rowCount * width, 1)
    let output = OperandStorage(
      rowCount: Self.rowCount, columnCount: width, precision: engine.precision)
    let positions = AlignedStorage<Int32>(count: Self.rowCount, filledWith: 0).rows
    positions.copy(from: Self.positions)
    engine.matmul(
      operand(x, columns: width, engine.precision), Identity(width: width, engine).weights,
      .rotary(
        output.rows, RotaryTable(headWidth: headWidth, positionCount: 32), positions: positions,
        rotaryColumnCount: 3 * headWidth))
    return output.rows.floats
  }

  @Test(arguments: [2, 6, 16, 24, 64])
  func `every variant and team gives the scalar bits`(headWidth: Int) throws {
    #expect(try disagreeing { turned(headWidth, $0) } == [])
    #expect(try unrounded { turned(headWidth, $0) } == [])
  }
}

@Suite struct `SwiGLU epilogue` {
  static let featureCounts = [1, 15, 16, 17, 50]
  static let rowCount = 7

  /// `[rowCount, 2 features]`, gate and up interleaved; the first gates are extreme.
  private func gateUp(_ features: Int) -> [Float] {
    var values = shortDraws(Self.rowCount * 2 * features, 1, scale: 8)
    let extremes: [Float] = [0, 88.5, -88.5, 100, -100, 10_000, -10_000]
    for (i, gate) in extremes.enumerated() where 2 * i < values.count {
      values[2 * i] = BFloat16(gate).float
    }
    return values
  }

  private func forward(_ features: Int, _ engine: Engine) -> (stored: [Float], hidden: [Float]) {
    let x = operand(gateUp(features), columns: 2 * features, engine.precision)
    let stored = OperandStorage(
      rowCount: Self.rowCount, columnCount: 2 * features, precision: engine.precision)
    let hidden = OperandStorage(
      rowCount: Self.rowCount, columnCount: features, precision: engine.precision)
    engine.matmul(
      x, Identity(width: 2 * features, engine).weights,
      .swiglu(gateUp: stored.rows, hidden: hidden.rows))
    return (stored.rows.floats, hidden.rows.floats)
  }

  private func dHidden(_ features: Int) -> [Float] { shortDraws(Self.rowCount * features, 2) }

  private func backward(_ features: Int, _ engine: Engine, inPlace: Bool = false) -> [Float] {
    let stored = operand(gateUp(features), columns: 2 * features, engine.precision)
    let other = OperandStorage(
      rowCount: Self.rowCount, columnCount: 2 * features, precision: engine.precision)
    let gradient = inPlace ? stored : other.rows
    engine.matmulInput(
      operand(dHidden(features), columns: features, engine.precision),
      Identity(width: features, engine).weights,
      .swigluBackward(gateUp: stored, dGateUp: gradient))
    return gradient.floats
  }

  private func sigmoid(_ x: Double) -> Double { 1 / (1 + Glibc.exp(-x)) }

  private func gradient(gate: Double, up: Double) -> (gate: Double, up: Double) {
    let s = sigmoid(gate)
    return (up * (s + gate * s * (1 - s)), gate * s)
  }

  @Test(arguments: featureCounts)
  func `the forward pass matches f64 and stores what it read`(features: Int) throws {
    let x = gateUp(features)
    let (stored, hidden) = try withEngine { forward(features, $0) }
    #expect(stored == x)
    for i in 0..<Self.rowCount * features {
      let gate = Double(x[2 * i]), up = Double(x[2 * i + 1])
      let expected = gate * sigmoid(gate) * up
      // e^-gate is within 2 roundings, then a sum, a quotient and a product. Below gates of -88.7
      // the exponential stands still, and results below 2^-126 become 0.
      let bound = 5 * roundoff * abs(expected) + (1 + abs(gate)) * (1 + abs(up)) * 0x1p-126
      #expect(abs(Double(hidden[i]) - expected) <= bound)
    }
  }

  @Test(arguments: variantNames)
  func `silu matches f64 over the whole range of the exponential`(variant: String) throws {
    let rowCount = 2000, features = 16
    let x = (0..<rowCount * features).flatMap { i -> [Float] in
      [Float(i) / Float(rowCount * features) * 174 - 87, 1]
    }
    let hidden = try withEngine(variant) { engine in
      let stored = OperandStorage(
        rowCount: rowCount, columnCount: 2 * features, precision: .f32)
      let hidden = OperandStorage(rowCount: rowCount, columnCount: features, precision: .f32)
      engine.matmul(
        operand(x, columns: 2 * features, .f32), Identity(width: 2 * features, engine).weights,
        .swiglu(gateUp: stored.rows, hidden: hidden.rows))
      return hidden.rows.floats
    }
    // e^-gate within 2 roundings, a sum and a quotient.
    let errors = hidden.indices.map { i -> Double in
      let gate = Double(x[2 * i]), expected = gate * sigmoid(gate)
      return expected == 0 ? 0 : abs(Double(hidden[i]) - expected) / abs(expected)
    }
    #expect(errors.max() ?? 1 <= 4 * roundoff)
  }

  @Test(arguments: featureCounts)
  func `the backward pass matches f64`(features: Int) throws {
    let x = gateUp(features), dHidden = dHidden(features)
    let actual = try withEngine { backward(features, $0) }
    for i in 0..<Self.rowCount * features {
      let gate = Double(x[2 * i]), up = Double(x[2 * i + 1]), d = Double(dHidden[i])
      let expected = gradient(gate: gate, up: up), s = sigmoid(gate)
      // s carries 4 roundings, 1 - s an absolute 4 more of s and its own; three products and the
      // fused sum follow. The last term is the flushing below 2^-126, which |gate| multiplies.
      let terms = abs(d * up) * (s + abs(gate) * s)
      let flushed = (1 + abs(gate)) * (1 + abs(up)) * 0x1p-126
      #expect(abs(Double(actual[2 * i]) - d * expected.gate) <= 12 * roundoff * terms + flushed)
      let size = abs(d * expected.up)
      #expect(abs(Double(actual[2 * i + 1]) - d * expected.up) <= 6 * roundoff * size + flushed)
    }
  }

  @Test func `the f64 gradient matches finite differences`() {
    for gate in stride(from: -6.0, through: 6, by: 0.5) {
      let up = 0.7, h = 1e-5, found = gradient(gate: gate, up: up)
      let slope =
        ((gate + h) * sigmoid(gate + h) - (gate - h) * sigmoid(gate - h)) * up / (2 * h)
      // Central differences: h^2 / 6 times a third derivative below 1, and 2^-53 * 6 / h.
      #expect(abs(slope - found.gate) < 3e-10)
      #expect(abs(found.up - gate * sigmoid(gate)) < 1e-15)  // linear in up
    }
  }

  @Test(arguments: featureCounts)
  func `every variant and team gives the scalar bits`(features: Int) throws {
    #expect(try disagreeing { forward(features, $0).hidden } == [])
    #expect(try disagreeing { backward(features, $0) } == [])
    #expect(try unrounded { forward(features, $0).hidden } == [])
    #expect(try unrounded { backward(features, $0) } == [])
  }

  @Test(arguments: variantNames, Precision.allCases)
  func `the gradient may replace what the forward stored`(
    variant: String, precision: Precision
  ) throws {
    let apart = try withEngine(variant, precision: precision) { bits(backward(50, $0)) }
    let inPlace = try withEngine(variant, precision: precision) {
      bits(backward(50, $0, inPlace: true))
    }
    #expect(apart == inPlace)
  }
}
