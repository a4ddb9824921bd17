internal import Collectives
internal import ControlProtocol
internal import Phases
internal import Planning
internal import Settings
internal import System
internal import Tensors
internal import Transformer

/// One operation of the program, from tokens to report.
struct OperationRun {
  let session: WorkerSession
  let inForce: ViewInForce
  let position: Int

  /// - Returns: nil when it was interrupted; complete sums are kept then.
  func run() throws(ExchangeError) -> OperationReport? {
    switch session.program.operation(at: position) {
    case .enter(let phase): try enter(phase)
    case .rollout(_, let iteration): try rollout(iteration)
    case .train(_, let step): try train(step: step)
    case .validate: try validate()
    case .end: preconditionFailure("no operation at position \(position)")
    }
  }

  /// The operation's tokens; nil when it was interrupted. Tokens of another plan end the worker.
  ///
  /// - Parameter sequencesPerSlice: nil: any number.
  private func tokens(sequencesPerSlice: Int?) -> [TokenSlice]? {
    let found = session.link.waiting {
      session.tokens.slices(view: inForce.number, position: position)
    }
    guard let slices = found else { return nil }
    guard session.plan.fits(slices, sequencesPerSlice: sequencesPerSlice) else {
      session.link.end(
        WorkerEnd(reason: "the coordinator sent tokens that do not fit the plan", code: 1))
      return nil
    }
    return slices
  }

  private func isInterrupted() -> Bool {
    session.link.noteProgress()
    return session.interruption.isRaised
  }

  // MARK: Phases

  /// Nobody waits for anybody: each turns its own state into that of the phase. What still reads
  /// the old one (a checkpoint, a member that takes it from here) is waited for.
  private func enter(_ phase: Int) throws(ExchangeError) -> OperationReport {
    var watch = Stopwatch()
    try session.link.waiting { () throws(ExchangeError) in
      session.saver.waitIdle()
      try inForce.exchange?.waitStateSent()
    }
    watch.lap(\.checkpoint)
    session.enter(phase)
    return OperationReport(
      view: inForce.number, position: position, tokenCount: 0, lossSum: 0, gradientNorm: 0,
      learningRate: 0, isSkipped: false, sliceCount: 0, recomputedCount: 0, time: watch.finish(),
      byteCount: 0)
  }

  // MARK: Training

  private func train(step: Int) throws(ExchangeError) -> OperationReport? {
    var watch = Stopwatch()
    let batch = session.plan.batch
    guard
      let read = session.replica.phase.samples
        ? session.replica.answerBatch(step: step)
        : tokens(sequencesPerSlice: batch.sequencesPerSlice)
    else { return nil }
    let slices = read.map(session.replica.prepared)
    watch.lap(\.data)
    guard let total = try sum(session.gradients, index: step, slices: slices, &watch) else {
      return nil
    }
    Failpoint.beforeUpdate.pass(step: step)
    let sums = session.gradients
    let outcome = session.replica.update(
      sums.work.windows(of: total.sum), statistics: total.statistics, step: step)
    sums.store.release()
    session.gradientPosition = nil
    Failpoint.afterUpdate.pass(step: step)
    watch.lap(\.optimizer)
    return report(
      total, gradientNorm: outcome.gradNorm, learningRate: outcome.learningRate,
      isSkipped: outcome.skipped, &watch)
  }

  // MARK: Rollouts

  private func rollout(_ iteration: Int) throws(ExchangeError) -> OperationReport? {
    var watch = Stopwatch()
    guard let (sums, _) = session.rollouts(),
      let settings = session.replica.phase.reinforcement
    else { preconditionFailure("a phase with rollouts has what makes them") }
    let share = settings.prompts / session.plan.batch.slices
    guard let slices = tokens(sequencesPerSlice: share) else { return nil }
    watch.lap(\.data)
    guard let total = try sum(sums, index: iteration, slices: slices, &watch) else { return nil }
    session.replica.takeRollouts(total.sum.windows[0])
    sums.store.release()
    session.gradientPosition = nil
    Failpoint.afterRollout.pass(step: iteration)
    watch.lap(\.optimizer)
    return report(total, &watch)
  }

  // MARK: Sums over all members

  /// The sum over all slices, in memory that the next operation overwrites.
  private struct Total {
    let sum: NodeSum
    let statistics: SliceStatistics
    let computedCount: Int
    let takenOverCount: Int
    let byteCount: Int
    let hiddenSeconds: Double
  }

  /// Computes this worker's slices and sums them with those of the others. Nothing reads the state
  /// any more when it returns, except this thread: it may be changed.
  ///
  /// - Parameter index: Of the step or iteration.
  private func sum(
    _ sums: PhaseSums, index: Int, slices: [TokenSlice], _ watch: inout Stopwatch
  ) throws(ExchangeError) -> Total? {
    let shares = inForce.shares(at: position, tree: session.tree)
    let mine = shares[inForce.rank]
    let takenOverCount = begin(sums, index: index, slices: slices, mine: mine)
    let held = sums.store.heldSlices
    let computing = mine.filter { !held.contains($0) }

    let reduction = Reduction(self, sums, shares: shares)
    let isComplete = sums.store.compute(
      mine, tokens: { slices[$0] }, isCancelled: isInterrupted,
      ready: { reduction.markReady($0) })
    guard isComplete else { return nil }
    Failpoint.afterSlice.pass(step: index)
    watch.lapCompute(session.replica)
    let (sum, statistics) = try session.link.waiting { () throws(ExchangeError) in
      try reduction.finish()
    }
    watch.lap(\.exchange)
    session.link.waiting { session.saver.waitIdle() }
    watch.lap(\.checkpoint)
    return Total(
      sum: sum, statistics: statistics, computedCount: computing.count,
      takenOverCount: takenOverCount, byteCount: reduction.byteCount,
      hiddenSeconds: reduction.hiddenSeconds)
  }

  /// Starts the operation, or takes up one that an older view left with some sums complete. Of
  /// these, another worker may have made some again, and sum them now.
  ///
  /// - Returns: How many of `mine` another worker had in that view: at most so many are computed
  ///   for a second time.
  private func begin(
    _ sums: PhaseSums, index: Int, slices: [TokenSlice], mine: [Int]
  ) -> Int {
    if session.gradientPosition == position {
      sums.store.keep(only: mine)
      let takenOver = Set(mine).subtracting(session.dealtSlices)
      session.dealtSlices.formUnion(mine)
      return takenOver.count
    }
    sums.store.begin(step: index, slices: slices)
    session.begin(sums)
    session.dealtSlices = Set(mine)
    return 0
  }

  private func report(
    _ total: Total, gradientNorm: Double = 0, learningRate: Double = 0, isSkipped: Bool = false,
    _ watch: inout Stopwatch
  ) -> OperationReport {
    watch.time.hiddenExchange = total.hiddenSeconds
    return OperationReport(
      view: inForce.number, position: position, tokenCount: total.statistics.tokenCount,
      lossSum: total.statistics.lossSum, gradientNorm: gradientNorm, learningRate: learningRate,
      isSkipped: isSkipped, measures: total.statistics.measures,
      sliceCount: total.computedCount, recomputedCount: total.takenOverCount,
      time: watch.finish(), byteCount: total.byteCount)
  }

  // MARK: Validation

  private func validate() throws(ExchangeError) -> OperationReport? {
    var watch = Stopwatch()
    guard let slices = tokens(sequencesPerSlice: nil) else { return nil }
    watch.lap(\.data)
    let shares = inForce.shares(at: position, tree: session.tree)
    var statistics: [SliceNode: SliceStatistics] = [:]
    for slice in shares[inForce.rank] {
      guard !isInterrupted(), let found = evaluate(slices[slice]) else { return nil }
      statistics[.leaf(slice)] = found
    }
    watch.lapForward(session.replica)
    let merged = session.tree.merge(statistics)
    var total = merged[session.tree.root]
    if let exchange = inForce.exchange {
      total = try session.link.waiting { () throws(ExchangeError) in
        try exchange.exchangeStatistics(
          step: position, holdings: shares.map { session.tree.nodes(covering: $0) }, mine: merged,
          atMost: session.exchangeLimit)
      }
    }
    guard let total else { preconditionFailure("a view of one holds every slice") }
    watch.lap(\.exchange)
    return OperationReport(
      view: inForce.number, position: position, tokenCount: total.tokenCount,
      lossSum: total.lossSum, gradientNorm: 0, learningRate: 0, isSkipped: false,
      measures: total.measures, sliceCount: shares[inForce.rank].count, recomputedCount: 0,
      time: watch.finish(), byteCount: 0)
  }
}

extension OperationRun {
  /// What was held back is read, or answered in a phase that learns from answers.
  private func evaluate(_ slice: TokenSlice) -> SliceStatistics? {
    guard session.replica.phase.samples, let (_, work) = session.rollouts() else {
      return session.replica.evaluate(session.replica.prepared(slice))
    }
    return work.evaluate(slice, isCancelled: isInterrupted)
  }
}

extension SliceTree {
  /// Adds sums of siblings up the tree as far as both are there.
  func merge(_ sums: [SliceNode: SliceStatistics]) -> [SliceNode: SliceStatistics] {
    var sums = sums
    for level in 0..<depth {
      for node in sums.keys.sorted() where node.level == level && node.isLeft {
        guard let right = sums[node.sibling], let left = sums[node] else { continue }
        sums[node] = nil
        sums[node.sibling] = nil
        sums[node.parent] = left + right
      }
    }
    return sums
  }
}

/// The sum of an operation over all members, while and after they compute their shares.
private final class Reduction {
  private let session: WorkerSession
  private let exchange: GradientExchange?
  private let sums: PhaseSums
  private let buckets: [Range<Int>]
  private var nextBucket = 0
  private var isBegun = false
  private let step: Int
  private let shares: [[Int]]
  /// The exchange's figures so far count from the view's start.
  private var before = ExchangeFigures()
  private(set) var byteCount = 0
  private(set) var hiddenSeconds = 0.0

  init(_ operation: OperationRun, _ sums: PhaseSums, shares: [[Int]]) {
    self.sums = sums
    session = operation.session
    exchange = operation.inForce.exchange
    step = operation.position
    self.shares = shares
    buckets = sums.work.buckets
  }

  /// Elements before `range.upperBound` are final in all nodes of this worker.
  func markReady(_ range: Range<Int>) {
    guard let exchange else { return }
    if !isBegun { begin(exchange) }
    while nextBucket < buckets.count, buckets[nextBucket].upperBound <= range.upperBound {
      exchange.markReady(bucket: nextBucket)
      nextBucket += 1
    }
  }

  private func begin(_ exchange: GradientExchange) {
    isBegun = true
    before = exchange.figures
    exchange.begin(
      step: step, holdings: shares.map { session.tree.nodes(covering: $0) },
      nodes: sums.store.upcomingNodes.mapValues { ExchangeBuffer(sums.work.windows(of: $0)) },
      sum: ExchangeBuffer(sums.work.windows(of: sums.total)), buckets: buckets)
  }

  func finish() throws(ExchangeError) -> (NodeSum, SliceStatistics) {
    let store = sums.store
    guard let exchange else {
      guard let root = store.nodes[session.tree.root],
        let statistics = store.statistics[session.tree.root]
      else { preconditionFailure("a view of one holds every slice") }
      return (root, statistics)
    }
    if !isBegun { begin(exchange) }
    while nextBucket < buckets.count {
      exchange.markReady(bucket: nextBucket)
      nextBucket += 1
    }
    exchange.setStatistics(store.statistics)
    let statistics = try exchange.wait(atMost: session.exchangeLimit)
    try exchange.waitStateSent()
    let figures = exchange.figures
    byteCount = Int(figures.bytesSent - before.bytesSent)
    hiddenSeconds = figures.hiddenSeconds - before.hiddenSeconds
    return (sums.total, statistics)
  }
}

/// Where an operation's time goes.
struct Stopwatch {
  private let start = Clock.monotonicSeconds
  private var last = Clock.monotonicSeconds
  var time = OperationTime()

  /// Books the time since the last lap.
  mutating func lap(_ part: WritableKeyPath<OperationTime, Double>) {
    let now = Clock.monotonicSeconds
    time[keyPath: part] += now - last
    last = now
  }

  /// Books the time since the last lap as forward and backward, as the replica measured them.
  mutating func lapCompute(_ replica: Replica) {
    let now = Clock.monotonicSeconds
    let elapsed = now - last
    let forward = min(replica.takeForwardSeconds(), elapsed)
    time.forward += forward
    time.backward += elapsed - forward
    last = now
  }

  /// Books the time since the last lap as forward, which is all that was done.
  mutating func lapForward(_ replica: Replica) {
    // Else the next step would take them for its own.
    _ = replica.takeForwardSeconds()
    lap(\.forward)
  }

  mutating func finish() -> OperationTime {
    time.total = Clock.monotonicSeconds - start
    return time
  }
}
