import KernelSupport
import Operators
import Tensors
import Testing

/// RMSNorm in `f64`, written from the formula.
private struct Reference {
  let width: Int
  let epsilon: Double

  func inverse(_ x: [Double]) -> Double {
    1 / (x.reduce(0) { $0 + $1 * $1 } / Double(width) + epsilon).squareRoot()
  }
  /// `sum_d y[d] * dy[d]` of one row: the function whose gradient the backward pass computes.
  func loss(_ x: [Double], _ gain: [Double], _ dy: [Double]) -> Double {
    let r = inverse(x)
    return (0..<width).reduce(0) { $0 + x[$1] * r * gain[$1] * dy[$1] }
  }
  /// `dx` of one row.
  func backward(_ x: [Double], _ gain: [Double], _ dy: [Double]) -> [Double] {
    let r = inverse(x)
    let mean = (0..<width).reduce(0) { $0 + dy[$1] * gain[$1] * x[$1] * r } / Double(width)
    return (0..<width).map { r * (dy[$0] * gain[$0] - x[$0] * r * mean) }
  }
}

private struct Inputs {
  let rowCount, width: Int
  let x, gain, dOutput, residual: [Float]

  init(rowCount: Int, width: Int) {
    self.rowCount = rowCount
    self.width = width
    x = draws(rowCount * width, 1)
    gain = draws(width, 2).map { 1 + $0 / 2 }
    dOutput = draws(rowCount * width, 3)
    residual = draws(rowCount * width, 4)
  }

  func row(_ values: [Float], _ row: Int) -> [Double] {
    values[row * width..<(row + 1) * width].map(Double.init)
  }
  func forward(_ engine: Engine) -> (output: OperandRows, inverse: SharedRows<Float>) {
    let storage = OperandStorage(
      rowCount: rowCount, columnCount: width, precision: engine.precision)
    let inverse = filled(rowCount)
    engine.rmsNormForward(
      window(x), gain: window(gain), epsilon: 1e-5, output: storage.rows, inverseRMS: inverse)
    return (storage.rows, inverse)
  }
  func backward(_ engine: Engine) -> (residual: [Float], gain: [Float]) {
    let residualGradient = window(residual), gainGradient = filled(width)
    engine.rmsNormBackward(
      window(x), gain: window(gain), inverseRMS: forward(engine).inverse, dOutput: window(dOutput),
      residualGradient: residualGradient, gainGradient: gainGradient,
      scratch: filled(Engine.rmsNormScratchCount(rowCount: rowCount, width: width)))
    return (residualGradient.array, gainGradient.array)
  }
}

@Suite struct `RMSNorm` {
  // 1 and 15 fit in part of a vector, 64 is the unrolled block, 65 leaves one, 200 leaves 8.
  static let widths = [1, 15, 16, 17, 63, 64, 65, 200]

  @Test(arguments: widths, Precision.allCases)
  func `the forward pass matches f64`(width: Int, precision: Precision) throws {
    let inputs = Inputs(rowCount: 3, width: width)
    let reference = Reference(width: width, epsilon: Double(Float(1e-5)))
    let (output, inverse) = try withEngine(precision: precision) { inputs.forward($0) }
    // A lane adds width / 64 squares, 6 more additions join lanes; the root halves that. Then a
    // mean, a sum, a root, a division and two products.
    let relative = (Double(width) / 64 + 6) / 2 * roundoff + 6 * roundoff
    for row in 0..<3 {
      let x = inputs.row(inputs.x, row)
      let r = reference.inverse(x)
      #expect(abs(Double(inverse[row]) - r) <= relative * r)
      for d in 0..<width {
        let expected = x[d] * r * Double(inputs.gain[d])
        let bound = (relative + (precision == .bf16 ? 1.01 * bf16Roundoff : 0)) * abs(expected)
        #expect(abs(Double(output.float(row: row, column: d)) - expected) <= bound)
      }
    }
  }

  @Test(arguments: widths)
  func `the backward pass matches f64`(width: Int) throws {
    let inputs = Inputs(rowCount: 130, width: width)  // three blocks of tokens, the last partial
    let reference = Reference(width: width, epsilon: Double(Float(1e-5)))
    let actual = try withEngine { inputs.backward($0) }
    var gain = [Double](repeating: 0, count: width), gainSize = gain
    for row in 0..<130 {
      let x = inputs.row(inputs.x, row), dy = inputs.row(inputs.dOutput, row)
      let g = inputs.gain.map(Double.init), r = reference.inverse(x)
      let dx = reference.backward(x, g, dy)
      let size = (0..<width).reduce(0) { $0 + abs(dy[$1] * g[$1] * x[$1]) } * r * r / Double(width)
      for d in 0..<width {
        let residual = Double(inputs.residual[row * width + d])
        // Every rounding is relative to a term of the sum; the dot product adds width / 64 + 6
        // terms, about 12 operations (with those inside r, twice) follow.
        let terms = abs(residual) + r * (abs(dy[d] * g[d]) + abs(x[d]) * size)
        let bound = (Double(width) / 64 + 30) * roundoff * terms
        #expect(abs(Double(actual.residual[row * width + d]) - residual - dx[d]) <= bound)
        gain[d] += dy[d] * x[d] * r
        gainSize[d] += abs(dy[d] * x[d] * r)
      }
    }
    for d in 0..<width {
      // 64 additions in a block, 2 over blocks, and the roundings inside h = x r.
      #expect(abs(Double(actual.gain[d]) - gain[d]) <= (64 + 20) * roundoff * gainSize[d])
    }
  }

  @Test func `the f64 gradient matches finite differences`() {
    let inputs = Inputs(rowCount: 1, width: 17)
    let reference = Reference(width: 17, epsilon: 1e-5)
    let x = inputs.row(inputs.x, 0), gain = inputs.gain.map(Double.init)
    let dy = inputs.row(inputs.dOutput, 0)
    let dx = reference.backward(x, gain, dy)
    for d in 0..<17 {
      // Central differences: error h^2 / 6 times a third derivative of order 10, and rounding
      // 2^-53 / h of order 1e-11.
      let h = 1e-5
      var above = x, below = x
      above[d] += h
      below[d] -= h
      let slope = (reference.loss(above, gain, dy) - reference.loss(below, gain, dy)) / (2 * h)
      #expect(abs(slope - dx[d]) < 1e-8)
    }
  }

  @Test(arguments: widths)
  func `every variant and team gives the scalar bits`(width: Int) throws {
    let inputs = Inputs(rowCount: 131, width: width)
    #expect(try disagreeing { inputs.forward($0).output.floats } == [])
    #expect(try disagreeing { inputs.forward($0).inverse.array } == [])
    #expect(try disagreeing { inputs.backward($0).residual } == [])
    #expect(try disagreeing { inputs.backward($0).gain } == [])
  }

  @Test(arguments: variantNames)
  func `every variant rounds to bf16 as BFloat16 does`(variant: String) throws {
    let inputs = Inputs(rowCount: 2, width: 33)
    let wide = try withEngine(variant) { inputs.forward($0).output.floats }
    let narrow = try withEngine(variant, precision: .bf16) { inputs.forward($0).output.floats }
    #expect(bits(narrow) == bits(wide.map { BFloat16($0).float }))
  }

  @Test func `one row of zeros gives zeros, not NaN`() throws {
    let output = OperandStorage(rowCount: 1, columnCount: 20, precision: .f32), inverse = filled(1)
    try withEngine {
      $0.rmsNormForward(
        filled(20), gain: window(draws(20, 1)), epsilon: 1e-5, output: output.rows,
        inverseRMS: inverse)
    }
    #expect(output.rows.floats.allSatisfy { $0 == 0 })
    #expect(inverse[0].isFinite)
  }
}
