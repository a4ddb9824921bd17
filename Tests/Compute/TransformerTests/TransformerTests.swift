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
    model.expectSlopes(gradient, of: reference) { $0.reduce(0, +) }
  }

  // MARK: Objectives over the rows' values

  /// A sum of losses with weights of both signs, and a score's distance from a mark.
  private static func objective(_ head: HeadKind) -> (
    value: ([Double]) -> Double, slope: (_ row: Int, _ value: Double) -> Double
  ) {
    switch head {
    case .language:
      let weight = { (row: Int) in Double(row % 5) / 2 - 0.75 }
      return (
        { $0.enumerated().reduce(0) { $0 + weight($1.offset) * $1.element } },
        { row, _ in weight(row) }
      )
    case .score:
      let distance = { (row: Int, score: Double) in row % 3 == 1 ? 0 : score - Double(row) / 8 }
      return (
        { $0.enumerated().map(distance).reduce(0) { $0 + $1 * $1 / 2 } },
        distance
      )
    }
  }

  private static func rowObjective(_ head: HeadKind) -> RowObjective {
    let slope = objective(head).slope
    return { values, weights in
      for row in 0..<values.count { weights[row] = Float(slope(row, values[row])) }
      return SliceStatistics(tokenCount: Int64(values.count), lossSum: 0)
    }
  }

  @Test(arguments: [HeadKind.language, .score])
  func `an objective's gradient is its finite difference`(head: HeadKind) {
    let model = TinyModel(isHeadTied: true, head: head)
    let found = model.gradient(precision: .f32, objective: Self.rowObjective(head))
    #expect(found.statistics.tokenCount == 22)
    model.expectSlopes(found.flat, of: model.reference, Self.objective(head).value)
    // bf16 keeps 8 bits of each operand; their errors average out over a tensor.
    let rounded = model.gradient(precision: .bf16, objective: Self.rowObjective(head)).flat
    let norm = found.flat.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let gap = zip(found.flat, rounded).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    #expect(gap.squareRoot() < 0.05 * norm)
  }

  @Test(arguments: [Precision.f32, .bf16])
  func `weights of 1 give the bits of the plain gradient`(precision: Precision) {
    let model = TinyModel(isHeadTied: true)
    let plain = model.gradient(precision: precision)
    let weighted = model.gradient(precision: precision) { values, weights in
      weights.fill(with: 1)
      return SliceStatistics(tokenCount: 0, lossSum: values.array.reduce(0, +))
    }
    #expect(weighted.flat.map(\.bitPattern) == plain.flat.map(\.bitPattern))
    #expect(weighted.statistics.lossSum == plain.statistics.lossSum)
  }

  @Test(arguments: [HeadKind.language, .score], [Precision.f32, .bf16])
  func `threads do not change a bit of an objective`(head: HeadKind, precision: Precision) {
    let model = TinyModel(isHeadTied: true, head: head)
    let objective = Self.rowObjective(head)
    let alone = model.gradient(precision: precision, objective: objective).flat
    let shared = model.gradient(precision: precision, threadCount: 3, objective: objective).flat
    #expect(shared.map(\.bitPattern) == alone.map(\.bitPattern))
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

  /// What is written out in f32 between two operators is what one would have kept in a register.
  /// Attention has an order of its own, see AttentionTests.
  @Test(arguments: [Precision.f32, .bf16], Fusion.allCases.filter { $0 != .attention })
  func `a fusion taken apart gives the same bits`(precision: Precision, fusion: Fusion) {
    let model = TinyModel(isHeadTied: true)
    let fused = model.gradient(precision: precision)
    for threadCount in [1, 2] {
      let apart = model.gradient(precision: precision, threadCount: threadCount, apart: [fusion])
      #expect(apart.statistics == fused.statistics)
      #expect(apart.flat.map(\.bitPattern) == fused.flat.map(\.bitPattern))
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
