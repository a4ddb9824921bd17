internal import System
internal import Tensors
internal import Transport

/// What the building of a mesh ends with, by rank.
struct MeshLinks {
  var connections: [Connection?]
  var memories: [ProcessMemory?]
  /// What was said to others; it must stay where it is as long as the mesh.
  var hellos: [SharedRows<UInt64>] = []
}

/// One rank's building of a mesh: a poll loop over the listener, guests and hosts.
struct MeshBuilder {
  /// A connection on which a hello is awaited.
  private struct Candidate {
    let connection: Connection
    /// nil: a guest that has not said who it is.
    let rank: Int?
    let deadline: Deadline
    var words = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
    var filled = 0
  }

  private let run: UInt64
  private let view: UInt32
  private let rank: Int
  private let addresses: [Address]
  private let listener: Listener
  private let congestion: String
  private let isLending: Bool
  private let deadline: Deadline
  private let cancel: WakeEvent?

  private var candidates: [Candidate] = []
  private var links: MeshLinks
  /// When to try a lower rank again.
  private var retries: [Int: Deadline] = [:]
  /// Until then every rank may still be on its way.
  private let firstAttempt: Deadline

  /// How long a stranger may hold a place without a word, and how many strangers may.
  private static let helloLimit: Duration = .seconds(2)
  private static let candidateCountMax = 64
  /// A rank that is still closing its old view is back within this time.
  private static let retryPause: Duration = .milliseconds(50)
  private static let connectLimit: Duration = .seconds(2)

  init(
    run: UInt64, view: Int, rank: Int, addresses: [Address], listener: Listener,
    congestion: String, isLending: Bool, deadline: Deadline, cancel: WakeEvent?
  ) {
    precondition(addresses.indices.contains(rank), "rank \(rank) of \(addresses.count)")
    precondition(view >= 0 && view <= UInt32.max, "view \(view) is outside 32 bits")
    self.run = run
    self.view = UInt32(view)
    self.rank = rank
    self.addresses = addresses
    self.listener = listener
    self.congestion = congestion
    self.isLending = isLending
    self.deadline = deadline
    self.cancel = cancel
    firstAttempt = .after(Self.connectLimit)
    links = MeshLinks(
      connections: Array(repeating: nil, count: addresses.count),
      memories: Array(repeating: nil, count: addresses.count))
    for lower in 0..<rank { retries[lower] = .after(.zero) }
  }

  private var missing: [Int] {
    links.connections.indices.filter { $0 != rank && links.connections[$0] == nil }
  }

  /// - Throws: As ``Mesh`` says where it is built.
  mutating func build() throws(MeshError) -> MeshLinks {
    while !missing.isEmpty {
      if deadline.hasPassed { throw incompleteness }
      connectToLowerRanks()
      try waitAndServe()
    }
    for candidate in candidates { candidate.connection.close() }
    return links
  }

  private var incompleteness: MeshError {
    let ranks = missing
    return .incomplete(
      missing: ranks, names: ranks.map { "rank \($0) at \(addresses[$0])" }.joined(separator: ", "))
  }

  private mutating func connectToLowerRanks() {
    for (lower, moment) in retries.sorted(by: { $0.key < $1.key }) where moment.hasPassed {
      retries[lower] = nil
      let limit = min(deadline, .after(Self.connectLimit))
      do {
        let connection = try Connection.connect(
          to: addresses[lower], congestion: congestion, deadline: limit)
        try sayHello(on: connection, to: lower)
        candidates.append(Candidate(connection: connection, rank: lower, deadline: deadline))
      } catch {
        // Not there yet, or gone again: the deadline decides how often that may be.
        retries[lower] = .after(Self.retryPause)
      }
    }
  }

  private mutating func sayHello(
    on connection: Connection, to peer: Int
  ) throws(TransportError) {
    var hello = FrameHeader(kind: .hello, run: run, view: view)
    hello.bucket = UInt32(rank)
    hello.segment = UInt32(peer)
    hello.piece = UInt32(addresses.count)
    let words = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
    if isLending {
      hello.round = UInt32(bitPattern: ProcessMemory.own.process)
      hello.step = words.address
      hello.nodeIndex = .random(in: 0...UInt32.max)
      links.hellos.append(words)
    }
    words.withMutableSpan { hello.write(into: &$0) }
    try words.withBytes { (bytes) throws(TransportError) in
      try connection.write(bytes, deadline: min(deadline, .after(Self.helloLimit)))
    }
  }

  private mutating func waitAndServe() throws(MeshError) {
    var set = PollSet()
    let isFull = candidates.count >= Self.candidateCountMax
    let listening = set.add(listener.raw, isFull ? [] : .readable)
    let cancelling = cancel.map { set.add($0.raw, .readable) }
    let first = candidates.map { set.add($0.connection.socket.raw, .readable) }
    var moment = deadline
    for other in retries.values { moment = min(moment, other) }
    for candidate in candidates { moment = min(moment, candidate.deadline) }
    do {
      try set.wait(until: moment)
    } catch {
      throw .transport(.failed(operation: "poll", peer: "mesh", code: error.code ?? 0))
    }
    if let cancelling, set.found(cancelling).contains(.readable) {
      throw firstAttempt.hasPassed ? incompleteness : .cancelled
    }
    serveCandidates(readable: first.map { !set.found($0).isEmpty })
    if !set.found(listening).isEmpty, let guest = try nextGuest() {
      candidates.append(
        Candidate(connection: guest, rank: nil, deadline: .after(Self.helloLimit)))
    }
  }

  private func nextGuest() throws(MeshError) -> Connection? {
    do { return try listener.acceptNow() } catch { throw .transport(error) }
  }

  private mutating func serveCandidates(readable: [Bool]) {
    var kept: [Candidate] = []
    for (index, candidate) in candidates.enumerated() {
      var candidate = candidate
      switch readable[index] ? advance(&candidate) : .waiting {
      case .waiting where !candidate.deadline.hasPassed: kept.append(candidate)
      case .done(let peer):
        links.connections[peer]?.close()
        links.connections[peer] = candidate.connection
        links.memories[peer] = memory(of: candidate)
      case .waiting, .refused:
        candidate.connection.close()
        if let lower = candidate.rank { retries[lower] = .after(Self.retryPause) }
      }
    }
    candidates = kept
  }

  /// The memory of a peer on this machine, where this process may read it: what it has said must
  /// lie there, where it says so. Another process, or another machine, has other bytes there.
  private func memory(of candidate: Candidate) -> ProcessMemory? {
    guard isLending, let here = candidate.connection.localAddress?.host,
      here == candidate.connection.remoteAddress?.host,
      let hello = candidate.words.withSpan({ try? FrameHeader(parsing: $0) }), hello.round > 0,
      // Where this process itself has them, they tell nothing.
      hello.step != candidate.words.address
    else { return nil }
    let memory = ProcessMemory(process: Int32(bitPattern: hello.round))
    let found = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
    do {
      try found.withMutableBytes { (bytes) throws(SystemError) in
        try memory.read(at: hello.step, into: &bytes)
      }
    } catch {
      return nil
    }
    return found.array == candidate.words.array ? memory : nil
  }

  private enum Outcome {
    case waiting, refused
    case done(rank: Int)
  }

  /// Reads what has come of a hello and answers a guest whose hello is whole.
  private mutating func advance(_ candidate: inout Candidate) -> Outcome {
    let connection = candidate.connection
    var filled = candidate.filled
    do {
      let isOpen = try candidate.words.withMutableBytes { (bytes) throws(TransportError) in
        try connection.read(into: &bytes, filled: &filled, deadline: .after(.zero))
      }
      guard isOpen else { return .refused }
    } catch .timedOut {
      candidate.filled = filled
      return .waiting
    } catch {
      return .refused
    }
    let words = candidate.words
    guard let hello = words.withSpan({ try? FrameHeader(parsing: $0) }) else { return .refused }
    let peer = Int(hello.bucket)
    guard
      hello.kind == .hello, hello.run == run, hello.view == view, Int(hello.segment) == rank,
      Int(hello.piece) == addresses.count, peer < addresses.count,
      candidate.rank.map({ $0 == peer }) ?? (peer > rank)
    else { return .refused }
    // A higher rank that comes again has given its earlier connection up: the newer one counts.
    if candidate.rank == nil {
      do { try sayHello(on: connection, to: peer) } catch { return .refused }
    }
    return .done(rank: peer)
  }
}
