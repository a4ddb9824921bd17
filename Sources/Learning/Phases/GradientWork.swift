internal import Operators
internal import Planning
internal import Settings
public import Tensors
internal import Transformer

/// The slices of a training step: forward and backward, micro-batch after micro-batch.
public final class GradientWork: SliceWork {
  private let replica: Replica
  private var step = 0

  public init(_ replica: Replica) { self.replica = replica }

  public func makeSum() -> NodeSum {
    let most = replica.plan.lookupRowCountMax * replica.plan.model.modelWidth
    return NodeSum(
      counts: replica.trained.flatMap { [$0.layout.count, $0.role == .adapter ? 0 : most] })
  }

  /// Elements of a look-up part in the begun step.
  public var lookupCount: Int {
    replica.lookupRows.ids.count * replica.plan.model.modelWidth
  }

  /// The same for one model: adapters leave the look-up table as it is.
  private func lookupCount(of model: ModelReplica) -> Int {
    model.role == .adapter ? 0 : lookupCount
  }

  /// For each trained model the flat part, then the rows of its look-up table that the step
  /// touches.
  public func windows(of sum: NodeSum) -> [SharedRows<Float>] {
    replica.trained.enumerated().flatMap { index, model in
      [sum.windows[2 * index], sum.windows[2 * index + 1][0..<lookupCount(of: model)]]
    }
  }

  public var buckets: [Range<Int>] {
    BucketPlan.buckets(
      of: replica.stateLayout.models.filter(\.isTrained), lookupCount: lookupCount)
  }

  public func begin(step: Int, slices: [TokenSlice]) {
    self.step = step
    replica.lookupRows.begin(slices)
  }

  public func isJoinable(_ tokens: TokenSlice) -> Bool {
    tokens.sequences.count <= replica.plan.batch.microbatch
  }

  /// The gradients of the trained models, one model after the other. A slice that joins its sibling
  /// is cancelled only before its first gradient is written.
  public func compute(
    _ tokens: TokenSlice, slice: Int, into sum: NodeSum, accumulate: Bool,
    isCancelled: () -> Bool, finished: (Range<Int>) -> Void
  ) -> SliceStatistics? {
    precondition(
      !accumulate || isJoinable(tokens),
      "a slice of \(tokens.sequences.count) sequences cannot join its sibling")
    let windows = windows(of: sum)
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    var start = 0
    for (index, model) in replica.trained.enumerated() {
      let own = GradientWindows(flat: windows[2 * index], lookup: windows[2 * index + 1])
      let part = gradient(
        of: model, tokens, slice: slice, into: own, accumulate: accumulate,
        isCancelled: { !(accumulate && index > 0) && isCancelled() },
        finished: { finished(start + $0.lowerBound..<start + $0.upperBound) })
      guard let part else { return nil }
      statistics = statistics + part
      start += own.flat.count + own.lookup.count
    }
    return statistics
  }

  private func gradient(
    of model: ModelReplica, _ tokens: TokenSlice, slice: Int, into windows: GradientWindows,
    accumulate: Bool, isCancelled: () -> Bool, finished: (Range<Int>) -> Void
  ) -> SliceStatistics? {
    let plan = replica.plan
    let size = plan.batch.microbatch
    let count = (tokens.sequences.count + size - 1) / size
    // What compares log-probabilities or scores needs them as they are.
    let rate = replica.phase.kind.trainsPolicyAlone ? plan.dropout : 0
    let dropout = Dropout(
      rate: Float(rate), seed: plan.seed, phase: replica.phaseIndex, step: step, slice: slice)
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    var firstToken = 0
    for index in 0..<count {
      let sequences = index * size..<min((index + 1) * size, tokens.sequences.count)
      replica.batch.load(sequences, of: tokens, firstToken: firstToken)
      firstToken += replica.batch.tokenCount
      let isLast = index == count - 1
      guard
        let part = model.transformer.gradient(
          replica.batch, dropout: rate > 0 ? dropout : nil,
          rowOfToken: replica.lookupRows.rowOfToken, into: windows,
          mode: accumulate ? .addToSibling : index == 0 ? .overwrite : .accumulate,
          objective: replica.objective(of: model, tokens, sequences), isCancelled: isCancelled,
          finished: { if isLast { finished($0) } })
      else { return nil }
      statistics = statistics + part
    }
    // Its loss counts the assistant's tokens alone; it reads them all.
    if replica.phase.kind == .sft {
      statistics.measures[Measures.tokens] = Double(tokens.positionCount)
    }
    return statistics
  }

  /// An untied embedding has no flat gradient yet, so its part is left out.
  public func add(_ range: Range<Int>, of right: NodeSum, into left: NodeSum) {
    let (from, to) = (windows(of: right), windows(of: left))
    var start = 0
    for (index, model) in replica.trained.enumerated() {
      let counts = [model.layout.denseCount, lookupCount(of: model)]
      for (window, count) in zip([2 * index, 2 * index + 1], counts) {
        let part = range.clamped(to: start..<start + count)
        if !part.isEmpty {
          let own = part.lowerBound - start..<part.upperBound - start
          replica.engine.add(from[window][own], into: to[window][own])
        }
        start += to[window].count
      }
    }
  }
}
