public import Operators
internal import Optimization
internal import Planning
public import Settings
internal import System
public import Tensors
public import Transformer

/// What an update did.
public struct UpdateOutcome: Equatable, Sendable {
  /// Norm of the mean gradient, before clipping.
  public let gradNorm: Double
  public let learningRate: Double
  /// No token counted, or the norm was not finite: nothing was changed.
  public let skipped: Bool
  /// Mean loss per valid token, nats; 0 when no token counted.
  public let loss: Double
}

/// Everything a worker holds of the model: weights, moments, and the memory to compute with.
///
/// Not reentrant: one caller, whose thread is member 0 of the engine's team.
public final class Replica {
  public let plan: ResolvedPlan
  public let engine: Engine
  public let layout: ParameterLayout
  /// `[layout.count]`, f32.
  public let master, firstMoment, secondMoment: SharedRows<Float>
  /// The model's graph over ``master``; generation and evaluation use it too.
  public let transformer: Transformer
  /// Index of the running phase in the plan.
  public private(set) var phaseIndex: Int
  /// Ids that the begun step touches, ascending.
  public private(set) var touchedRows: [UInt32] = []

  private let optimizer: AdamW
  private var schedule: LearningRateSchedule
  private var rowOfToken: [Int32]
  private var compactRows: [Int] = []
  /// What ``touchedRows(of:)`` finds, and by id whether it has been found.
  private var foundRows: [UInt32] = []
  private var isFound: [Bool]
  private var batch: Microbatch
  /// Of the blocks of the flat space.
  private let squareSums: SharedRows<Double>

  /// Allocates everything; weights and moments are zero until ``initialize()`` or until state is
  /// loaded into them and ``repack()`` is called.
  public init(plan: ResolvedPlan, engine: Engine, phaseIndex: Int) {
    let layout = ParameterLayout(plan.model)
    func flat() -> SharedRows<Float> { AlignedStorage(count: layout.count, filledWith: 0).rows }
    precondition(
      plan.precision == engine.precision, "a \(plan.precision) plan, a \(engine.precision) engine")
    let weights = ModelWeights(layout: layout, master: flat(), form: engine.form)
    let tokenCapacity = plan.batch.microbatch * plan.model.sequenceLength
    self.plan = plan
    self.engine = engine
    self.layout = layout
    self.phaseIndex = phaseIndex
    master = weights.master
    firstMoment = flat()
    secondMoment = flat()
    transformer = Transformer(
      weights: weights, engine: engine, tokenCapacity: tokenCapacity,
      lookupRowCapacity: plan.lookupRowCountMax)
    optimizer = AdamW(settings: plan.optimizer, groups: updateGroups(weights))
    schedule = plan.phases[phaseIndex].learningRates
    rowOfToken = Array(repeating: -1, count: plan.model.vocabularySize)
    isFound = Array(repeating: false, count: plan.model.vocabularySize)
    batch = Microbatch(tokenCapacity: tokenCapacity)
    squareSums = AlignedStorage(
      count: Engine.squaresBlockCount(layout.count), filledWith: 0
    ).rows
    let lookupRows = plan.lookupRowCountMax
    touchedRows.reserveCapacity(lookupRows)
    compactRows.reserveCapacity(lookupRows)
    foundRows.reserveCapacity(lookupRows)
  }

  /// Packs the master anew, after state was loaded into it.
  public func repack() { transformer.weights.pack(engine) }

  /// Takes phase `index` of the plan for the steps to come: its schedule and its random draws.
  public func enterPhase(_ index: Int) {
    guard index != phaseIndex else { return }
    phaseIndex = index
    schedule = plan.phases[index].learningRates
  }

  /// Memory for the gradient of one node, or for the sum of all.
  public func makeGradient() -> NodeGradient {
    NodeGradient(
      flatCount: layout.count, lookupCount: plan.lookupRowCountMax * plan.model.modelWidth)
  }

  /// Elements of the look-up part in the begun step.
  public var lookupCount: Int { touchedRows.count * plan.model.modelWidth }

  /// What the exchange of the begun step moves: the flat part, then the rows that it touches.
  public func windows(of gradient: NodeGradient) -> [SharedRows<Float>] {
    [gradient.flat, gradient.lookup[0..<lookupCount]]
  }

  /// Learns which rows of the look-up table the step touches.
  ///
  /// - Parameter touchedRows: Ids read by all slices of the step, ascending, each once.
  public func beginStep(_ step: Int, touchedRows: [UInt32]) {
    precondition(
      touchedRows.count <= plan.lookupRowCountMax,
      "step \(step) touches \(touchedRows.count) rows, room for \(plan.lookupRowCountMax)")
    for id in self.touchedRows { rowOfToken[Int(id)] = -1 }
    self.touchedRows.removeAll(keepingCapacity: true)
    compactRows.removeAll(keepingCapacity: true)
    for id in touchedRows {
      precondition(
        self.touchedRows.last.map { $0 < id } ?? true, "touched row \(id) is out of order")
      rowOfToken[Int(id)] = Int32(self.touchedRows.count)
      self.touchedRows.append(id)
      compactRows.append(Int(id))
    }
  }

  /// Ids that some position of these slices reads, ascending, each once.
  ///
  /// Allocates nothing where the list of the last call is gone by now.
  public func touchedRows(of slices: [TokenSlice]) -> [UInt32] {
    for slice in slices {
      for sequence in slice.sequences {
        for id in sequence.tokens.dropLast() { isFound[Int(id)] = true }
      }
    }
    foundRows.removeAll(keepingCapacity: true)
    for id in isFound.indices where isFound[id] {
      isFound[id] = false
      foundRows.append(UInt32(id))
    }
    return foundRows
  }

  /// Forward and backward of one slice, micro-batch after micro-batch.
  ///
  /// - Parameters:
  ///   - accumulate: false overwrites the gradient; true adds to it, which only a slice of one
  ///     micro-batch may do: as right leaf into its left sibling, with the same bits as adding
  ///     afterwards. Once its backward pass has begun it is not cancelled any more.
  ///   - finished: Gets ranges that are final after the last micro-batch, ascending and without
  ///     gaps from 0; look-up elements count from `layout.count` on.
  /// - Returns: nil when cancelled; an overwritten gradient is then worthless.
  public func computeSlice(
    _ tokens: TokenSlice, step: Int, slice: Int, into gradient: NodeGradient, accumulate: Bool,
    isCancelled: () -> Bool, finished: (Range<Int>) -> Void
  ) -> SliceStatistics? {
    let size = plan.batch.microbatch
    let count = (tokens.sequences.count + size - 1) / size
    precondition(
      !accumulate || count == 1, "a slice of \(count) micro-batches cannot add to its sibling")
    let dropout = Dropout(
      rate: Float(plan.dropout), seed: plan.seed, phase: phaseIndex, step: step, slice: slice)
    let windows = GradientWindows(
      flat: gradient.flat, lookup: gradient.lookup[0..<lookupCount])
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    var firstToken = 0
    for index in 0..<count {
      let sequences = index * size..<min((index + 1) * size, tokens.sequences.count)
      batch.load(sequences, of: tokens, firstToken: firstToken)
      firstToken += batch.tokenCount
      let isLast = index == count - 1
      guard
        let part = transformer.gradient(
          batch, dropout: plan.dropout > 0 ? dropout : nil, rowOfToken: rowOfToken, into: windows,
          mode: accumulate ? .addToSibling : index == 0 ? .overwrite : .accumulate,
          isCancelled: isCancelled, finished: { if isLast { finished($0) } })
      else { return nil }
      statistics = statistics + part
    }
    return statistics
  }

  /// The losses of a slice, without dropout.
  public func evaluateSlice(_ tokens: TokenSlice) -> SliceStatistics {
    transformer.loss(of: tokens, microbatch: plan.batch.microbatch, by: &batch)
  }

  /// Scales, measures and clips the summed gradient, updates weights and moments, packs.
  ///
  /// The first update of a phase starts with zero moments unless the phase carries them on
  /// (``ResolvedPlan/carriesMoments(intoPhase:)``). It clears them here and not earlier, since the
  /// state before it may be on its way to a checkpoint or to another worker.
  ///
  /// The look-up part joins the gradient here, once: a tied matrix gets its rows added, an untied
  /// embedding's gradient is made of them. So `gradient` is changed, and good for one update.
  ///
  /// - Parameters:
  ///   - gradient: Sum over all slices, flat and look-up part.
  ///   - statistics: Sum over all slices.
  ///   - step: Counted from 0 at the start of the phase.
  public func update(
    gradient: NodeGradient, statistics: SliceStatistics, step: Int
  ) -> UpdateOutcome {
    let embedding = gradient.flat[transformer.weights.embedding]
    if !layout.isHeadTied { embedding.fill(with: 0) }
    engine.embeddingBackward(
      rows: compactRows, dOutput: gradient.lookup[0..<lookupCount], lookupGradient: embedding,
      dropout: nil)
    let scale = AdamW.Scale(
      squareSum: engine.sumOfSquares(gradient.flat, blockSums: squareSums),
      tokenCount: statistics.tokenCount, limit: plan.optimizer.gradientClip)
    let rate = schedule.rate(at: step)
    if step == 0, !plan.carriesMoments(intoPhase: phaseIndex) {
      firstMoment.fill(with: 0)
      secondMoment.fill(with: 0)
    }
    if !scale.isSkipped {
      let state = OptimizerState(
        master: master, firstMoment: firstMoment, secondMoment: secondMoment)
      optimizer.update(
        state, gradient: gradient.flat, scale: scale, learningRate: rate,
        count: plan.updatesBefore(phase: phaseIndex) + step + 1, engine: engine,
        betweenGroups: { if $0 == 1 { Failpoint.inUpdate.pass(step: step) } })
    }
    return UpdateOutcome(
      gradNorm: scale.norm, learningRate: rate, skipped: scale.isSkipped,
      loss: statistics.lossSum * scale.mean)
  }
}

/// Every tensor once, in the order in which the next forward pass needs it.
private func updateGroups(_ weights: ModelWeights) -> [UpdateGroup] {
  func matrix(_ matrix: ProductMatrix) -> UpdateGroup {
    UpdateGroup(ranges: matrix.ranges, isDecayed: true, packed: matrix.packed)
  }
  func gain(_ range: Range<Int>) -> UpdateGroup { UpdateGroup(ranges: [range], isDecayed: false) }
  let isTied = weights.layout.isHeadTied
  var groups = [
    isTied ? matrix(weights.head) : UpdateGroup(ranges: [weights.embedding], isDecayed: true)
  ]
  for layer in weights.layers {
    groups += [
      gain(layer.attentionNorm), matrix(layer.queryKeyValue), matrix(layer.attentionOutput),
      gain(layer.feedForwardNorm), matrix(layer.gateUp), matrix(layer.down),
    ]
  }
  return groups + [gain(weights.finalNorm)] + (isTied ? [] : [matrix(weights.head)])
}
