internal import Synchronization
public import System

/// A stream of bytes to one peer, with a deadline on every wait.
///
/// One thread may read while another writes; ``close()`` may be called by a third and wakes both.
public final class Connection: Sendable {
  /// Who is at the other end, for errors: HOST:PORT, or the name given.
  public let peer: String
  /// For poll loops. Shut down by ``close()``; the descriptor goes with the last reference.
  public let socket: Socket
  private let isClosedHere = Atomic<Bool>(false)

  /// Takes over a connected socket.
  public init(_ socket: Socket, peer: String) {
    self.socket = socket
    self.peer = peer
  }

  deinit { socket.shutdown() }

  /// Connects, trying the host's addresses in turn.
  ///
  /// - Parameter congestion: The congestion control to ask for; the system's stays where the
  ///   kernel lacks it, and ``congestion`` says which runs.
  /// - Throws: ``TransportError``, of the last address tried.
  public static func connect(
    to address: Address, congestion: String = defaultCongestion, deadline: Deadline
  ) throws(TransportError) -> Connection {
    let peer = address.description
    var failure = TransportError.unresolved(host: address.host, reason: "no address")
    for candidate in try address.resolved(isPassive: false) {
      do {
        let socket = try open(candidate, peer: peer, congestion: congestion, deadline: deadline)
        return Connection(socket, peer: peer)
      } catch {
        failure = error
        if deadline.hasPassed { break }
      }
    }
    throw failure
  }

  /// Cubic: on loopback and on quiet networks twice the bandwidth of bbr (docs/performance.md).
  public static let defaultCongestion = "cubic"

  /// Two ends of one connection inside this process.
  ///
  /// - Throws: ``TransportError/failed(operation:peer:code:)``.
  public static func pair(
    peers: (String, String) = ("end 0", "end 1")
  ) throws(TransportError) -> (Connection, Connection) {
    do {
      let (a, b) = try Socket.pair()
      return (Connection(a, peer: peers.1), Connection(b, peer: peers.0))
    } catch {
      throw TransportError(error, operation: "socketpair", peer: peers.1)
    }
  }

  private static func open(
    _ address: SocketAddress, peer: String, congestion: String, deadline: Deadline
  ) throws(TransportError) -> Socket {
    let socket: Socket
    let code: Int32
    do {
      socket = try Socket(for: address)
      prepare(socket, congestion: congestion)
      if try socket.connect(to: address) { return socket }
      guard try wait(for: .writable, of: socket, until: deadline) else {
        throw TransportError.timedOut(operation: "connect", peer: peer)
      }
      code = socket.pendingError
    } catch let error as TransportError {
      throw error
    } catch {
      // A refused or reset handshake is a failure to connect, not a lost connection.
      throw .failed(operation: "connect", peer: peer, code: (error as? SystemError)?.code ?? 0)
    }
    guard code == 0 else { throw .failed(operation: "connect", peer: peer, code: code) }
    return socket
  }

  /// The options of every TCP socket of ours.
  static func prepare(_ socket: Socket, congestion: String) {
    socket.setNoDelay()
    _ = socket.setCongestion(congestion)
  }

  /// The congestion control in use; nil for a connection inside this process.
  public var congestion: String? { socket.congestion }
  /// This end, as seen here; nil for a connection inside this process.
  public var localAddress: Address? { Address(socket.localAddress) }
  /// The other end, as seen here; nil when it is gone or inside this process.
  public var remoteAddress: Address? { Address(socket.peerAddress) }

  /// Writes all of `first`, then all of `second`.
  ///
  /// - Throws: ``TransportError``. After a timeout part of the bytes may have gone: close it.
  public func write(
    _ first: RawSpan, _ second: RawSpan = RawSpan(), deadline: Deadline
  ) throws(TransportError) {
    let byteCount = first.byteCount + second.byteCount
    var offset = 0
    while offset < byteCount {
      switch try attempt("write to", { () throws(SystemError) in
        try socket.send(first, second, from: offset)
      }) {
      case .moved(let count): offset += count
      case .wouldBlock: try wait(for: .writable, "write to", deadline)
      case .ended: throw loss
      }
    }
  }

  /// Writes all of `bytes`.
  ///
  /// - Throws: as ``write(_:_:deadline:)``.
  public func write(_ bytes: [UInt8], deadline: Deadline) throws(TransportError) {
    try bytes.withRawSpan { (bytes) throws(TransportError) in
      try write(bytes, deadline: deadline)
    }
  }

  /// Fills `bytes` from `filled` on, as the reading of a span does.
  public func read(
    into bytes: inout [UInt8], filled: inout Int, deadline: Deadline
  ) throws(TransportError) -> Bool {
    try bytes.withMutableRawSpan { (bytes) throws(TransportError) in
      try read(into: &bytes, filled: &filled, deadline: deadline)
    }
  }

  /// Fills `target` from `filled` on; `filled` tells how far it came, also when it throws.
  ///
  /// - Returns: False when the peer ended the connection orderly.
  /// - Throws: ``TransportError``. After a timeout the call may be repeated.
  public func read(
    into target: inout MutableRawSpan, filled: inout Int, deadline: Deadline
  ) throws(TransportError) -> Bool {
    while filled < target.byteCount {
      let progress: SocketProgress
      do {
        var nothing = MutableRawSpan()
        progress = try socket.receive(into: &target, from: filled, then: &nothing)
      } catch {
        throw failure("read from", error)
      }
      switch progress {
      case .moved(let count): filled += count
      case .wouldBlock: try wait(for: .readable, "read from", deadline)
      case .ended:
        if isClosed { throw .closed(peer: peer) }
        return false
      }
    }
    return true
  }

  /// Ends the connection at once, from any thread; reads and writes in progress throw
  /// ``TransportError/closed(peer:)``.
  public func close() {
    isClosedHere.store(true, ordering: .sequentiallyConsistent)
    socket.shutdown()
  }

  /// Whether ``close()`` was called.
  public var isClosed: Bool { isClosedHere.load(ordering: .sequentiallyConsistent) }

  /// Tells the peer that nothing more comes; it reads an orderly end after the last byte.
  public func finishWriting() { socket.shutdownSending() }

  private var loss: TransportError {
    isClosed ? .closed(peer: peer) : .connectionLost(peer: peer)
  }

  private func failure(_ operation: String, _ error: SystemError) -> TransportError {
    isClosed
      ? .closed(peer: peer) : TransportError(error, operation: operation, peer: peer)
  }

  private func attempt(
    _ operation: String, _ body: () throws(SystemError) -> SocketProgress
  ) throws(TransportError) -> SocketProgress {
    do { return try body() } catch { throw failure(operation, error) }
  }

  private func wait(
    for events: PollEvents, _ operation: String, _ deadline: Deadline
  ) throws(TransportError) {
    let isReady: Bool
    do {
      isReady = try Self.wait(for: events, of: socket, until: deadline)
    } catch {
      throw failure(operation, error)
    }
    guard isReady else { throw .timedOut(operation: operation, peer: peer) }
  }

  /// False when the deadline came first.
  private static func wait(
    for events: PollEvents, of socket: Socket, until deadline: Deadline
  ) throws(SystemError) -> Bool {
    var set = PollSet()
    set.add(socket.raw, events)
    while true {
      if try set.wait(until: deadline) > 0 { return true }
      if deadline.hasPassed { return false }
    }
  }
}
