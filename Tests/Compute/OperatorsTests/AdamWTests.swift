import KernelSupport
import Operators
import Tensors
import Testing

private struct State {
  var master, first, second: [Float]
  let gradient: [Float]
  init(_ count: Int) {
    master = draws(count, 1)
    first = draws(count, 2).map { $0 / 10 }
    second = draws(count, 3).map { $0 * $0 / 100 }
    gradient = draws(count, 4).map { $0 * 1000 }
  }
  var numbers: AdamWArguments {
    AdamWArguments(
      scale: 1 / 4096, learningRate: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8,
      weightDecay: 0.1, correction1: 1 - 0.9 * 0.9 * 0.9, correction2: 1 - 0.95 * 0.95 * 0.95)
  }
  /// Master, first and second moment after one step.
  func after(_ engine: Engine) -> [Float] {
    let master = window(master), first = window(first), second = window(second)
    engine.adamW(
      master: master, firstMoment: first, secondMoment: second, gradient: window(gradient), numbers)
    return master.array + first.array + second.array
  }
}

@Suite struct `AdamW` {
  static let counts = [1, 15, 16, 17, 1000]

  @Test(arguments: counts) func `a step matches f64`(count: Int) throws {
    let state = State(count), n = state.numbers
    let after = try withEngine { state.after($0) }
    for i in 0..<count {
      let g = Double(n.scale) * Double(state.gradient[i])
      let m0 = Double(state.first[i]), v0 = Double(state.second[i]), w0 = Double(state.master[i])
      let m = n.beta1 * m0 + (1 - n.beta1) * g, v = n.beta2 * v0 + (1 - n.beta2) * g * g
      let denominator = (v / n.correction2).squareRoot() + n.epsilon
      let w = w0 * (1 - n.learningRate * n.weightDecay)
        - n.learningRate / n.correction1 * m / denominator
      // beta, 1 - beta and g are rounded, then product, fma: at most 5 roundings of each term
      // (g enters v twice).
      let mSize = abs(n.beta1 * m0) + abs((1 - n.beta1) * g)
      #expect(abs(Double(after[count + i]) - m) <= 5 * roundoff * mSize)
      #expect(abs(Double(after[2 * count + i]) - v) <= 6 * roundoff * v)
      // Root halves 6, then factor, sum, quotient, step and its product: below 15 of the step's
      // size; the decayed master adds 3 of its own.
      let step = n.learningRate / n.correction1 * mSize / denominator
      #expect(abs(Double(after[i]) - w) <= (15 * step + 3 * abs(w0)) * roundoff)
    }
  }

  @Test(arguments: counts)
  func `every variant and team gives the scalar bits`(count: Int) throws {
    let state = State(count)
    #expect(try disagreeing { state.after($0) } == [])
  }

  @Test(arguments: variantNames)
  func `a range cut anywhere gives the same bits`(variant: String) throws {
    let state = State(100)
    let whole = try withEngine(variant) { bits(state.after($0)) }
    let master = window(state.master), first = window(state.first), second = window(state.second)
    try withEngine(variant) { engine in
      let step = engine.adamWStep(
        master: master, firstMoment: first, secondMoment: second,
        gradient: window(state.gradient), state.numbers)
      for cut in [0..<1, 1..<18, 18..<18, 18..<66, 66..<100] { step.update(cut) }
    }
    #expect(bits(master.array + first.array + second.array) == whole)
  }

  @Test(arguments: variantNames, Precision.allCases)
  func `updating and packing at once is one after the other`(
    variant: String, precision: Precision
  ) throws {
    // 70 rows of 37 from two places, interleaved; elements 0..<5 and between belong to no row.
    let width = 37, rowOffsets = (0..<70).map { 5 + ($0 % 2 * 40 + $0 / 2) * width }
    let state = State(5 + 80 * width)
    let x = OperandStorage(rowCount: 3, columnCount: width, precision: precision)
    for (i, value) in draws(3 * width, 5).enumerated() {
      x.rows.set(row: i / width, column: i % width, value)
    }
    func product(_ engine: Engine, atOnce: Bool) -> [Float] {
      let master = window(state.master), first = window(state.first), second = window(state.second)
      let gradient = window(state.gradient), output = filled(3 * 70)
      let weights = PackedWeights(rowOffsets: rowOffsets, columnCount: width, form: engine.form)
      let step = engine.adamWStep(
        master: master, firstMoment: first, secondMoment: second, gradient: gradient,
        state.numbers)
      if atOnce {
        engine.adamWAndPack(step, weights)
      } else {
        for offset in rowOffsets { step.update(offset..<offset + width) }
        engine.pack(weights, from: master)
      }
      engine.matmul(x.rows, weights, .store(output))
      return master.array + first.array + second.array + output.array
    }
    let apart = try withEngine(variant, precision: precision) { bits(product($0, atOnce: false)) }
    for members in 1...3 {
      let atOnce = try withEngine(variant, members: members, precision: precision) {
        bits(product($0, atOnce: true))
      }
      #expect(atOnce == apart)
    }
  }

  @Test func `zero gradients and moments leave only the decay`() throws {
    let master = window(draws(20, 1)), numbers = State(1).numbers
    try withEngine {
      $0.adamW(
        master: master, firstMoment: filled(20), secondMoment: filled(20), gradient: filled(20),
        numbers)
    }
    let keep = Float(1 - numbers.learningRate * numbers.weightDecay)
    #expect(bits(master.array) == bits(draws(20, 1).map { $0 * keep }))
  }

  @Test func `it finds the minimum of a parabola`() throws {
    // w^2 from 1 with rate 0.05: Adam walks about the rate a step, so 20 steps to 0 and then it
    // circles with shrinking amplitude; a wrong sign, moment or correction does not arrive.
    let master = window([1]), first = filled(1), second = filled(1), gradient = filled(1)
    try withEngine { engine in
      for t in 1...200 {
        gradient[0] = 2 * master[0]
        engine.adamW(
          master: master, firstMoment: first, secondMoment: second, gradient: gradient,
          AdamWArguments(
            scale: 1, learningRate: 0.05, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0,
            correction1: 1 - PortableMath.power(0.9, Double(t)),
            correction2: 1 - PortableMath.power(0.99, Double(t))))
      }
    }
    #expect(abs(master[0]) < 0.01)
  }
}
