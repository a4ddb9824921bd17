import Operators
import System
import Tensors
import Testing
import Transformer

/// A model whose widths are multiples of no tile, with weights large enough that every part of the
/// graph matters.
struct TinyModel {
  let layout: ParameterLayout
  let master: SharedRows<Float>
  /// What is trained in place of the master.
  private(set) var adapters:
    (choice: AdapterChoice, layout: ParameterLayout, master: SharedRows<Float>)?

  init(isHeadTied: Bool, head: HeadKind = .language) {
    let shape = ModelShape(
      layerCount: 2, modelWidth: 20, headCount: 4, keyValueHeadCount: 2, headWidth: 6,
      feedForwardWidth: 27, vocabularySize: 37, sequenceLength: 11, isHeadTied: isHeadTied)
    layout = ParameterLayout(shape, head: head)
    master = Self.drawn(layout, seed: 5)
  }

  private init(_ layout: ParameterLayout, _ master: SharedRows<Float>) {
    self.layout = layout
    self.master = master
  }

  private static func drawn(_ layout: ParameterLayout, seed: UInt64) -> SharedRows<Float> {
    let master = AlignedStorage<Float>(count: layout.count, filledWith: 0).rows
    for parameter in layout.parameters {
      let stream = RandomStream(seed: seed, purpose: UInt64(parameter.offset))
      for index in 0..<parameter.count {
        let draw = stream.uniform(at: UInt64(index)) - 0.5
        master[parameter.offset + index] = parameter.role.isGain ? 1 + draw : draw * 0.9
      }
    }
    return master
  }

  /// Puts adapters beside the weights, neither of their matrices zero.
  mutating func adapt(_ choice: AdapterChoice) {
    let layout = ParameterLayout(self.layout.shape, adapter: choice)
    adapters = (choice, layout, Self.drawn(layout, seed: 6))
  }

  /// The model with the adapters' product in its weights, as one that is trained itself.
  var merged: TinyModel {
    let copy = AlignedStorage<Float>(count: layout.count, filledWith: 0).rows
    copy.copy(from: master)
    let team = ThreadTeam(memberCount: 1)
    defer { team.stop() }
    let engine = Engine(team: team, precision: .f32)
    let weights = ModelWeights(layout: layout, master: copy, form: engine.form)
    adapterWeights(of: weights)?.merge(base: master, scale: scale, engine)
    return TinyModel(layout, copy)
  }

  private var scale: Float { Float(adapters?.choice.scale ?? 1) }

  private func adapterWeights(of weights: ModelWeights) -> AdapterWeights? {
    adapters.map { AdapterWeights(layout: $0.layout, master: $0.master, of: weights) }
  }

  var reference: ReferenceModel {
    var model = ReferenceModel(layout: layout, weights: master.array.map(Double.init))
    if let adapters {
      model.adapterLayout = adapters.layout
      model.adapters = adapters.master.array.map(Double.init)
      model.scale = adapters.choice.scale
    }
    return model
  }

  /// Three sequences of different lengths; the second has three documents, some predictions do not
  /// count.
  var slice: TokenSlice {
    let stream = RandomStream(seed: 9, purpose: 1)
    var drawn: UInt64 = 0
    func sequence(_ count: Int, starts: [UInt32] = [0]) -> TokenSlice.Sequence {
      let tokens = (0...count).map { _ in
        drawn += 1
        return UInt32(stream.integer(below: layout.shape.vocabularySize, at: drawn))
      }
      let isTarget = (0..<count).map { $0 % 4 != 2 }
      return TokenSlice.Sequence(tokens: tokens, isTarget: isTarget, segmentStarts: starts)
    }
    return TokenSlice(sequences: [sequence(11), sequence(10, starts: [0, 3, 4]), sequence(1)])
  }

  /// Every id, so that row and id are one.
  var rowOfToken: [Int32] { (0..<Int32(layout.shape.vocabularySize)).map { $0 } }

  /// Loss and gradient of the slice with `threadCount` threads, the look-up part added where the
  /// embedding lies. With adapters: their gradient, without s.
  func gradient(
    precision: Precision, threadCount: Int = 1, microbatch: Int = 3, dropout: Dropout? = nil,
    variant: KernelVariant = .best, objective: RowObjective? = nil, apart: Set<Fusion> = []
  ) -> (statistics: SliceStatistics, flat: [Float], finished: [Range<Int>]) {
    let team = ThreadTeam(memberCount: threadCount)
    defer { team.stop() }
    let engine = Engine(team: team, variant: variant, precision: precision, apart: apart)
    let weights = ModelWeights(
      layout: layout, master: adapters == nil ? master : merged.master, form: engine.form)
    weights.pack(engine)
    let adapterWeights = self.adapterWeights(of: weights)
    adapterWeights?.pack(engine)
    let shape = layout.shape, trained = adapters?.layout ?? layout
    let transformer = Transformer(
      weights: weights, engine: engine, tokenCapacity: microbatch * shape.sequenceLength,
      lookupRowCapacity: shape.vocabularySize, adapters: adapterWeights)
    let flat = AlignedStorage<Float>(count: trained.count, filledWith: .nan).rows
    for parameter in trained.parameters {
      let end = parameter.range.upperBound
      flat[end..<(end + 15) / 16 * 16].fill(with: 0)
    }
    let lookup = AlignedStorage<Float>(
      count: shape.vocabularySize * shape.modelWidth, filledWith: .nan
    ).rows
    let windows = GradientWindows(flat: flat, lookup: adapters == nil ? lookup : lookup[0..<0])
    var batch = Microbatch(tokenCapacity: microbatch * shape.sequenceLength)
    var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
    var (firstToken, finished): (Int, [Range<Int>]) = (0, [])
    for start in stride(from: 0, to: slice.sequences.count, by: microbatch) {
      let end = min(start + microbatch, slice.sequences.count)
      batch.load(start..<end, of: slice, firstToken: firstToken)
      firstToken += batch.tokenCount
      finished = []
      let part = transformer.gradient(
        batch, dropout: dropout, rowOfToken: rowOfToken, into: windows,
        mode: start == 0 ? .overwrite : .accumulate, objective: objective,
        isCancelled: { false },
        finished: { finished.append($0) })
      if let part { sum = sum + part }
    }
    guard adapters == nil else { return (sum, flat.array, finished) }
    let embedding = flat[weights.embedding]
    if !layout.isHeadTied { embedding.fill(with: 0) }
    engine.add(windows.lookup, into: embedding)
    return (sum, flat.array, finished)
  }

  /// Compares elements of every trained tensor with central differences of `objective` over the f64
  /// model's values: with h = 1e-5 their own error is below 1e-8.
  func expectSlopes(
    _ gradient: [Float], of reference: ReferenceModel, _ objective: ([Double]) -> Double
  ) {
    let place = adapters == nil ? \ReferenceModel.weights : \.adapters
    for parameter in (adapters?.layout ?? layout).parameters {
      let stream = RandomStream(seed: 1, purpose: UInt64(parameter.offset))
      for draw in 0..<6 {
        let index = parameter.offset + stream.integer(below: parameter.count, at: UInt64(draw))
        var moved = reference
        moved[keyPath: place][index] += 1e-5
        let above = objective(moved.values(slice))
        moved[keyPath: place][index] -= 2e-5
        let expected = (above - objective(moved.values(slice))) / 2e-5
        let error = abs(Double(gradient[index]) - expected)
        #expect(error < 2e-4 * (1 + abs(expected)), "\(parameter.name) [\(index)]: \(expected)")
      }
    }
  }
}
