public import Planning
internal import Synchronization
internal import System
public import Tensors

/// Sums gradients across the ranks of one view, along the slice tree, while the ranks compute.
///
/// Direct exchange: a bucket is cut into one segment per rank; its owner collects every held
/// node's part, adds them as the tree says and sends the sum to all. Node buffers are only read,
/// sums are built in other memory, so a step can be exchanged again in another view.
///
/// One caller thread drives it: ``begin(step:holdings:nodes:sum:buckets:)``, then
/// ``markReady(bucket:)`` for each bucket and ``setStatistics(_:)``, then ``wait(atMost:)``. Any
/// thread may call ``abort()``. After the first error the exchange stays failed: a new view brings
/// a new one. All ranks make the same sequence of exchanges with the same arguments (but for their
/// own buffers).
public final class GradientExchange: Sendable {
  private let loop: ExchangeLoop
  private let state: Monitor<ExchangeState>

  /// Starts the exchange's thread.
  ///
  /// - Parameters:
  ///   - tree: The plan's slices; the same in all ranks.
  ///   - onFailure: Called once, on the exchange's thread, when a peer fails, also between steps.
  /// - Throws: ``ExchangeError/failed(rank:operation:code:)`` when descriptors have run out.
  public init(
    mesh: Mesh, tree: SliceTree, options: ExchangeOptions = ExchangeOptions(),
    onFailure: (@Sendable (ExchangeError) -> Void)? = nil
  ) throws(ExchangeError) {
    let wake: WakeEvent
    do {
      wake = try WakeEvent()
    } catch {
      throw .failed(rank: mesh.rank, operation: "eventfd", code: error.code ?? 0)
    }
    state = Monitor(ExchangeState(worldSize: mesh.worldSize))
    loop = ExchangeLoop(
      mesh: mesh, tree: tree, options: options, state: state, wake: wake, onFailure: onFailure)
    startDetachedThread { [loop] in loop.run() }
  }

  deinit {
    state.update { $0.isClosing = true }
    loop.announce()
  }

  public var rank: Int { loop.mesh.rank }
  public var worldSize: Int { loop.mesh.worldSize }
  public var view: Int { loop.mesh.view }
  public var figures: ExchangeFigures { state.update { $0.figures } }

  /// Announces the exchange of a step. Returns at once.
  ///
  /// - Parameters:
  ///   - holdings: By rank, the nodes it holds of this step, ascending; together they cover every
  ///     slice once. A rank may hold none (standby); it gets the sums all the same.
  ///   - nodes: This rank's buffers, one for each node it holds. Read until ``wait(atMost:)``
  ///     returns.
  ///   - sum: Where the sum of all slices goes. Undefined until ``wait(atMost:)`` has returned
  ///     without
  ///     an error. May not overlap the nodes.
  ///   - buckets: Ranges of the buffers' elements, in the order in which they leave. Together
  ///     they are everything that is summed.
  /// - Precondition: The last exchange was waited for. All buffers have windows of the same sizes.
  public func begin(
    step: Int, holdings: [[SliceNode]], nodes: [SliceNode: ExchangeBuffer], sum: ExchangeBuffer,
    buckets: [Range<Int>]
  ) {
    precondition(step >= 0, "step \(step) is negative")
    precondition(
      holdings.count == worldSize, "holdings of \(holdings.count) ranks, not \(worldSize)")
    precondition(
      Set(nodes.keys) == Set(holdings[rank]),
      "buffers for \(nodes.keys.sorted()), but rank \(rank) holds \(holdings[rank])")
    let windowCounts = sum.windows.map(\.count)
    for (node, buffer) in nodes {
      precondition(
        buffer.windows.map(\.count) == windowCounts, "\(node) and the sum differ in windows")
    }
    state.update { state in
      precondition(
        state.begunRound == state.finishedRound || state.failure != nil,
        "exchange \(state.begunRound) has not been waited for")
      state.begunRound += 1
      state.isReady.removeAll(keepingCapacity: true)
      state.isReady.append(contentsOf: repeatElement(false, count: buckets.count))
      state.statistics = nil
      state.firstReadyAt = nil
      state.request = RoundRequest(
        number: state.begunRound, step: step, holdings: holdings, nodes: nodes, sum: sum,
        buckets: buckets)
    }
    loop.announce()
  }

  /// Says that this rank's part of a bucket is final in all its nodes. Any order; buckets leave in
  /// ascending order, so a bucket waits for the ones before it. A rank without nodes need not call.
  public func markReady(bucket: Int) {
    let now = Clock.monotonicNanoseconds
    state.update { state in
      precondition(
        state.isReady.indices.contains(bucket), "bucket \(bucket) of \(state.isReady.count)")
      state.isReady[bucket] = true
      if state.firstReadyAt == nil { state.firstReadyAt = now }
    }
    loop.announce()
  }

  /// Gives the statistics of the nodes this rank holds. They travel as soon as they are here.
  public func setStatistics(_ statistics: [SliceNode: SliceStatistics]) {
    state.update { $0.statistics = statistics }
    loop.announce()
  }

  /// Waits until every sum is here and everything owed to others has left.
  ///
  /// - Parameter limit: How long at most while every peer lives; nil:
  ///   ``ExchangeOptions/waitLimit``.
  /// - Returns: The statistics of all slices, summed along the tree.
  /// - Throws: ``ExchangeError``. Node buffers are untouched then and the exchange reads and
  ///   writes no buffer any more.
  @discardableResult
  public func wait(atMost limit: Duration? = nil) throws(ExchangeError) -> SliceStatistics {
    let start = Clock.monotonicNanoseconds
    let limit = limit ?? loop.options.waitLimit
    let seconds = Double(limit.nanoseconds) * 1e-9
    if let outcome = state.wait(atMost: seconds, Self.outcome) { return try finish(outcome, start) }
    state.update { $0.stalledAfter = limit }
    loop.announce()
    // The thread answers soon: it waits in poll only, which the news has woken.
    return try finish(state.wait(Self.outcome) ?? .failure(.aborted), start)
  }

  private static func outcome(
    _ state: inout ExchangeState
  ) -> Result<SliceStatistics, ExchangeError>? {
    if state.begunRound == state.finishedRound, let result = state.result {
      return .success(result)
    }
    guard state.isQuiet, let failure = state.failure else { return nil }
    return .failure(failure)
  }

  private func finish(
    _ outcome: Result<SliceStatistics, ExchangeError>, _ start: Int64
  ) throws(ExchangeError) -> SliceStatistics {
    let result = try outcome.get()
    state.update { state in
      let first = state.firstReadyAt ?? start
      state.figures.exposedSeconds += Double(max(0, state.finishedAt - start)) * 1e-9
      let hidden = min(start, state.finishedAt) - first
      state.figures.hiddenSeconds += Double(max(0, hidden)) * 1e-9
      state.firstReadyAt = nil
    }
    return result
  }

  /// Sums statistics alone (validation): no buffer, one small frame per pair of ranks.
  ///
  /// - Parameters:
  ///   - mine: For every node that `holdings` gives this rank.
  ///   - limit: As for ``wait(atMost:)``.
  /// - Throws: ``ExchangeError``.
  public func exchangeStatistics(
    step: Int, holdings: [[SliceNode]], mine: [SliceNode: SliceStatistics],
    atMost limit: Duration? = nil
  ) throws(ExchangeError) -> SliceStatistics {
    let empty = ExchangeBuffer([])
    var nodes: [SliceNode: ExchangeBuffer] = [:]
    for node in holdings[rank] { nodes[node] = empty }
    begin(step: step, holdings: holdings, nodes: nodes, sum: empty, buckets: [])
    setStatistics(mine)
    return try wait(atMost: limit)
  }

  /// Queues windows (master weights, moments) for a joiner or laggard. They go before gradients.
  ///
  /// The windows must stay as they are until ``waitStateSent()`` has returned.
  public func sendState(to rank: Int, windows: [SharedRows<Float>]) {
    precondition(
      rank != self.rank && (0..<worldSize).contains(rank), "rank \(rank) of \(worldSize)")
    state.update { state in
      state.statesToSend.append((rank, windows))
      state.sendingStateCount += 1
    }
    loop.announce()
  }

  /// Waits until all state given to ``sendState(to:windows:)`` has left.
  ///
  /// - Throws: ``ExchangeError``.
  public func waitStateSent() throws(ExchangeError) {
    try waitForState { $0.sendingStateCount == 0 }
  }

  /// Fills windows with the state that `rank` sends; their counts must be those of the sender.
  ///
  /// - Throws: ``ExchangeError``; the windows are undefined then.
  public func receiveState(
    from rank: Int, into windows: [SharedRows<Float>]
  ) throws(ExchangeError) {
    precondition(
      rank != self.rank && (0..<worldSize).contains(rank), "rank \(rank) of \(worldSize)")
    state.update { state in
      precondition(state.receivingStateCounts[rank] == 0, "rank \(rank) is being received from")
      state.statesToReceive.append((rank, windows))
      state.receivingStateCounts[rank] += 1
    }
    loop.announce()
    try waitForState { $0.receivingStateCounts[rank] == 0 }
  }

  private func waitForState(
    _ isDone: (ExchangeState) -> Bool
  ) throws(ExchangeError) {
    let outcome = state.wait { state -> Result<Void, ExchangeError>? in
      if isDone(state) { return .success(()) }
      guard state.isQuiet, let failure = state.failure else { return nil }
      return .failure(failure)
    }
    try outcome?.get()
  }

  /// Gives the exchange up, from any thread: ``wait(atMost:)`` throws ``ExchangeError/aborted`` at
  /// once, and no buffer is touched after it has thrown. Peers are told.
  public func abort() {
    state.update { $0.isAborting = true }
    loop.announce()
  }

  /// Leaves orderly: the peers are told, and this rank's end is no loss to those that need nothing
  /// more from it. Returns when no buffer is touched any more.
  public func close() {
    state.update { $0.isClosing = true }
    loop.announce()
    _ = state.wait { $0.isQuiet ? () : nil }
  }
}
