internal import Planning
internal import System
internal import Tensors
internal import Transport

extension ExchangeLoop {
  /// How often one peer is read or written before the others have their turn: about 1 MiB.
  static let turnCount = 4

  /// Reads what has come from a peer.
  ///
  /// - Returns: Whether anything had.
  func receive(from peer: PeerLink) throws(ExchangeError) -> Bool {
    if let doubt = peer.doubt, now >= doubt.until { throw doubt.error }
    for turn in 0..<Self.turnCount {
      guard peer.pause == nil, !peer.hasEnded else { return turn > 0 }
      let progress: SocketProgress
      do {
        progress = try peer.pull(scratch: scratch)
      } catch {
        guard error.isConnectionLoss else {
          throw .failed(rank: peer.rank, operation: "receive from", code: error.code ?? 0)
        }
        progress = .ended
      }
      switch progress {
      case .wouldBlock: return turn > 0
      case .ended:
        try end(of: peer)
        return true
      case .moved(let count):
        figures.bytesReceived += Int64(count)
        peer.lastHeard = now
        try advance(peer)
      }
    }
    return true
  }

  private func end(of peer: PeerLink) throws(ExchangeError) {
    peer.hasEnded = true
    let isBetweenFrames = peer.incoming == nil && peer.headerFilled == 0
    guard peer.isLeaving, isBetweenFrames, peer.stateToReceive == nil, peer.statesToSend.isEmpty,
      round.map({ isSettled(peer, $0) }) ?? true
    else { throw .peerLost(rank: peer.rank) }
  }

  /// Handles every header and payload that is whole.
  private func advance(_ peer: PeerLink) throws(ExchangeError) {
    while peer.pause == nil && peer.isTargetFull {
      guard case .header = peer.target else {
        try finishPayload(of: peer)
        continue
      }
      do {
        peer.incoming = try peer.header.withSpan { (words) throws(FrameFault) in
          try FrameHeader(parsing: words)
        }
      } catch {
        throw .corrupted(rank: peer.rank, error)
      }
      peer.headerFilled = 0
      try route(peer)
    }
  }

  /// Tries the frame that had to wait again.
  func resume(_ peer: PeerLink, after reason: Pause) throws(ExchangeError) {
    guard peer.pause == reason else { return }
    peer.pause = nil
    peer.lastHeard = now
    try route(peer)
    try advance(peer)
  }

  /// Decides where the payload of the frame at hand goes, before a byte of it is read.
  private func route(_ peer: PeerLink) throws(ExchangeError) {
    guard let header = peer.incoming else { return }
    try expect(.run, mesh.run, header.run, peer)
    if header.view < view {
      figures.staleFrameCount += 1
      return try drop(header, of: peer)
    }
    try expect(.view, UInt64(view), UInt64(header.view), peer)
    if peer.doubt != nil && header.kind != .abandon { return try drop(header, of: peer) }
    switch header.kind {
    case .alive, .goodbye, .abandon, .borrows:
      try expect(.length, 0, UInt64(header.payloadByteCount), peer)
      peer.incoming = nil
      if header.kind == .goodbye { peer.isLeaving = true }
      if header.kind == .borrows { peer.canBorrow = true }
      if header.kind == .abandon {
        let lost = header.segment == .max ? nil : Int(header.segment)
        throw .abandoned(by: peer.rank, lostRank: lost)
      }
    case .state: try routeState(header, of: peer)
    case .contribution, .sum, .statistics, .returned: try routeRound(header, of: peer)
    case .hello:
      throw .unexpectedFrame(
        rank: peer.rank, field: .kind, expected: UInt64(FrameKind.alive.rawValue),
        found: UInt64(header.kind.rawValue))
    }
  }

  /// Has the payload read and forgotten.
  private func drop(_ header: FrameHeader, of peer: PeerLink) throws(ExchangeError) {
    let limit = options.pieceCountMax * MemoryLayout<Float>.stride
    let byteCount = Int(header.payloadByteCount)
    guard byteCount <= limit else {
      throw .corrupted(rank: peer.rank, .length(byteCount: byteCount, limit: limit))
    }
    if byteCount == 0 {
      peer.incoming = nil
    } else {
      peer.target = .discard(byteCount: header.followingByteCount)
    }
  }

  private func routeState(_ header: FrameHeader, of peer: PeerLink) throws(ExchangeError) {
    guard let cursor = peer.stateToReceive else {
      peer.pause = .state
      return
    }
    let part = cursor.part(countMax: options.pieceCountMax)
    try expect(.bucket, UInt64(cursor.window), UInt64(header.bucket), peer)
    try expect(.piece, UInt64(cursor.ordinal), UInt64(header.piece), peer)
    try expectLength(part.count * MemoryLayout<Float>.stride, header, peer)
    peer.target = .floats(part)
  }

  private func routeRound(_ header: FrameHeader, of peer: PeerLink) throws(ExchangeError) {
    let current = round?.request.number ?? finishedRound
    if header.round > current {
      peer.pause = .round
      return
    }
    guard let round else {
      throw .unexpectedFrame(
        rank: peer.rank, field: .round, expected: UInt64(finishedRound) + 1,
        found: UInt64(header.round))
    }
    try expect(.round, UInt64(current), UInt64(header.round), peer)
    try expect(.step, UInt64(round.request.step), header.step, peer)
    switch header.kind {
    case .contribution: try routeContribution(header, of: peer, in: round)
    case .sum: try routeSum(header, of: peer, in: round)
    case .returned:
      guard peer.hasLentSums, !peer.hasReturned, peer.sentSums == table.pieces[rank].count else {
        throw surplus(header, of: peer)
      }
      try expect(.length, 0, UInt64(header.payloadByteCount), peer)
      peer.incoming = nil
      peer.hasReturned = true
    default: try routeStatistics(header, of: peer)
    }
  }

  private func routeContribution(
    _ header: FrameHeader, of peer: PeerLink, in round: ExchangeRound
  ) throws(ExchangeError) {
    let pieces = table.pieces[rank]
    guard peer.nodeCount > 0, peer.receivedPiece < pieces.count else {
      throw surplus(header, of: peer)
    }
    let piece = pieces[peer.receivedPiece]
    let node = round.request.holdings[peer.rank][peer.receivedNode]
    try expect(piece, owner: rank, header, peer)
    let expected = UInt64(node.level) << 32 | UInt64(node.index)
    let found = UInt64(header.nodeLevel) << 32 | UInt64(header.nodeIndex)
    try expect(.node, expected, found, peer)
    guard piece.ordinal < round.summedCount + slots.groupCount else {
      peer.pause = .slots
      return
    }
    let input = peer.firstInput + peer.receivedNode
    take(header, of: peer, into: slots.slot(piece: piece, input: input))
  }

  private func routeSum(
    _ header: FrameHeader, of peer: PeerLink, in round: ExchangeRound
  ) throws(ExchangeError) {
    let pieces = table.pieces[peer.rank]
    guard peer.receivedSums < pieces.count else { throw surplus(header, of: peer) }
    let piece = pieces[peer.receivedSums]
    try expect(piece, owner: peer.rank, header, peer)
    take(header, of: peer, into: round.request.sum.part(piece))
  }

  private func take(_ header: FrameHeader, of peer: PeerLink, into rows: SharedRows<Float>) {
    peer.target = header.isLent ? .lent(rows) : .floats(rows)
  }

  private func routeStatistics(
    _ header: FrameHeader, of peer: PeerLink
  ) throws(ExchangeError) {
    guard peer.nodeCount > 0, !peer.hasStatistics else { throw surplus(header, of: peer) }
    try expectLength(8 * peer.statisticsWords.count, header, peer)
    peer.target = .words(peer.statisticsWords)
  }

  private func surplus(_ header: FrameHeader, of peer: PeerLink) -> ExchangeError {
    .unexpectedFrame(
      rank: peer.rank, field: .kind, expected: UInt64(FrameKind.alive.rawValue),
      found: UInt64(header.kind.rawValue))
  }

  private func expect(
    _ piece: Piece, owner: Int, _ header: FrameHeader, _ peer: PeerLink
  ) throws(ExchangeError) {
    try expect(.bucket, UInt64(piece.bucket), UInt64(header.bucket), peer)
    try expect(.segment, UInt64(owner), UInt64(header.segment), peer)
    try expect(.piece, UInt64(piece.ordinal), UInt64(header.piece), peer)
    if peer.memory == nil { try expect(.lent, 0, header.isLent ? 1 : 0, peer) }
    try expectLength(piece.byteCount, header, peer)
  }

  private func expectLength(
    _ byteCount: Int, _ header: FrameHeader, _ peer: PeerLink
  ) throws(ExchangeError) {
    try expect(.length, UInt64(byteCount), UInt64(header.payloadByteCount), peer)
  }

  private func expect(
    _ field: FrameField, _ expected: UInt64, _ found: UInt64, _ peer: PeerLink
  ) throws(ExchangeError) {
    guard expected == found else {
      throw .unexpectedFrame(rank: peer.rank, field: field, expected: expected, found: found)
    }
  }

  private func finishPayload(of peer: PeerLink) throws(ExchangeError) {
    guard let header = peer.incoming else { return }
    let isDropped = if case .discard = peer.target { true } else { false }
    var fault: ExchangeError?
    if case .lent(let rows) = peer.target { fault = borrow(header, of: peer, into: rows) }
    if fault == nil && !isDropped && peer.checksum != header.payloadChecksum {
      fault = .corrupted(
        rank: peer.rank,
        .payloadChecksum(found: header.payloadChecksum, computed: peer.checksum))
    }
    peer.incoming = nil
    peer.target = .header
    peer.payloadFilled = 0
    peer.checksum = 0
    if let fault {
      guard header.isLent else { throw fault }
      // A peer that has given up may use its memory for something else: the frame that says so, or
      // its end, is on its way.
      peer.doubt = (fault, now + doubtNanoseconds)
    } else if !isDropped {
      try take(header.kind, from: peer)
    }
  }

  /// Copies what a peer lends.
  ///
  /// - Returns: Why it cannot.
  private func borrow(
    _ header: FrameHeader, of peer: PeerLink, into rows: SharedRows<Float>
  ) -> ExchangeError? {
    do {
      try peer.borrow(into: rows)
    } catch {
      return .failed(
        rank: peer.rank, operation: "read the memory of", code: error.code ?? 0)
    }
    figures.bytesReceived += Int64(rows.byteCount)
    if header.kind == .sum { peer.hasBorrowedSums = true }
    return nil
  }

  /// A checked payload is in its place.
  private func take(_ kind: FrameKind, from peer: PeerLink) throws(ExchangeError) {
    switch kind {
    case .contribution:
      peer.receivedNode += 1
      guard peer.receivedNode == peer.nodeCount else { return }
      peer.receivedNode = 0
      peer.receivedPiece += 1
      try addUp()
    case .sum:
      peer.receivedSums += 1
      Failpoint.midGather.pass(step: round?.request.step ?? 0)
    case .statistics:
      guard var statistics = round?.statistics, let round else { return }
      try StatisticsPayload.read(
        peer.statisticsWords, nodes: round.request.holdings[peer.rank], rank: peer.rank,
        into: &statistics)
      self.round?.statistics = statistics
      peer.hasStatistics = true
    case .state:
      guard var cursor = peer.stateToReceive else { return }
      cursor.advance(by: cursor.part(countMax: options.pieceCountMax).count)
      peer.stateToReceive = cursor
      if cursor.isDone { finishState(from: peer) }
    case .hello, .alive, .abandon, .goodbye, .borrows, .returned: break
    }
  }
}
