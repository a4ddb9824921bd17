import Operators
import System
import Tensors
import Testing
import Transformer

@Suite struct `Transformer graph` {
  @Test(arguments: [true, false])
  func `its loss is that of the model written plainly in f64`(isHeadTied: Bool) {
    let model = TinyModel(isHeadTied: isHeadTied)
    let expected = model.reference.lossSum(model.slice)
    let exact = model.gradient(precision: .f32).statistics
    #expect(exact.tokenCount == Int64(model.slice.targetCount))
    // f32 keeps 24 bits; the longest chain here is about 100 roundings of values near 1.
    #expect(abs(exact.lossSum - expected) < 1e-5 * expected)
    // bf16 keeps 8 bits; errors of some fifty rounded operands average out over 17 tokens.
    let rounded = model.gradient(precision: .bf16).statistics
    #expect(abs(rounded.lossSum - expected) < 1e-2 * expected)
  }

  /// Central differences of the f64 model: with h = 1e-5 their own error is below 1e-8.
  @Test(arguments: [true, false], [false, true])
  func `its gradient is the finite difference of every tensor`(isHeadTied: Bool, isDropped: Bool) {
    let model = TinyModel(isHeadTied: isHeadTied)
    let dropout = Dropout(rate: 0.25, seed: 3, phase: 1, step: 7, slice: 2)
    var reference = model.reference
    if isDropped {
      reference.dropout = (
        rate: 0.25,
        stream: { site, layer in
          RandomStream(seed: 3, phase: 1, step: 7, slice: 2, purpose: site * 1000 + UInt64(layer))
        }
      )
    }
    let gradient = model.gradient(precision: .f32, dropout: isDropped ? dropout : nil).flat
    for parameter in model.layout.parameters {
      let stream = RandomStream(seed: 1, purpose: UInt64(parameter.offset))
      for draw in 0..<6 {
        let index = parameter.offset + stream.integer(below: parameter.count, at: UInt64(draw))
        var moved = reference
        moved.weights[index] += 1e-5
        let above = moved.lossSum(model.slice)
        moved.weights[index] -= 2e-5
        let expected = (above - moved.lossSum(model.slice)) / 2e-5
        let error = abs(Double(gradient[index]) - expected)
        #expect(error < 2e-4 * (1 + abs(expected)), "\(parameter.name) [\(index)]: \(expected)")
      }
    }
  }

  @Test(arguments: [Precision.f32, .bf16])
  func `threads do not change a bit`(precision: Precision) {
    let model = TinyModel(isHeadTied: true)
    let alone = model.gradient(precision: precision, threadCount: 1)
    for threadCount in [2, 3] {
      let shared = model.gradient(precision: precision, threadCount: threadCount)
      #expect(shared.statistics == alone.statistics)
      #expect(shared.flat.map(\.bitPattern) == alone.flat.map(\.bitPattern))
    }
  }

  @Test func `variants of one profile give the same bits`() {
    let model = TinyModel(isHeadTied: false)
    for precision in [Precision.f32, .bf16] {
      var seen: [String: [UInt32]] = [:]
      for variant in KernelVariant.available {
        let bits = model.gradient(precision: precision, variant: variant).flat.map(\.bitPattern)
        let profile = precision == .f32 ? "f32" : variant.profile
        #expect(seen[profile, default: bits] == bits, "\(variant.name) in \(precision)")
        seen[profile] = bits
      }
    }
  }

  /// Masks count elements from the slice's start, sums continue over micro-batches; only the order
  /// of additions over tokens differs.
  @Test func `micro-batches of a slice sum to the slice`() {
    let model = TinyModel(isHeadTied: true)
    let dropout = Dropout(rate: 0.1, seed: 3, phase: 0, step: 0, slice: 0)
    let whole = model.gradient(precision: .f32, microbatch: 3, dropout: dropout)
    let parts = model.gradient(precision: .f32, microbatch: 1, dropout: dropout)
    #expect(whole.statistics.tokenCount == parts.statistics.tokenCount)
    #expect(abs(whole.statistics.lossSum - parts.statistics.lossSum) < 1e-5)
    for (a, b) in zip(whole.flat, parts.flat) { #expect(abs(a - b) < 1e-4) }
  }

  @Test(arguments: [true, false])
  func `it reports finished ranges in flat order without gaps`(isHeadTied: Bool) {
    let model = TinyModel(isHeadTied: isHeadTied)
    let ranges = model.gradient(precision: .f32).finished
    let shape = model.layout.shape
    #expect(ranges.first?.lowerBound == 0)
    #expect(
      ranges.last?.upperBound == model.layout.count + shape.vocabularySize * shape.modelWidth)
    for (range, next) in zip(ranges, ranges.dropFirst()) {
      #expect(range.upperBound == next.lowerBound)
    }
  }
}
