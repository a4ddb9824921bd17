import KernelSupport
import Operators
import Tensors
import Testing

/// What an epilogue makes of a product, against the product that `store` gives.
@Suite struct `Matmul epilogues` {
  static let shapes = [[1, 2, 8], [7, 66, 9], [13, 148, 33]]

  @Test(arguments: Kind.all, shapes)
  func `operand is the product rounded once`(kind: Kind, shape: [Int]) {
    let product = Product(kind, shape)
    let output = OperandStorage(
      rowCount: shape[0], columnCount: shape[1], precision: kind.precision).rows
    kind.withEngine { product.run($0, .operand(output)) }
    #expect(bits(output.floats) == bits(product.stored.map { round($0, kind.precision) }))
  }

  @Test(arguments: Kind.all, shapes)
  func `residual adds the input, in place too`(kind: Kind, shape: [Int]) {
    let product = Product(kind, shape)
    let input = Matrix(shape[0], shape[1], purpose: 8, .f32)
    let output = filled(input.values.count)
    let inPlace = window(input.values)
    kind.withEngine {
      product.run($0, .residual(input: window(input.values), output: output, nil))
      product.run($0, .residual(input: inPlace, output: inPlace, nil))
    }
    let expected = bits(zip(product.stored, input.values).map { $0 + $1 })
    #expect(bits(output.array) == expected)
    #expect(bits(inPlace.array) == expected)
  }

  @Test(arguments: Kind.all, shapes)
  func `residual drops what the random stream says`(kind: Kind, shape: [Int]) {
    let product = Product(kind, shape)
    let input = Matrix(shape[0], shape[1], purpose: 8, .f32)
    let stream = RandomStream(seed: 3, purpose: 9)
    // Draws pass 2^32 inside the tensor.
    let mask = DropoutMask(rate: 0.25, stream: stream, firstIndex: (1 << 32) - 5)
    let output = filled(input.values.count)
    kind.withEngine {
      product.run($0, .residual(input: window(input.values), output: output, mask))
    }
    for (index, value) in product.stored.enumerated() {
      let isKept = stream.uniform(at: mask.firstIndex + UInt64(index)) >= mask.rate
      let expected = input.values[index] + (isKept ? value * (1 / (1 - mask.rate)) : 0)
      #expect(output[index].bitPattern == expected.bitPattern, "element \(index)")
    }
  }

  @Test(arguments: Kind.all, [2, 4, 10, 16, 64, 128])
  func `rotary turns adjacent pairs by the row's position`(kind: Kind, headWidth: Int) {
    // Heads to turn, then columns to leave alone, past a panel's edge.
    let headCount = 130 / headWidth + 1
    let turned = headCount * headWidth
    let shape = [7, turned + 10, 9]
    let product = Product(kind, shape)
    let table = RotaryTable(headWidth: headWidth, positionCount: 50)
    let positions = AlignedStorage<Int32>(count: 7, filledWith: 0).rows
    positions.copy(from: [0, 1, 2, 49, 7, 0, 30])
    let output = OperandStorage(
      rowCount: 7, columnCount: shape[1], precision: kind.precision).rows
    kind.withEngine {
      product.run($0, .rotary(output, table, positions: positions, rotaryColumnCount: turned))
    }
    for row in 0..<7 {
      for column in stride(from: 0, to: shape[1], by: 2) {
        let even = product.stored[row * shape[1] + column]
        let odd = product.stored[row * shape[1] + column + 1]
        var expected = (Double(even), Double(odd))
        if column < turned {
          let (position, pair) = (Int(positions[row]), column % headWidth / 2)
          let cosine = Double(table.cosine(position: position, pair: pair))
          let sine = Double(table.sine(position: position, pair: pair))
          expected = (
            Double(even) * cosine - Double(odd) * sine, Double(odd) * cosine + Double(even) * sine
          )
        }
        // Two roundings of terms no larger than |even| + |odd|, then the operand's own.
        let size = Double(abs(even) + abs(odd))
        let tolerance = size * (2 * roundoff + (kind.precision == .bf16 ? bf16Roundoff : 0))
        #expect(abs(Double(output.float(row: row, column: column)) - expected.0) <= tolerance)
        #expect(abs(Double(output.float(row: row, column: column + 1)) - expected.1) <= tolerance)
      }
    }
  }

  @Test(arguments: Kind.all, shapes)
  func `swiglu keeps gate and up and multiplies the unrounded ones`(kind: Kind, shape: [Int]) {
    let product = Product(kind, shape)
    let features = shape[1] / 2
    let gateUp = OperandStorage(
      rowCount: shape[0], columnCount: shape[1], precision: kind.precision).rows
    let hidden = OperandStorage(
      rowCount: shape[0], columnCount: features, precision: kind.precision).rows
    kind.withEngine { product.run($0, .swiglu(gateUp: gateUp, hidden: hidden)) }
    #expect(bits(gateUp.floats) == bits(product.stored.map { round($0, kind.precision) }))
    for row in 0..<shape[0] {
      for feature in 0..<features {
        let gate = Double(product.stored[row * shape[1] + 2 * feature])
        let up = Double(product.stored[row * shape[1] + 2 * feature + 1])
        let expected = gate / (1 + PortableMath.exp(-gate)) * up
        // exp within 2 units, then sum, quotient and product: 8 roundings; then the operand's.
        let tolerance = abs(expected) * (8 * roundoff + operandRoundoff(kind))
        #expect(abs(Double(hidden.float(row: row, column: feature)) - expected) <= tolerance)
      }
    }
  }

  @Test(arguments: Kind.all, [[7, 9, 33], [13, 33, 74]])
  func `swiglu backward matches the derivative of swiglu`(kind: Kind, shape: [Int]) {
    // The product is d_hidden [M, F]: F = shape[2] here, N = shape[1] is what it sums over.
    let (rowCount, features) = (shape[0], shape[2])
    let dY = Matrix(rowCount, shape[1], purpose: 3, kind.precision)
    let w = Matrix(shape[1], features, purpose: 2, kind.precision)
    let pairs = Matrix(rowCount, 2 * features, purpose: 6, kind.precision)
    let dHidden = filled(rowCount * features)
    let dGateUp = OperandStorage(
      rowCount: rowCount, columnCount: 2 * features, precision: kind.precision).rows
    kind.withEngine {
      let weights = w.packed(by: $0)
      $0.matmulInput(dY.operands(kind.precision), weights, .store(dHidden))
      $0.matmulInput(
        dY.operands(kind.precision), weights,
        .swigluBackward(gateUp: pairs.operands(kind.precision), dGateUp: dGateUp))
    }
    for row in 0..<rowCount {
      for feature in 0..<features {
        let gate = pairs[row, 2 * feature], up = pairs[row, 2 * feature + 1]
        let d = Double(dHidden[row * features + feature])
        let s = 1 / (1 + PortableMath.exp(-gate))
        let dGate = d * up * (s + gate * s * (1 - s)), dUp = d * gate * s
        // A dozen roundings of terms no larger than |d up| (1 + |gate|) and |dUp|.
        let size = abs(d * up) * (1 + abs(gate))
        let gateTolerance = 12 * roundoff * size + abs(dGate) * operandRoundoff(kind)
        let upTolerance = abs(dUp) * (12 * roundoff + operandRoundoff(kind))
        #expect(abs(Double(dGateUp.float(row: row, column: 2 * feature)) - dGate) <= gateTolerance)
        #expect(abs(Double(dGateUp.float(row: row, column: 2 * feature + 1)) - dUp) <= upTolerance)
      }
    }
  }

  @Test(arguments: Kind.portable)
  func `portable variants give the bits of scalar in a whole step`(kind: Kind) throws {
    let scalar = Kind(
      variant: try #require(KernelVariant(named: "scalar")), precision: kind.precision)
    #expect(scalar.withEngine { $0.selfTestDigest() } == kind.withEngine { $0.selfTestDigest() })
  }

  @Test(arguments: Kind.all) func `the self-test digest ignores the team's size`(kind: Kind) {
    let alone = kind.withEngine { $0.selfTestDigest() }
    #expect(alone.count == 64)
    for members in 2...3 {
      #expect(kind.withEngine(members: members) { $0.selfTestDigest() } == alone)
    }
  }

  @Test(.enabled(if: KernelVariant(named: "avx512bf16") != nil))
  func `the self-test digest tells profiles apart`() throws {
    let digests = Kind.builtin.map { kind in
      (kind.withEngine { $0.profile }, kind.withEngine { $0.selfTestDigest() })
    }
    for (profile, digest) in digests {
      for (other, otherDigest) in digests {
        #expect((profile == other) == (digest == otherDigest))
      }
    }
  }
}

/// A product `A W^T` and what `store` gives for it.
private struct Product {
  let a, w: Matrix
  let stored: [Float]

  init(_ kind: Kind, _ shape: [Int]) {
    let a = Matrix(shape[0], shape[2], purpose: 1, kind.precision)
    let w = Matrix(shape[1], shape[2], purpose: 2, kind.precision)
    let output = filled(shape[0] * shape[1])
    kind.withEngine { $0.matmul(a.operands(kind.precision), w.packed(by: $0), .store(output)) }
    (self.a, self.w, stored) = (a, w, output.array)
  }

  func run(_ engine: Engine, _ epilogue: ForwardEpilogue) {
    engine.matmul(a.operands(engine.precision), w.packed(by: engine), epilogue)
  }
}

private func round(_ value: Float, _ precision: Precision) -> Float {
  precision == .bf16 ? BFloat16(value).float : value
}

private func operandRoundoff(_ kind: Kind) -> Double {
  kind.precision == .bf16 ? bf16Roundoff : 0
}
