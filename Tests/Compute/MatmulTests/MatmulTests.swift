import KernelSupport
import Operators
import Tensors
import Testing

/// [M, N, K] around the edges of strips (6 rows), panels (64 columns) and pairs, and past what is
/// widened at once: 128 of k for 33 strips and 12 panels, 96 of k for up to 6 strips.
private let shapes: [[Int]] = [
  [1, 1, 1], [1, 64, 2], [5, 63, 3], [6, 65, 33], [7, 5, 64], [13, 130, 31], [12, 7, 66],
  [6, 6, 63], [2, 129, 65],
  [200, 70, 300], [300, 70, 201], [301, 210, 790], [32, 130, 301],
]

@Suite struct `Matmul` {
  @Test(arguments: Kind.all, shapes)
  func `the forward product matches f64`(kind: Kind, shape: [Int]) {
    let a = Matrix(shape[0], shape[2], purpose: 1, kind.precision)
    let w = Matrix(shape[1], shape[2], purpose: 2, kind.precision)
    let y = filled(shape[0] * shape[1], with: .nan)
    kind.withEngine { $0.matmul(a.operands(kind.precision), w.packed(by: $0), .store(y)) }
    for m in 0..<shape[0] {
      for n in 0..<shape[1] {
        var sum = Sum()
        for k in 0..<shape[2] { sum.add(a[m, k], w[n, k]) }
        #expect(sum.matches(y[m * shape[1] + n]), "row \(m), column \(n)")
      }
    }
  }

  @Test(arguments: Kind.all, shapes)
  func `the input gradient matches f64`(kind: Kind, shape: [Int]) {
    let dY = Matrix(shape[0], shape[1], purpose: 3, kind.precision)
    let w = Matrix(shape[1], shape[2], purpose: 2, kind.precision)
    let dX = filled(shape[0] * shape[2], with: .nan)
    kind.withEngine { $0.matmulInput(dY.operands(kind.precision), w.packed(by: $0), .store(dX)) }
    for m in 0..<shape[0] {
      for k in 0..<shape[2] {
        var sum = Sum()
        for n in 0..<shape[1] { sum.add(dY[m, n], w[n, k]) }
        #expect(sum.matches(dX[m * shape[2] + k]), "row \(m), column \(k)")
      }
    }
  }

  @Test(arguments: Kind.all, shapes)
  func `the weight gradient matches f64`(kind: Kind, shape: [Int]) {
    let dY = Matrix(shape[0], shape[1], purpose: 3, kind.precision)
    let x = Matrix(shape[0], shape[2], purpose: 1, kind.precision)
    let dW = filled(shape[1] * shape[2], with: .nan)
    kind.withEngine {
      $0.matmulWeight(
        dY: dY.pairs(by: $0), x: x.pairs(by: $0), into: dW,
        rowOffsets: (0..<shape[1]).map { $0 * shape[2] }, accumulate: false)
    }
    for n in 0..<shape[1] {
      for k in 0..<shape[2] {
        var sum = Sum()
        for t in 0..<shape[0] { sum.add(dY[t, n], x[t, k]) }
        #expect(sum.matches(dW[n * shape[2] + k]), "row \(n), column \(k)")
      }
    }
  }

  @Test(arguments: Kind.portable, shapes)
  func `portable variants give the bits of scalar`(kind: Kind, shape: [Int]) throws {
    let scalar = Kind(
      variant: try #require(KernelVariant(named: "scalar")), precision: kind.precision)
    let expected = scalar.withEngine { allProducts($0, shape) }
    #expect(kind.withEngine { allProducts($0, shape) } == expected)
  }

  @Test(arguments: Kind.all, [[13, 130, 31], [50, 70, 40], [210, 800, 40], [60, 200, 301]])
  func `one, two and three threads give the same bits`(kind: Kind, shape: [Int]) {
    let alone = kind.withEngine { allProducts($0, shape) }
    for members in 2...3 {
      #expect(kind.withEngine(members: members) { allProducts($0, shape) } == alone)
    }
  }

  @Test(arguments: Kind.all)
  func `a row alone has the bits it has among others`(kind: Kind) {
    let a = Matrix(20, 77, purpose: 1, kind.precision)
    let w = Matrix(70, 77, purpose: 2, kind.precision)
    kind.withEngine { engine in
      let (rows, weights) = (a.operands(kind.precision), w.packed(by: engine))
      let all = filled(20 * 70)
      engine.matmul(rows, weights, .store(all))
      for count in 1...7 {
        for first in [0, 3, 20 - count] {
          let some = filled(count * 70)
          engine.matmul(rows.rows(first..<first + count), weights, .store(some))
          #expect(bits(some.array) == bits(all[first * 70..<(first + count) * 70].array))
        }
      }
    }
  }

  @Test(arguments: Kind.best)
  func `accumulating adds the whole product at once`(kind: Kind) {
    let dY = Matrix(40, 70, purpose: 3, kind.precision)
    let x = Matrix(40, 66, purpose: 1, kind.precision)
    let before = Matrix(70, 66, purpose: 4, .f32)
    let product = filled(70 * 66)
    let gradient = window(before.values)
    kind.withEngine { engine in
      let offsets = (0..<70).map { $0 * 66 }
      let (outputSide, inputSide) = (dY.pairs(by: engine), x.pairs(by: engine))
      engine.matmulWeight(
        dY: outputSide, x: inputSide, into: product, rowOffsets: offsets, accumulate: false)
      engine.matmulWeight(
        dY: outputSide, x: inputSide, into: gradient, rowOffsets: offsets, accumulate: true)
    }
    #expect(bits(gradient.array) == bits(zip(before.values, product.array).map { $0 + $1 }))
  }

  @Test(arguments: Kind.best)
  func `rows come from and go to any place, others stay`(kind: Kind) {
    // Three rows of 5 in a flat space of 40, not in order, with gaps.
    let offsets = [30, 2, 17]
    let flat = Matrix(1, 40, purpose: 5, kind.precision)
    let a = Matrix(4, 5, purpose: 1, kind.precision)
    let dY = Matrix(4, 3, purpose: 3, kind.precision)
    let y = filled(4 * 3)
    let gradient = filled(40, with: 7)
    kind.withEngine { engine in
      let weights = PackedWeights(rowOffsets: offsets, columnCount: 5, form: engine.form)
      engine.pack(weights, from: window(flat.values))
      engine.matmul(a.operands(kind.precision), weights, .store(y))
      engine.matmulWeight(
        dY: dY.pairs(by: engine), x: a.pairs(by: engine), into: gradient, rowOffsets: offsets,
        accumulate: false)
    }
    for (n, offset) in offsets.enumerated() {
      for m in 0..<4 {
        var sum = Sum()
        for k in 0..<5 { sum.add(a[m, k], flat[0, offset + k]) }
        #expect(sum.matches(y[m * 3 + n]))
      }
      for k in 0..<5 {
        var sum = Sum()
        for t in 0..<4 { sum.add(dY[t, n], a[t, k]) }
        #expect(sum.matches(gradient[offset + k]))
      }
    }
    let touched = Set(offsets.flatMap { $0..<$0 + 5 })
    for index in 0..<40 where !touched.contains(index) { #expect(gradient[index] == 7) }
  }

  @Test(arguments: Kind.best)
  func `packing again after fewer rows leaves nothing of the earlier ones`(kind: Kind) {
    let many = Matrix(9, 6, purpose: 1, kind.precision)
    let few = Matrix(3, 6, purpose: 2, kind.precision)
    kind.withEngine { engine in
      let pairs = PackedPairs(rowCapacity: 9, columnCount: 6, form: engine.form)
      let reused = filled(36), fresh = filled(36)
      let offsets = (0..<6).map { $0 * 6 }
      engine.packPairs(many.operands(kind.precision), into: pairs)
      engine.packPairs(few.operands(kind.precision), into: pairs)
      engine.matmulWeight(
        dY: pairs, x: pairs, into: reused, rowOffsets: offsets, accumulate: false)
      engine.matmulWeight(
        dY: few.pairs(by: engine), x: few.pairs(by: engine), into: fresh, rowOffsets: offsets,
        accumulate: false)
      #expect(bits(reused.array) == bits(fresh.array))
    }
  }

  @Test(arguments: Kind.best)
  func `an infinity right after a row of odd width does not leak into it`(kind: Kind) {
    var a = Matrix(2, 3, purpose: 1, kind.precision)
    a.values[3] = .infinity
    let w = Matrix(1, 3, purpose: 2, kind.precision)
    let y = filled(2)
    kind.withEngine { $0.matmul(a.operands(kind.precision), w.packed(by: $0), .store(y)) }
    #expect(y[0].isFinite && !y[1].isFinite)
  }

  @Test func `a wrong shape stops the program`() async {
    await #expect(processExitsWith: .failure) {
      Kind.best[0].withEngine { engine in
        let a = OperandStorage(rowCount: 2, columnCount: 3, precision: .bf16).rows
        let w = PackedWeights(rowOffsets: [0], columnCount: 4, form: engine.form)
        engine.matmul(a, w, .store(filled(2)))
      }
    }
  }
}

/// The bits of forward product, input gradient and weight gradient.
private func allProducts(_ engine: Engine, _ shape: [Int]) -> [UInt32] {
  let precision = engine.precision
  let a = Matrix(shape[0], shape[2], purpose: 1, precision)
  let w = Matrix(shape[1], shape[2], purpose: 2, precision)
  let dY = Matrix(shape[0], shape[1], purpose: 3, precision)
  let y = filled(shape[0] * shape[1])
  let dX = filled(shape[0] * shape[2])
  let dW = filled(shape[1] * shape[2])
  let weights = w.packed(by: engine)
  engine.matmul(a.operands(precision), weights, .store(y))
  engine.matmulInput(dY.operands(precision), weights, .store(dX))
  engine.matmulWeight(
    dY: dY.pairs(by: engine), x: a.pairs(by: engine), into: dW,
    rowOffsets: (0..<shape[1]).map { $0 * shape[2] }, accumulate: true)
  return bits(y.array + dX.array + dW.array)
}
