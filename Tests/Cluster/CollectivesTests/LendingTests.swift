import Collectives
import Planning
import System
import Tensors
import Testing
import Transport

/// An impostor that lends what it owes.
private struct Lender {
  let peer: Impostor
  /// What rank 1 lends: the sum of its half, then its contribution to the other half.
  let memory = AlignedStorage<Float>(count: Impostor.count, filledWith: 0).rows

  /// - Parameters:
  ///   - pieceCountMax: Elements of a piece; a half has 32.
  ///   - count: Elements of the gradient, if it is another one.
  ///   - doubtLimit: Far beyond what a busy machine may delay a thread, unless its end is wanted.
  init(
    pieceCountMax: Int = 32, count: Int = Impostor.count, doubtLimit: Duration = .seconds(20)
  ) throws {
    var options = ExchangeOptions()
    options.pieceCountMax = pieceCountMax
    options.doubtLimit = doubtLimit
    options.waitLimit = .seconds(30)
    peer = try Impostor(options: options, memories: [nil, .own], count: count)
    for index in 0..<32 {
      memory[index] = 3
      memory[32 + index] = 2
    }
  }

  /// Says that rank 0 may lend too. Before it begins it has nothing to send, and it reads first.
  func borrow() throws { try peer.send(FrameHeader(kind: .borrows, run: Impostor.run, view: 5)) }

  /// A frame whose payload lies at `address`, or in ``memory``.
  func lend(_ header: FrameHeader, piece: Int = 0, at address: UInt64? = nil) throws {
    var header = header
    header.isLent = true
    header.piece = UInt32(piece)
    let count = Int(header.payloadByteCount) / 4
    let start = (header.kind == .sum ? 0 : 32) + piece * count
    let word = address ?? memory[start..<start + count].address
    try peer.send(header, (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) })
  }

  /// Borrows, lets rank 0 begin, and lends everything that rank 1 owes.
  func lendAll() throws {
    try borrow()
    try peer.send(Impostor.statistics.header, Impostor.statistics.payload)
    peer.begin()
    try lend(Impostor.contribution.header)
    try lend(Impostor.sum.header)
  }

  /// The next frame of rank 0, with the bytes that follow it; nil when none comes in time.
  func next(within limit: Duration = .seconds(5)) throws -> (FrameHeader, [UInt8])? {
    var bytes = [UInt8](repeating: 0, count: FrameHeader.byteCount)
    var filled = 0
    do {
      guard try peer.wire.read(into: &bytes, filled: &filled, deadline: .after(limit)) else {
        return nil
      }
    } catch TransportError.timedOut {
      return nil
    }
    let header = try FrameHeader.parse(bytes)
    var following = [UInt8](repeating: 0, count: header.followingByteCount)
    filled = 0
    if !following.isEmpty {
      _ = try peer.wire.read(into: &following, filled: &filled, deadline: .after(limit))
    }
    return (header, following)
  }

  /// Frames until one of this kind, or until the end.
  func kinds(until last: FrameKind) throws -> [FrameKind] {
    var kinds: [FrameKind] = []
    while kinds.last != last, let (header, _) = try next() { kinds.append(header.kind) }
    return kinds
  }

  /// Rank 1 has copied all sums.
  func sayReturned() throws {
    var header = Impostor.statistics.header
    header.kind = .returned
    header.payloadByteCount = 0
    try peer.send(header)
  }
}

extension FrameHeader {
  /// Of a part of the payload, all of whose elements are equal.
  fileprivate func part(_ share: Int, of value: Float) -> FrameHeader {
    var header = self
    header.payloadByteCount /= UInt32(share)
    let payload = (0..<Int(header.payloadByteCount) / 4).flatMap { _ in value.bytes }
    header.payloadChecksum = CRC32C.checksum(payload)
    return header
  }
}

@Suite(.serialized, .enabled(if: ProcessMemory.obstacle == nil))
struct `Lending between ranks of one machine` {
  static let tree = SliceTree(sliceCount: 8)

  /// One exchange between three ranks, of which the last begins late; sums and bytes by rank.
  private func exchange(
    isLending: Bool, count: Int, _ options: ExchangeOptions, isMet: Bool
  ) throws -> [(sum: [UInt32], sent: Int, lent: Int)] {
    let holdings = dealtHoldings(tree: Self.tree, worldSize: 3)
    let meshes = try loopbackMeshes(worldSize: 3, isLending: isLending)
    for mesh in meshes {
      #expect(mesh.memories.count { $0 != nil } == (isLending ? 2 : 0))
    }
    return try onAllRanks(meshes) { mesh in
      if mesh.rank == 2 { pauseThread(milliseconds: 30) }
      let exchange = try GradientExchange(mesh: mesh, tree: Self.tree, options: options)
      if isMet {
        // Once all have met, all have said that they borrow.
        _ = try exchange.exchangeStatistics(
          step: 0, holdings: holdings, mine: statistics(of: holdings[mesh.rank], seed: 1))
      }
      let before = exchange.figures
      let buffers = RankBuffers(holding: holdings[mesh.rank], counts: [count]) {
        wildValue(seed: 11, slice: $0, index: $1)
      }
      _ = try exchange.exchange(
        step: 1, holdings: holdings, buffers: buffers, buckets: [0..<count], seed: 11)
      let after = exchange.figures
      exchange.close()
      return (
        buffers.sum.windows[0].array.map(\.bitPattern), Int(after.bytesSent - before.bytesSent),
        Int(after.bytesLent - before.bytesLent))
    }
  }

  private func expected(_ count: Int) -> [UInt32] {
    (0..<count).map { index in
      RankBuffers.treeValue(Self.tree.root) {
        wildValue(seed: 11, slice: $0, index: index)
      }.bitPattern
    }
  }

  @Test(arguments: [true, false])
  func `sums are the tree's, and over TCP only what is not lent`(isLending: Bool) throws {
    let count = 30_000
    let found = try exchange(
      isLending: isLending, count: count, `Gradient exchange`.options, isMet: true)
    let holdings = dealtHoldings(tree: Self.tree, worldSize: 3)
    for (rank, (sum, sent, lent)) in found.enumerated() {
      #expect(sum == expected(count))
      // Every node I hold to two thirds of the owners, and my third to two: 4 bytes an element.
      let payload = 4 * count / 3 * 2 * (holdings[rank].count + 1)
      #expect(lent == (isLending ? payload : 0))
      // Headers: 72 bytes for 1 KiB at most here.
      #expect(sent > payload && sent < payload * 9 / 8)
    }
  }

  /// 40 pieces of each owner and room for two, first contributions over TCP, before the others are
  /// known to borrow: who waits for a slot and who waits for sums must not wait in a circle.
  @Test(arguments: 0..<8) func `few slots and a late rank do not lock up`(turn: Int) throws {
    var options = ExchangeOptions()
    options.pieceCountMax = 256
    options.slotByteCount = 2 * 6 * 256 * 4
    options.waitLimit = .seconds(20)
    let count = 30_000
    let found = try exchange(isLending: true, count: count, options, isMet: false)
    for (sum, _, _) in found { #expect(sum == expected(count)) }
  }

  @Test func `what is lent arrives`() throws {
    let lender = try Lender()
    lender.peer.begin()
    try lender.peer.send(Impostor.statistics.header, Impostor.statistics.payload)
    try lender.lend(Impostor.contribution.header)
    try lender.lend(Impostor.sum.header)
    #expect(try lender.peer.exchange.wait() == SliceStatistics(tokenCount: 11, lossSum: 3.5))
    #expect(lender.peer.buffers.sum.windows[0].array == [Float](repeating: 3, count: 64))
    // It said that it borrows, and at the end that nothing lent is read any more.
    #expect(try lender.kinds(until: .returned).first == .borrows)
  }

  @Test func `a sum that is lent is kept until it has been returned`() throws {
    let lender = try Lender()
    try lender.lendAll()
    var kinds: [FrameKind] = []
    while !kinds.contains(.sum) || !kinds.contains(.returned),
      let (header, following) = try lender.next()
    {
      kinds.append(header.kind)
      guard header.kind == .sum else { continue }
      #expect(header.isLent)
      let address = following.reversed().reduce(0) { $0 << 8 | UInt64($1) }
      #expect(address == lender.peer.buffers.sum.windows[0].address)
    }
    // It has everything and has sent everything, yet the caller may not have the buffer back.
    #expect(throws: ExchangeError.stalled(rank: 1, limit: .milliseconds(100))) {
      try lender.peer.exchange.wait(atMost: .milliseconds(100))
    }
    #expect(kinds.contains(.returned))
    #expect(try lender.kinds(until: .abandon).last == .abandon)
  }

  @Test func `a sum that has been returned ends the exchange`() throws {
    let lender = try Lender()
    try lender.lendAll()
    #expect(try lender.kinds(until: .sum).last == .sum)
    try lender.sayReturned()
    try lender.peer.exchange.wait()
  }

  @Test func `only some pieces are lent ahead of the sums`() throws {
    // Ten pieces for each rank.
    let lender = try Lender(count: 640)
    try lender.borrow()
    lender.peer.begin()
    var contributionCount = 0
    // The first of them may take their time; then no other comes.
    func read(until count: Int) throws {
      while let (header, _) = try lender.next(
        within: contributionCount < count ? .seconds(5) : .milliseconds(100))
      {
        if header.kind == .contribution { contributionCount += 1 }
      }
    }
    try read(until: 4)
    #expect(contributionCount == 4)
    for piece in 0..<3 {
      try lender.lend(Impostor.sum.header, piece: piece, at: lender.memory.address)
    }
    try read(until: 7)
    #expect(contributionCount == 7)
    lender.peer.exchange.abort()
  }

  @Test func `a peer may say that it borrows between two sums`() throws {
    let lender = try Lender(pieceCountMax: 16)
    lender.peer.begin()
    try lender.peer.send(Impostor.statistics.header, Impostor.statistics.payload)
    let part = Impostor.contribution.header.part(2, of: 2)
    try lender.lend(part, piece: 0)
    var sums: [Bool] = []
    func nextSum() throws {
      while let (header, _) = try lender.next() {
        if header.kind == .sum { return sums.append(header.isLent) }
      }
    }
    try nextSum()
    try lender.borrow()
    try lender.lend(part, piece: 1)
    try nextSum()
    #expect(sums == [false, true])
    for piece in 0..<2 { try lender.lend(Impostor.sum.header.part(2, of: 3), piece: piece) }
    try lender.sayReturned()
    try lender.peer.exchange.wait()
    #expect(lender.peer.buffers.sum.windows[0].array == [Float](repeating: 3, count: 64))
  }

  @Test func `peers hear of an end before the caller may use its buffers again`() throws {
    let lender = try Lender()
    try lender.borrow()
    lender.peer.begin()
    #expect(try lender.kinds(until: .contribution).last == .contribution)
    lender.peer.exchange.abort()
    #expect(throws: ExchangeError.aborted) { try lender.peer.exchange.wait() }
    var kinds: [FrameKind] = []
    while let (header, _) = try lender.next(within: .zero) { kinds.append(header.kind) }
    #expect(kinds.last == .abandon)
  }

  @Test func `a lent payload that differs from its checksum is detected and named`() throws {
    let lender = try Lender(doubtLimit: .milliseconds(100))
    lender.peer.begin()
    lender.memory[40] = 7
    try lender.lend(Impostor.contribution.header)
    #expect {
      try lender.peer.exchange.wait()
    } throws: { error in
      if case .corrupted(1, .payloadChecksum) = error as? ExchangeError { true } else { false }
    }
  }

  @Test func `where nothing lies is an error with the peer's rank`() throws {
    let lender = try Lender(doubtLimit: .milliseconds(100))
    lender.peer.begin()
    try lender.lend(Impostor.contribution.header, at: 8)
    // 14: EFAULT.
    #expect(
      throws: ExchangeError.failed(rank: 1, operation: "read the memory of", code: 14)
    ) { try lender.peer.exchange.wait() }
  }

  @Test(arguments: [nil, UInt64(8)])
  func `a peer that gave up may use its memory again, and is not blamed`(
    address: UInt64?
  ) throws {
    let lender = try Lender()
    lender.memory[40] = 7
    lender.peer.begin()
    try lender.lend(Impostor.contribution.header, at: address)
    try lender.lend(Impostor.sum.header, at: address)
    // What was said last may take its time.
    pauseThread(milliseconds: 50)
    var header = FrameHeader(kind: .abandon, run: Impostor.run, view: 5)
    header.segment = 9
    try lender.peer.send(header)
    #expect(throws: ExchangeError.abandoned(by: 1, lostRank: 9)) {
      try lender.peer.exchange.wait()
    }
  }

  @Test func `a peer that ended may use its memory again`() throws {
    let lender = try Lender()
    lender.memory[40] = 7
    lender.peer.begin()
    try lender.lend(Impostor.contribution.header)
    lender.peer.wire.close()
    #expect(throws: ExchangeError.peerLost(rank: 1)) { try lender.peer.exchange.wait() }
  }

  @Test func `nothing returned that was not lent`() throws {
    let lender = try Lender()
    lender.peer.begin()
    try lender.sayReturned()
    #expect {
      try lender.peer.exchange.wait()
    } throws: { error in
      if case .unexpectedFrame(1, .kind, _, _) = error as? ExchangeError { true } else { false }
    }
  }

  @Test func `a hello that lies about its memory is no reason to read there`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    let addresses = [listener.address, Address(host: "127.0.0.1", port: 9)]
    let words = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
    // The process is this one, but the bytes there are others; then nothing at all lies there.
    for address in [words.address, 8] {
      let building = Background {
        try Mesh.build(
          run: 7, view: 1, rank: 0, addresses: addresses, listener: listener,
          deadline: .after(.seconds(20)))
      }
      var hello = FrameHeader(kind: .hello, run: 7, view: 1)
      hello.bucket = 1
      hello.piece = 2
      hello.round = UInt32(ProcessMemory.own.process)
      hello.step = address
      let guest = try Connection.connect(to: addresses[0], deadline: .after(.seconds(5)))
      try guest.write(hello.bytes, deadline: .after(.seconds(5)))
      #expect(try building.value().memories == [nil, nil])
    }
  }
}

@Suite(.enabled(if: ProcessMemory.obstacle == nil)) struct `Memory of a process` {
  @Test func `is read where it lies, and refused where nothing does`() throws {
    let there = AlignedStorage<UInt64>(count: 1000, filledWith: 0).rows
    for index in 0..<there.count { there[index] = UInt64(index) &* 0x9E37_79B9_7F4A_7C15 }
    let here = AlignedStorage<UInt64>(count: 1000, filledWith: 0).rows
    try here.withMutableBytes { try ProcessMemory.own.read(at: there.address, into: &$0) }
    #expect(here.array == there.array)
    #expect(throws: SystemError.self) {
      try here.withMutableBytes { try ProcessMemory.own.read(at: 8, into: &$0) }
    }
    let child = try ChildProcess(["/bin/true"])
    _ = child.exitCode(waiting: true)
    #expect(throws: SystemError.self) {
      try here.withMutableBytes {
        try ProcessMemory(process: child.identifier).read(at: there.address, into: &$0)
      }
    }
  }
}
