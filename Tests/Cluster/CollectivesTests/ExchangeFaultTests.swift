import Collectives
import Planning
import System
import Tensors
import Testing
import Transport

/// Two ranks of which the second is played by the test, byte by byte.
struct Impostor {
  static let run: UInt64 = 42
  static let tree = SliceTree(sliceCount: 2)
  static let holdings = [[SliceNode.leaf(0)], [SliceNode.leaf(1)]]
  static let count = 64
  let exchange: GradientExchange
  let wire: Connection
  let buffers: RankBuffers

  init(options: ExchangeOptions = ExchangeOptions()) throws {
    try self.init(options: options, memories: [])
    begin()
  }

  /// - Parameters:
  ///   - memories: Whose memory rank 0 can read, by rank.
  ///   - count: Elements of the gradient.
  init(
    options: ExchangeOptions, memories: [ProcessMemory?], count: Int = Self.count
  ) throws {
    let (mine, theirs) = try Connection.pair()
    let mesh = Mesh(
      run: Self.run, view: 5, rank: 0, connections: [nil, mine], memories: memories)
    exchange = try GradientExchange(mesh: mesh, tree: Self.tree, options: options)
    wire = theirs
    buffers = RankBuffers(holding: Self.holdings[0], counts: [count]) { _, _ in 1 }
  }

  func begin() {
    exchange.begin(
      step: 3, holdings: Self.holdings, nodes: buffers.nodes, sum: buffers.sum,
      buckets: [0..<buffers.sum.count])
    exchange.setStatistics([.leaf(0): SliceStatistics(tokenCount: 1, lossSum: 1)])
    exchange.markReady(bucket: 0)
  }

  /// The contribution that is due from rank 1: the first 32 elements, all 2.
  static var contribution: (header: FrameHeader, payload: [UInt8]) {
    let payload = (0..<32).flatMap { _ in Float(2).bytes }
    var header = FrameHeader(kind: .contribution, run: run, view: 5)
    header.round = 1
    header.step = 3
    header.nodeIndex = 1
    header.payloadByteCount = UInt32(payload.count)
    header.payloadChecksum = CRC32C.checksum(payload)
    return (header, payload)
  }

  /// The sum of rank 1's half: 32 elements, all 3.
  static var sum: (header: FrameHeader, payload: [UInt8]) {
    let payload = (0..<32).flatMap { _ in Float(3).bytes }
    var header = contribution.header
    header.kind = .sum
    header.nodeIndex = 0
    header.segment = 1
    header.payloadChecksum = CRC32C.checksum(payload)
    return (header, payload)
  }

  static var statistics: (header: FrameHeader, payload: [UInt8]) {
    let words: [UInt64] = [1, 10, Double(2.5).bitPattern] + [UInt64](repeating: 0, count: 16)
    let payload = words.flatMap { word in
      (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    }
    var header = contribution.header
    header.kind = .statistics
    header.nodeIndex = 0
    header.payloadByteCount = UInt32(payload.count)
    header.payloadChecksum = CRC32C.checksum(payload)
    return (header, payload)
  }

  func send(_ header: FrameHeader, _ payload: [UInt8] = []) throws {
    let bytes = header.bytes + payload
    try wire.write(bytes, deadline: .after(.seconds(5)))
  }

  /// Everything that rank 1 owes.
  func sendAll() throws {
    for frame in [Self.statistics, Self.contribution, Self.sum] {
      try send(frame.header, frame.payload)
    }
  }
}

extension Float {
  var bytes: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: bitPattern >> (8 * $0)) } }
}

extension FrameHeader {
  var bytes: [UInt8] {
    let words = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
    words.withMutableSpan { write(into: &$0) }
    return words.array.flatMap { word in
      (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    }
  }

  static func parse(_ bytes: [UInt8]) throws -> FrameHeader {
    let words = (0..<8).map { word in
      (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[8 * word + $1]) << (8 * $1) }
    }
    return try FrameHeader(parsing: words.span)
  }
}

@Suite struct `Frame header` {
  @Test func `comes back from its bytes`() throws {
    var header = Impostor.contribution.header
    header.bucket = 7
    header.segment = .max
    header.nodeLevel = 3
    header.piece = 99
    #expect(try FrameHeader.parse(header.bytes) == header)
  }

  @Test func `only contributions and sums are lent, and not without a byte`() throws {
    var header = Impostor.sum.header
    header.isLent = true
    #expect(try FrameHeader.parse(header.bytes) == header)
    header.payloadByteCount = 0
    #expect(throws: FrameFault.reserved) { try FrameHeader.parse(header.bytes) }
    header = Impostor.statistics.header
    header.isLent = true
    #expect(throws: FrameFault.reserved) { try FrameHeader.parse(header.bytes) }
  }

  @Test func `every flipped bit is detected`() {
    let bytes = Impostor.contribution.header.bytes
    for bit in 0..<(8 * bytes.count) {
      var damaged = bytes
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(throws: FrameFault.self, "bit \(bit)") { try FrameHeader.parse(damaged) }
    }
  }

  @Test func `any bytes parse or throw, and never trap`() {
    let stream = RandomStream(seed: 3, purpose: 1)
    for round in 0..<5000 {
      let words = (0..<8).map { UInt64(stream.bits(at: UInt64(round * 8 + $0))) << 20 }
      _ = try? FrameHeader(parsing: words.span)
      _ = try? FrameHeader(parsing: words.span.extracting(0..<(round % 8)))
    }
  }
}

@Suite(.serialized) struct `Exchange with a faulty peer` {
  @Test func `the played peer is taken for a real one`() throws {
    let peer = try Impostor()
    try peer.sendAll()
    #expect(try peer.exchange.wait() == SliceStatistics(tokenCount: 11, lossSum: 3.5))
    #expect(peer.buffers.sum.windows[0].array == [Float](repeating: 3, count: 64))
  }

  @Test func `a flipped byte of a payload is detected and named`() throws {
    let peer = try Impostor()
    let header = Impostor.contribution.header
    var payload = Impostor.contribution.payload
    payload[17] ^= 4
    try peer.send(header, payload)
    #expect(
      throws: ExchangeError.corrupted(
        rank: 1,
        .payloadChecksum(found: header.payloadChecksum, computed: CRC32C.checksum(payload)))
    ) { try peer.exchange.wait() }
  }

  @Test func `a flipped byte of a header is detected and named`() throws {
    let peer = try Impostor()
    var bytes = Impostor.contribution.header.bytes
    bytes[30] ^= 1
    try peer.wire.write(bytes, deadline: .after(.seconds(5)))
    #expect {
      try peer.exchange.wait()
    } throws: { error in
      if case .corrupted(1, .headerChecksum) = error as? ExchangeError { true } else { false }
    }
  }

  @Test func `frames of an old view are dropped, whatever they carry`() throws {
    let peer = try Impostor()
    for byteCount in [0, 1, 7, 128, 100_001] {
      var (header, _) = Impostor.contribution
      header.view = 4
      header.payloadByteCount = UInt32(byteCount)
      try peer.send(header, [UInt8](repeating: 0xEE, count: byteCount))
    }
    try peer.sendAll()
    try peer.exchange.wait()
    #expect(peer.buffers.sum.windows[0].array == [Float](repeating: 3, count: 64))
    peer.exchange.close()
    #expect(peer.exchange.figures.staleFrameCount == 5)
  }

  static let changes: [(FrameField, @Sendable (inout FrameHeader) -> Void)] = [
    (.run, { $0.run += 1 }), (.view, { $0.view += 1 }), (.step, { $0.step += 1 }),
    (.round, { $0.round = 0 }), (.bucket, { $0.bucket = 1 }), (.segment, { $0.segment = 1 }),
    (.node, { $0.nodeIndex = 0 }), (.node, { $0.nodeLevel = 1 }), (.piece, { $0.piece = 1 }),
    (.length, { $0.payloadByteCount = .max }), (.length, { $0.payloadByteCount = 0 }),
    (.length, { $0.payloadByteCount += 4 }), (.kind, { $0.kind = .hello }),
    (.lent, { $0.isLent = true }), (.kind, { $0.kind = .returned }),
  ]

  @Test(arguments: changes.indices)
  func `a frame that is not due is refused before its payload is read`(index: Int) throws {
    let peer = try Impostor()
    let (field, change) = Self.changes[index]
    var header = Impostor.contribution.header
    change(&header)
    try peer.send(header)
    #expect {
      try peer.exchange.wait()
    } throws: { error in
      guard case .unexpectedFrame(1, field, _, _) = error as? ExchangeError else { return false }
      return true
    }
    let isUntouched = peer.buffers.sum.windows[0].array.allSatisfy { $0.isNaN }
    #expect(isUntouched)
  }

  @Test func `an oversized frame of an old view is refused as well`() throws {
    let peer = try Impostor()
    var header = Impostor.contribution.header
    header.view = 1
    header.payloadByteCount = .max
    try peer.send(header)
    #expect(
      throws: ExchangeError.corrupted(
        rank: 1, .length(byteCount: Int(UInt32.max), limit: 256 << 10))
    ) { try peer.exchange.wait() }
  }

  @Test func `one frame too many is refused`() throws {
    let peer = try Impostor()
    let (header, payload) = Impostor.contribution
    try peer.send(header, payload)
    try peer.send(header, payload)
    #expect {
      try peer.exchange.wait()
    } throws: { error in
      if case .unexpectedFrame(1, .kind, _, _) = error as? ExchangeError { true } else { false }
    }
  }

  @Test func `a silent peer is an error with its rank within the limit`() throws {
    var options = ExchangeOptions()
    options.silenceLimit = .milliseconds(100)
    let peer = try Impostor(options: options)
    let start = Clock.monotonicSeconds
    #expect(throws: ExchangeError.peerSilent(rank: 1, limit: .milliseconds(100))) {
      try peer.exchange.wait()
    }
    #expect(Clock.monotonicSeconds - start < 5)
  }

  @Test func `a peer that lives but owes its part ends the wait at its limit`() throws {
    var options = ExchangeOptions()
    options.waitLimit = .milliseconds(100)
    let peer = try Impostor(options: options)
    #expect(throws: ExchangeError.stalled(rank: 1, limit: .milliseconds(100))) {
      try peer.exchange.wait()
    }
  }

  @Test func `abort from another thread unblocks wait at once and frees the buffers`() throws {
    let peer = try Impostor()
    let exchange = peer.exchange
    let waiting = Background { try exchange.wait() }
    let start = Clock.monotonicSeconds
    exchange.abort()
    #expect(throws: ExchangeError.aborted) { try waiting.value() }
    #expect(Clock.monotonicSeconds - start < 1)
    #expect(throws: ExchangeError.aborted) { try exchange.wait() }
  }

  @Test func `a peer that gave up says whom it blames`() throws {
    let peer = try Impostor()
    var header = FrameHeader(kind: .abandon, run: Impostor.run, view: 5)
    header.segment = 9
    try peer.send(header)
    #expect(throws: ExchangeError.abandoned(by: 1, lostRank: 9)) { try peer.exchange.wait() }
  }

  @Test func `a dead peer is an error with its rank in well under a second`() throws {
    let tree = SliceTree(sliceCount: 8)
    let holdings = dealtHoldings(tree: tree, worldSize: 3)
    let meshes = try Mesh.local(worldSize: 3)
    let reported = Monitor<[ExchangeError]>([])
    let threads = (0..<2).map { rank in
      Background {
        let exchange = try GradientExchange(mesh: meshes[rank], tree: tree) { error in
          reported.update { $0.append(error) }
        }
        let buffers = RankBuffers(holding: holdings[rank], counts: [100_000]) { _, _ in 1 }
        let before = buffers.nodes.mapValues { $0.windows[0].array }
        let outcome = Result {
          try exchange.exchange(
            step: 0, holdings: holdings, buffers: buffers, buckets: [0..<100_000], seed: 0)
        }
        #expect(before == buffers.nodes.mapValues { $0.windows[0].array })
        return (outcome.failure, Clock.monotonicSeconds)
      }
    }
    // Rank 2 sends a part of what it owes and dies.
    var header = FrameHeader(kind: .contribution, run: 1, view: 1)
    header.round = 1
    let part = Array(header.bytes.prefix(40))
    try meshes[2].connections[0]?.write(part, deadline: .after(.seconds(5)))
    let start = Clock.monotonicSeconds
    meshes[2].close()
    for (rank, thread) in threads.enumerated() {
      let (failure, end) = try thread.value()
      let error = try #require(failure as? ExchangeError, "rank \(rank)")
      #expect(error.suspect == 2)
      #expect(end - start < 1)
    }
    #expect(reported.update { $0.count } == 2)
  }

  @Test func `a peer that leaves orderly after the last exchange is no failure`() throws {
    let tree = SliceTree(sliceCount: 8)
    let holdings = dealtHoldings(tree: tree, worldSize: 2)
    let meshes = try Mesh.local(worldSize: 2)
    let exchanges = try meshes.map { try GradientExchange(mesh: $0, tree: tree) }
    let results = (0..<2).map { rank in
      Background {
        try exchanges[rank].exchangeStatistics(
          step: 0, holdings: holdings, mine: statistics(of: holdings[rank], seed: 1))
      }
    }
    for result in results { _ = try result.value() }
    exchanges[0].close()
    // The next exchange cannot do without it, and says so.
    #expect(throws: ExchangeError.peerLost(rank: 0)) {
      try exchanges[1].exchangeStatistics(
        step: 1, holdings: holdings, mine: statistics(of: holdings[1], seed: 1))
    }
  }
}

extension Result {
  var failure: Failure? { if case .failure(let error) = self { error } else { nil } }
}
