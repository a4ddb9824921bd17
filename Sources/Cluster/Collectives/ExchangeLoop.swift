internal import Planning
internal import Synchronization
internal import System
internal import Tensors
internal import Transport

/// The exchange's own thread: one poll loop over all peers, non-blocking in both directions.
///
/// What may come from a peer is known in advance to the byte. Contributions come in the order of
/// my pieces, each piece's nodes in order; sums in the order of the sender's pieces. So a header
/// is compared with the one expected, and a payload goes straight to its place.
///
/// Why it cannot lock up: everyone sends contributions in one global order of pieces, and a
/// receiver stops reading from a peer only if that peer is ahead by more pieces than there are
/// slots. The piece whose turn it is always has a slot, sums and statistics always have a place,
/// and sending waits for what a peer sends only while that peer is read.
final class ExchangeLoop: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): all mutable fields belong to the one thread that runs `run()`;
  // other threads reach `state`, `hasNews` and `wake` only.
  let mesh: Mesh
  let tree: SliceTree
  let options: ExchangeOptions
  let state: Monitor<ExchangeState>
  let wake: WakeEvent
  private let hasNews = Atomic<Bool>(false)
  private let onFailure: (@Sendable (ExchangeError) -> Void)?

  let peers: [PeerLink]
  /// Index in ``peers`` by rank; nil at this rank.
  let peerOfRank: [PeerLink?]
  var round: ExchangeRound?
  var finishedRound: UInt32 = 0
  var table: PieceTable
  var slots = SlotPool()
  var figures = ExchangeFigures()
  /// The time of this turn of the loop.
  var now: Int64 = 0
  /// This rank's statistics, as they travel.
  var ownStatistics = AlignedStorage<UInt64>(count: 1, filledWith: 0).rows
  private var inputs: [SharedRows<Float>] = []
  private var lastTreeSum: TreeSum?
  /// Of my sums of this round, piece by piece.
  private(set) var checksums: [UInt32] = []
  /// Dropped frames end here.
  let scratch = AlignedStorage<UInt64>(count: 8192, filledWith: 0).rows
  private var pollSet = PollSet()
  let silenceNanoseconds: Int64
  let doubtNanoseconds: Int64
  let aliveNanoseconds: Int64

  var rank: Int { mesh.rank }
  var view: UInt32 { UInt32(mesh.view) }

  init(
    mesh: Mesh, tree: SliceTree, options: ExchangeOptions, state: Monitor<ExchangeState>,
    wake: WakeEvent, onFailure: (@Sendable (ExchangeError) -> Void)?
  ) {
    self.mesh = mesh
    self.tree = tree
    self.options = options
    self.state = state
    self.wake = wake
    self.onFailure = onFailure
    peerOfRank = mesh.connections.enumerated().map { rank, connection in
      connection.map { PeerLink(rank: rank, connection: $0, memory: mesh.memories[rank]) }
    }
    peers = peerOfRank.compactMap { $0 }
    table = PieceTable(worldSize: mesh.worldSize)
    silenceNanoseconds = options.silenceLimit.nanoseconds
    doubtNanoseconds = options.doubtLimit.nanoseconds
    // Four chances to be heard within the limit.
    aliveNanoseconds = max(1, silenceNanoseconds / 4)
    pollSet.add(wake.raw, .readable)
    for peer in peers { pollSet.add(peer.connection.socket.raw, .readable) }
  }

  /// Makes the thread look at the state. Any thread.
  func announce() {
    // The thread clears the flag before it reads the state, so a flag seen set is not lost.
    if !hasNews.exchange(true, ordering: .sequentiallyConsistent) { wake.set() }
  }

  /// The body of the thread.
  func run() {
    flushSubnormals()
    do throws(ExchangeError) {
      now = Clock.monotonicNanoseconds
      while try takeNews() {
        var isBusy = false
        for peer in peers where try receive(from: peer) { isBusy = true }
        for peer in peers where try send(to: peer) { isBusy = true }
        finishRoundIfDone()
        try checkSilence()
        if !isBusy { try sleep() }
        now = Clock.monotonicNanoseconds
      }
      leave()
    } catch {
      giveUp(error)
    }
  }

  // MARK: - News from the callers

  /// - Returns: False when the exchange is to be closed.
  private func takeNews() throws(ExchangeError) -> Bool {
    guard hasNews.load(ordering: .relaxed) else { return true }
    wake.clear()
    hasNews.store(false, ordering: .sequentiallyConsistent)
    var news: (request: RoundRequest?, isAborting: Bool, isClosing: Bool, stalledAfter: Duration?)
      = (nil, false, false, nil)
    state.update { state in
      news = (state.request.take(), state.isAborting, state.isClosing, state.stalledAfter)
      for transfer in state.statesToSend {
        peerOfRank[transfer.rank]?.statesToSend.append(StateCursor(transfer.windows))
      }
      for transfer in state.statesToReceive {
        peerOfRank[transfer.rank]?.stateToReceive = StateCursor(transfer.windows)
      }
      state.statesToSend.removeAll(keepingCapacity: true)
      state.statesToReceive.removeAll(keepingCapacity: true)
    }
    if news.isAborting { throw .aborted }
    if news.isClosing { return false }
    if let request = news.request { try begin(request) }
    if let limit = news.stalledAfter { try blameForStall(after: limit) }
    takeProgress()
    try settleEmptyStates()
    for peer in peers where peer.stateToReceive != nil { try resume(peer, after: .state) }
    try addUp()
    return true
  }

  private func begin(_ request: RoundRequest) throws(ExchangeError) {
    let next = ExchangeRound(request, tree: tree, rank: rank, last: lastTreeSum)
    lastTreeSum = next.treeSum
    checksums.removeAll(keepingCapacity: true)
    var pieceCountMax = options.pieceCountMax
    // At least two groups of slots, also when very many nodes are held.
    let perPiece = options.slotByteCount / (2 * next.inputs.count * MemoryLayout<Float>.stride)
    pieceCountMax = max(16, min(pieceCountMax, perPiece) / 16 * 16)
    table.plan(
      buckets: request.buckets, windowCounts: request.sum.windows.map(\.count),
      pieceCountMax: pieceCountMax)
    slots.prepare(
      inputCount: next.inputs.count - next.mine.count, pieceCountMax: pieceCountMax,
      byteCount: options.slotByteCount)
    round = next
    var first = 0
    for peer in peers {
      peer.beginRound(nodeCount: request.holdings[peer.rank].count, firstInput: first)
      first += peer.nodeCount
      if peer.hasEnded { throw .peerLost(rank: peer.rank) }
    }
    for peer in peers { try resume(peer, after: .round) }
  }

  /// Which buckets are ready now, and whether the statistics are.
  private func takeProgress() {
    guard round != nil else { return }
    let mine = round?.request.holdings[rank] ?? []
    var statistics: [SliceNode: SliceStatistics]?
    state.update { state in
      let count = state.isReady.count
      var ready = round?.readyCount ?? 0
      // A rank without nodes has nothing to wait for.
      while ready < count && (mine.isEmpty || state.isReady[ready]) { ready += 1 }
      round?.readyCount = ready
      statistics = state.statistics.take()
    }
    guard let statistics, !mine.isEmpty else { return }
    let wordCount = StatisticsPayload.wordsPerNode * mine.count
    if ownStatistics.count != wordCount {
      ownStatistics = AlignedStorage<UInt64>(count: wordCount, filledWith: 0).rows
    }
    StatisticsPayload.write(statistics, nodes: mine, into: ownStatistics)
    for node in mine { round?.statistics[node] = statistics[node] }
    round?.hasOwnStatistics = true
  }

  /// States without a single element need no frame.
  private func settleEmptyStates() throws(ExchangeError) {
    for peer in peers {
      while let first = peer.statesToSend.first, first.isDone {
        peer.statesToSend.removeFirst()
        state.update { $0.sendingStateCount -= 1 }
      }
      if let incoming = peer.stateToReceive, incoming.isDone { finishState(from: peer) }
    }
  }

  func finishState(from peer: PeerLink) {
    peer.stateToReceive = nil
    state.update { $0.receivingStateCounts[peer.rank] -= 1 }
  }

  // MARK: - Summing

  /// Sums every piece of mine whose parts are all here, in order, and lets the sums leave.
  func addUp() throws(ExchangeError) {
    var isFreed = false
    while let piece = nextCompletePiece() { addUp(piece); isFreed = true }
    guard isFreed else { return }
    for peer in peers { try resume(peer, after: .slots) }
  }

  private func nextCompletePiece() -> Piece? {
    guard let round, round.summedCount < table.pieces[rank].count else { return nil }
    let piece = table.pieces[rank][round.summedCount]
    guard round.mine.isEmpty || piece.bucket < round.readyCount else { return nil }
    for peer in peers where peer.nodeCount > 0 && peer.receivedPiece <= piece.ordinal {
      return nil
    }
    return piece
  }

  private func addUp(_ piece: Piece) {
    guard let current = round else { return }
    let request = current.request
    Failpoint.ownerBeforeSum.pass(step: request.step)
    inputs.removeAll(keepingCapacity: true)
    for (index, node) in current.inputs.enumerated() {
      if current.mine.contains(index) {
        guard let buffer = request.nodes[node] else {
          preconditionFailure("no buffer for \(node), which this rank holds")
        }
        inputs.append(buffer.part(piece))
      } else {
        let remote = index < current.mine.lowerBound ? index : index - current.mine.count
        inputs.append(slots.slot(piece: piece, input: remote))
      }
    }
    let target = request.sum.part(piece)
    current.treeSum.run(inputs, into: target)
    inputs.removeAll(keepingCapacity: true)
    slots.release(ordinal: piece.ordinal)
    if !peers.isEmpty {
      checksums.append(target.withBytes { CRC32C.checksum($0) })
    }
    round?.summedCount += 1
    Failpoint.ownerAfterSum.pass(step: request.step)
  }

  // MARK: - Ends

  /// Whether nothing of the round is left between this rank and `peer`.
  func isSettled(_ peer: PeerLink, _ round: ExchangeRound) -> Bool {
    let own = table.pieces[rank].count
    let theirs = table.pieces[peer.rank].count
    return peer.receivedSums == theirs && peer.sentSums == own
      && (peer.nodeCount == 0 || (peer.hasStatistics && peer.receivedPiece == own))
      && (round.mine.isEmpty || (peer.hasSentStatistics && peer.sentPiece == theirs))
      && peer.hasReturned == peer.hasLentSums && peer.hasSentReturn == peer.hasBorrowedSums
  }

  private func finishRoundIfDone() {
    guard let round, round.summedCount == table.pieces[rank].count,
      round.mine.isEmpty || round.hasOwnStatistics
    else { return }
    for peer in peers where !isSettled(peer, round) { return }
    let result = StatisticsPayload.sum(round.statistics, at: tree.root)
    finishedRound = round.request.number
    self.round = nil
    state.update { state in
      state.finishedRound = finishedRound
      state.result = result
      state.finishedAt = Clock.monotonicNanoseconds
      publish(&state)
    }
  }

  private func publish(_ state: inout ExchangeState) {
    state.figures.bytesSent = figures.bytesSent
    state.figures.bytesLent = figures.bytesLent
    state.figures.bytesReceived = figures.bytesReceived
    state.figures.staleFrameCount = figures.staleFrameCount
  }

  private func blameForStall(after limit: Duration) throws(ExchangeError) {
    guard let round else { return }
    for peer in peers where !isSettled(peer, round) && peer.pause == nil {
      throw .stalled(rank: peer.rank, limit: limit)
    }
    throw .stalled(rank: rank, limit: limit)
  }

  private func checkSilence() throws(ExchangeError) {
    for peer in peers where peer.pause == nil && !peer.hasEnded {
      // A thread that itself stood still (a suspended process) has just read what had come.
      guard now - peer.lastHeard > silenceNanoseconds else { continue }
      throw .peerSilent(rank: peer.rank, limit: options.silenceLimit)
    }
  }

  /// Tells peers and callers why, and ends.
  private func giveUp(_ error: ExchangeError) {
    letGo(telling: .abandon, because: error)
    if error != .aborted { onFailure?(error) }
  }

  /// Ends orderly: peers read a goodbye and then the end of the stream.
  private func leave() {
    letGo(telling: .goodbye, because: .aborted)
    for peer in peers { peer.connection.finishWriting() }
    linger()
  }

  /// Lets go of all buffers. Peers hear of it first: they may be reading what is lent to them.
  private func letGo(telling kind: FrameKind, because error: ExchangeError) {
    round = nil
    for peer in peers {
      peer.dropBuffers()
      let hasLeft = sendLast(kind, to: peer, because: error.suspect)
      if !hasLeft && peer.canBorrow { peer.connection.finishWriting() }
    }
    state.update { state in
      state.failure = error
      state.isQuiet = true
      publish(&state)
    }
  }

  /// Reads what still comes for a moment: closing a socket with unread bytes makes the kernel
  /// throw away what the peer has not read yet.
  private func linger() {
    let deadline = Deadline.after(.seconds(2))
    var open = peers.filter { !$0.hasEnded }
    while !open.isEmpty && !deadline.hasPassed {
      var set = PollSet()
      for peer in open { set.add(peer.connection.socket.raw, .readable) }
      do { try set.wait(until: deadline) } catch { return }
      open = open.filter { peer in
        peer.target = .discard(byteCount: 8 * scratch.count)
        peer.payloadFilled = 0
        switch try? peer.pull(scratch: scratch) {
        case .moved, .wouldBlock: return true
        case .ended, nil: return false
        }
      }
    }
  }

  // MARK: - Sleeping

  private func sleep() throws(ExchangeError) {
    var wakeUp = Int64.max
    pollSet.replace(0, wake.raw, .readable)
    for (index, peer) in peers.enumerated() {
      let raw = peer.connection.socket.raw
      if peer.hasEnded {
        pollSet.replace(index + 1, nil, [])
        continue
      }
      var events: PollEvents = peer.isBlocked && !peer.isBroken ? .writable : []
      switch peer.pause {
      case nil:
        events.insert(.readable)
        wakeUp = min(wakeUp, peer.lastHeard + silenceNanoseconds + 1)
        if let doubt = peer.doubt { wakeUp = min(wakeUp, doubt.until) }
      // Its bytes wait, but its death must not.
      case .slots, .round: events.insert(.halfClosed)
      case .state: break
      }
      pollSet.replace(index + 1, events.isEmpty ? nil : raw, events)
      if !peer.isBlocked && !peer.isBroken {
        wakeUp = min(wakeUp, peer.lastSent + aliveNanoseconds)
      }
    }
    do {
      try pollSet.wait(until: Deadline(nanoseconds: wakeUp))
    } catch {
      throw .failed(rank: rank, operation: "poll", code: error.code ?? 0)
    }
    for (index, peer) in peers.enumerated() {
      let found = pollSet.found(index + 1)
      if !found.isDisjoint(with: [.writable, .failed, .ended]) { peer.isBlocked = false }
      guard peer.pause != nil, !found.isDisjoint(with: [.halfClosed, .failed, .ended])
      else { continue }
      throw .peerLost(rank: peer.rank)
    }
  }
}

extension Duration {
  /// Whole nanoseconds, at most those of 292 years.
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (whole, isOver) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    return isOver ? .max / 4 : min(.max / 4, whole + attoseconds / 1_000_000_000)
  }
}
