internal import Planning
internal import System
internal import Tensors
internal import Transport

extension ExchangeLoop {
  /// How many pieces a rank lends an owner beyond those whose sums have come back.
  ///
  /// The checksum brings a piece into the cache, and its owner, on another core, takes it from
  /// there if it follows soon: without a limit the first rank to run reads all of its gradient
  /// first. 3 or 4 are best (docs/performance.md).
  private static let lentAheadMax = 4

  /// Sends what a peer is to get, as far as the kernel takes it.
  ///
  /// - Returns: Whether anything was sent.
  func send(to peer: PeerLink) throws(ExchangeError) -> Bool {
    for turn in 0..<Self.turnCount {
      guard !peer.isBlocked, !peer.isBroken, peer.outgoing != nil || prepare(peer) else {
        return turn > 0
      }
      do {
        guard let count = try peer.push() else {
          peer.isBlocked = true
          return turn > 0
        }
        figures.bytesSent += Int64(count)
      } catch {
        guard error.isConnectionLoss else {
          throw .failed(rank: peer.rank, operation: "send to", code: error.code ?? 0)
        }
        // What the peer said last is still to be read; its end comes after that.
        peer.isBroken = true
        return true
      }
      peer.lastSent = now
      if peer.outgoing == .contribution {
        Failpoint.midBucketSend.pass(step: round?.request.step ?? 0)
      }
      if peer.sentByteCount == peer.outgoingByteCount { finishFrame(to: peer) }
    }
    return true
  }

  /// Chooses the next frame: state first, because its receiver may not begin the round without
  /// it; then statistics, sums (still in the cache) and contributions.
  private func prepare(_ peer: PeerLink) -> Bool {
    if peer.hasEnded { return false }
    if prepareBorrowing(peer) || prepareState(peer) || prepareStatistics(peer) || prepareSum(peer)
      || prepareContribution(peer)
    {
      return true
    }
    guard now - peer.lastSent >= aliveNanoseconds else { return false }
    start(FrameHeader(kind: .alive, run: mesh.run, view: view), .none, byteCount: 0, on: peer)
    return true
  }

  /// Says that the peer may lend, then that nothing lent is read any more.
  private func prepareBorrowing(_ peer: PeerLink) -> Bool {
    if peer.memory != nil && !peer.hasSaidBorrows {
      start(FrameHeader(kind: .borrows, run: mesh.run, view: view), .none, byteCount: 0, on: peer)
      return true
    }
    guard let round, peer.hasBorrowedSums, !peer.hasSentReturn,
      peer.receivedSums == table.pieces[peer.rank].count
    else { return false }
    start(header(.returned, of: round), .none, byteCount: 0, on: peer)
    return true
  }

  private func prepareStatistics(_ peer: PeerLink) -> Bool {
    guard let round, round.hasOwnStatistics, !peer.hasSentStatistics else { return false }
    var header = header(.statistics, of: round)
    header.payloadChecksum = ownStatistics.withBytes { CRC32C.checksum($0) }
    start(header, .words(ownStatistics), byteCount: 8 * ownStatistics.count, on: peer)
    return true
  }

  private func prepareState(_ peer: PeerLink) -> Bool {
    guard let cursor = peer.statesToSend.first else { return false }
    let part = cursor.part(countMax: options.pieceCountMax)
    var header = FrameHeader(kind: .state, run: mesh.run, view: view)
    header.bucket = UInt32(cursor.window)
    header.piece = cursor.ordinal
    header.payloadChecksum = part.withBytes { CRC32C.checksum($0) }
    start(header, .floats(part), byteCount: part.count * MemoryLayout<Float>.stride, on: peer)
    return true
  }

  private func prepareSum(_ peer: PeerLink) -> Bool {
    guard let round, peer.sentSums < round.summedCount else { return false }
    let piece = table.pieces[rank][peer.sentSums]
    var header = header(.sum, of: round)
    header.bucket = UInt32(piece.bucket)
    header.segment = UInt32(rank)
    header.piece = UInt32(piece.ordinal)
    header.payloadChecksum = checksums[peer.sentSums]
    give(header, round.request.sum.part(piece), to: peer)
    return true
  }

  private func prepareContribution(_ peer: PeerLink) -> Bool {
    let pieces = table.pieces[peer.rank]
    guard let round, !round.mine.isEmpty, peer.sentPiece < pieces.count else { return false }
    let piece = pieces[peer.sentPiece]
    guard piece.bucket < round.readyCount else { return false }
    let isFarAhead = peer.sentPiece >= peer.receivedSums + Self.lentAheadMax
    // While the peer is not read, its sums are not heard, and they must not be waited for.
    if peer.canBorrow && peer.pause == nil && isFarAhead { return false }
    let node = round.request.holdings[rank][peer.sentNode]
    guard let buffer = round.request.nodes[node] else {
      preconditionFailure("no buffer for \(node), which this rank holds")
    }
    let part = buffer.part(piece)
    var header = header(.contribution, of: round)
    header.bucket = UInt32(piece.bucket)
    header.segment = UInt32(peer.rank)
    header.piece = UInt32(piece.ordinal)
    header.nodeLevel = UInt16(node.level)
    header.nodeIndex = UInt32(node.index)
    // Also brings the bytes into the cache, from where the kernel copies them next.
    header.payloadChecksum = part.withBytes { CRC32C.checksum($0) }
    give(header, part, to: peer)
    return true
  }

  private func header(_ kind: FrameKind, of round: ExchangeRound) -> FrameHeader {
    var header = FrameHeader(kind: kind, run: mesh.run, view: view)
    header.round = round.request.number
    header.step = UInt64(round.request.step)
    return header
  }

  /// Sends elements, or says where they lie to a peer that can read them there.
  private func give(_ header: FrameHeader, _ rows: SharedRows<Float>, to peer: PeerLink) {
    var header = header
    header.isLent = peer.canBorrow
    peer.outgoingAddress[0] = rows.address.littleEndian
    start(
      header, header.isLent ? .words(peer.outgoingAddress) : .floats(rows),
      byteCount: rows.byteCount, on: peer)
  }

  private func start(
    _ header: FrameHeader, _ payload: OutgoingPayload, byteCount: Int, on peer: PeerLink
  ) {
    var header = header
    header.payloadByteCount = UInt32(byteCount)
    peer.outgoingHeader.withMutableSpan { header.write(into: &$0) }
    peer.outgoing = header.kind
    peer.payload = payload
    peer.outgoingByteCount = FrameHeader.byteCount + header.followingByteCount
    peer.lentByteCount = header.isLent ? byteCount : 0
    peer.sentByteCount = 0
  }

  private func finishFrame(to peer: PeerLink) {
    let kind = peer.outgoing
    peer.outgoing = nil
    peer.payload = .none
    figures.bytesSent += Int64(peer.lentByteCount)
    figures.bytesLent += Int64(peer.lentByteCount)
    switch kind {
    case .contribution:
      peer.sentNode += 1
      if peer.sentNode == round?.mine.count {
        peer.sentNode = 0
        peer.sentPiece += 1
      }
    case .sum:
      peer.sentSums += 1
      if peer.lentByteCount > 0 { peer.hasLentSums = true }
    case .statistics: peer.hasSentStatistics = true
    case .borrows: peer.hasSaidBorrows = true
    case .returned: peer.hasSentReturn = true
    case .state:
      let part = peer.statesToSend[0].part(countMax: options.pieceCountMax)
      peer.statesToSend[0].advance(by: part.count)
      if peer.statesToSend[0].isDone {
        peer.statesToSend.removeFirst()
        state.update { $0.sendingStateCount -= 1 }
      }
    case .hello, .alive, .abandon, .goodbye, nil: break
    }
  }

  /// One last frame, if none is on its way and the kernel takes it at once; the end of the stream
  /// says the rest.
  ///
  /// - Returns: Whether the frame has left.
  func sendLast(_ kind: FrameKind, to peer: PeerLink, because suspect: Int?) -> Bool {
    guard peer.outgoing == nil, !peer.isBlocked, !peer.isBroken, !peer.hasEnded else {
      return false
    }
    var header = FrameHeader(kind: kind, run: mesh.run, view: view)
    header.segment = suspect.map { UInt32($0) } ?? .max
    start(header, .none, byteCount: 0, on: peer)
    do { _ = try peer.push() } catch { peer.isBroken = true }
    return peer.sentByteCount == peer.outgoingByteCount
  }
}

extension PeerLink {
  /// Forgets the last round's progress.
  func beginRound(nodeCount: Int, firstInput: Int) {
    self.nodeCount = nodeCount
    self.firstInput = firstInput
    receivedPiece = 0
    receivedNode = 0
    receivedSums = 0
    hasStatistics = false
    sentPiece = 0
    sentNode = 0
    sentSums = 0
    hasSentStatistics = false
    hasLentSums = false
    hasReturned = false
    hasBorrowedSums = false
    hasSentReturn = false
    let wordCount = max(1, StatisticsPayload.wordsPerNode * nodeCount)
    if statisticsWords.count != wordCount {
      statisticsWords = AlignedStorage<UInt64>(count: wordCount, filledWith: 0).rows
    }
  }

  /// Lets go of memory that belongs to the callers.
  func dropBuffers() {
    target = .header
    payload = .none
    // A frame cut short stays recorded as under way, so that nothing is sent after its part.
    statesToSend = []
    stateToReceive = nil
  }
}
