import Operators
import Tensors
import Testing
import Transformer

@Suite struct `Gradient of adapters` {
  static let choices = [
    AdapterChoice(rank: 3, alpha: 4.5, targets: AdapterTarget.allCases),
    AdapterChoice(rank: 1, alpha: 2, targets: [.query, .value]),
    AdapterChoice(rank: 5, alpha: 5, targets: [.key, .output, .up]),
    AdapterChoice(rank: 12, alpha: 3, targets: [.down, .gate]),
  ]

  /// The reference computes `W0 x + s B (A x)`, never a merged matrix; its differences have an
  /// error below 1e-8. f32 keeps 24 bits, over chains of about 100 roundings of values near 1.
  @Test(arguments: choices, [true, false])
  func `is the finite difference of the low-rank model`(
    choice: AdapterChoice, isHeadTied: Bool
  ) {
    var model = TinyModel(isHeadTied: isHeadTied)
    let frozen = model.reference
    model.adapt(choice)
    let found = model.gradient(precision: .f32)
    let expected = model.reference.lossSum(model.slice)
    // Adapters matter: a hundred times what the comparison below allows.
    #expect(abs(expected - frozen.lossSum(model.slice)) > 1e-3 * expected)
    #expect(abs(found.statistics.lossSum - expected) < 1e-5 * expected)
    // The update applies s.
    let gradient = found.flat.map { $0 * Float(choice.scale) }
    model.expectSlopes(gradient, of: model.reference) { $0.reduce(0, +) }
  }

  /// `dA = B^T dW` and `dB = dW A^T` in f64, of the gradient that the merged matrices have when
  /// they are trained themselves. Either side sums 22 tokens and at most 54 rows or columns in f32,
  /// an error of 76 x 2^-24 = 4.5e-6 of the terms' magnitudes; these cancel to a thirtieth or so.
  @Test(arguments: choices)
  func `is the matrices' gradient, projected`(choice: AdapterChoice) {
    var model = TinyModel(isHeadTied: true)
    model.adapt(choice)
    let found = model.gradient(precision: .f32).flat
    let whole = model.merged.gradient(precision: .f32).flat
    guard let (_, layout, window) = model.adapters else { return }
    let master = window.array
    for layer in 0..<model.layout.shape.layerCount {
      for target in choice.targets {
        let tensor = model.layout[target.role(inLayer: layer)]
        let (a, b) = (
          layout[.adapterA(target, layer: layer)], layout[.adapterB(target, layer: layer)]
        )
        let (rows, columns, rank) = (tensor.shape[0], tensor.shape[1], choice.rank)
        func number(_ flat: [Float], _ place: Parameter, _ row: Int, _ column: Int) -> Double {
          Double(flat[place.offset + row * place.shape[1] + column])
        }
        var expectedA: [Double] = [], expectedB: [Double] = []
        for j in 0..<rank {
          for k in 0..<columns {
            expectedA.append(
              (0..<rows).reduce(0) {
                $0 + number(master, b, $1, j) * number(whole, tensor, $1, k)
              })
          }
        }
        for n in 0..<rows {
          for j in 0..<rank {
            expectedB.append(
              (0..<columns).reduce(0) {
                $0 + number(whole, tensor, n, $1) * number(master, a, j, $1)
              })
          }
        }
        for (place, expected) in [(a, expectedA), (b, expectedB)] {
          let most = expected.reduce(0) { max($0, $1.magnitude) }
          for (value, expected) in zip(found[place.range], expected) {
            #expect(abs(Double(value) - expected) < 1.5e-4 * most, "\(place.name)")
          }
        }
      }
    }
  }

  /// bf16 keeps 8 bits of each operand; their errors average out over a tensor.
  @Test(arguments: choices)
  func `by bf16 operands is near that by f32`(choice: AdapterChoice) {
    var model = TinyModel(isHeadTied: true)
    model.adapt(choice)
    let exact = model.gradient(precision: .f32).flat
    let rounded = model.gradient(precision: .bf16).flat
    let norm = exact.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let gap = zip(exact, rounded).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    #expect(gap.squareRoot() < 0.05 * norm)
  }

  @Test(arguments: choices, [Precision.f32, .bf16])
  func `has the same bits for any number of threads and every variant of a profile`(
    choice: AdapterChoice, precision: Precision
  ) {
    var model = TinyModel(isHeadTied: false)
    model.adapt(choice)
    var seen: [String: [UInt32]] = [:]
    for variant in KernelVariant.available {
      for threadCount in [1, 3] {
        let bits = model.gradient(precision: precision, threadCount: threadCount, variant: variant)
          .flat.map(\.bitPattern)
        let profile = precision == .f32 ? "f32" : variant.profile
        #expect(seen[profile, default: bits] == bits, "\(variant.name) x \(threadCount)")
        seen[profile] = bits
      }
    }
  }

  @Test func `of micro-batches sums to that of the slice, and is reported without gaps`() {
    var model = TinyModel(isHeadTied: true)
    model.adapt(Self.choices[0])
    let whole = model.gradient(precision: .f32, microbatch: 3)
    let parts = model.gradient(precision: .f32, microbatch: 1)
    for (a, b) in zip(whole.flat, parts.flat) { #expect(abs(a - b) < 1e-4) }
    #expect(whole.finished.first?.lowerBound == 0)
    #expect(whole.finished.last?.upperBound == whole.flat.count)
    for (range, next) in zip(whole.finished, whole.finished.dropFirst()) {
      #expect(range.upperBound == next.lowerBound)
    }
  }
}
