internal import Synchronization
public import System

/// Accepts connections at one address.
public final class Listener: Sendable {
  /// Where it listens, with the port the system chose when 0 was asked for.
  public let address: Address
  private let socket: Socket
  private let wake: WakeEvent
  private let congestion: String
  private let isClosedHere = Atomic<Bool>(false)

  /// Binds and listens.
  ///
  /// - Parameters:
  ///   - backlog: Connections that may wait to be accepted.
  ///   - congestion: The congestion control of accepted connections, where the kernel has it.
  /// - Throws: ``TransportError``; a port in use is `failed(operation: "listen at", ...)`.
  public init(
    _ address: Address, backlog: Int = 128, congestion: String = Connection.defaultCongestion
  ) throws(TransportError) {
    self.congestion = congestion
    do {
      wake = try WakeEvent()
    } catch {
      throw .failed(operation: "listen at", peer: address.description, code: error.code ?? 0)
    }
    socket = try Self.listeningSocket(at: address, backlog: backlog)
    self.address = Address(socket.localAddress) ?? address
  }

  /// On the first of the host's addresses that this machine has.
  private static func listeningSocket(
    at address: Address, backlog: Int
  ) throws(TransportError) -> Socket {
    var failure = TransportError.unresolved(host: address.host, reason: "no address")
    for candidate in try address.resolved(isPassive: true) {
      do {
        let socket = try Socket(for: candidate)
        try socket.listen(at: candidate, backlog: Int32(clamping: backlog))
        return socket
      } catch {
        failure = .failed(
          operation: "listen at", peer: address.description, code: error.code ?? 0)
        // Another program's callers would be split between it and this one.
        if error.isAddressInUse { break }
      }
    }
    throw failure
  }

  deinit { socket.shutdown() }

  /// Waits for the next connection.
  ///
  /// - Throws: ``TransportError/timedOut(operation:peer:)`` when none came in time,
  ///   ``TransportError/closed(peer:)`` after ``close()``; other failures of the system.
  public func accept(deadline: Deadline) throws(TransportError) -> Connection {
    let peer = address.description
    var set = PollSet()
    set.add(socket.raw, .readable)
    set.add(wake.raw, .readable)
    while true {
      if let accepted = try acceptNow() { return accepted }
      do {
        try set.wait(until: deadline)
      } catch {
        throw TransportError(error, operation: "accept at", peer: peer)
      }
      if deadline.hasPassed { throw .timedOut(operation: "accept at", peer: peer) }
    }
  }

  /// Stops listening, from any thread; an accept in progress throws.
  public func close() {
    isClosedHere.store(true, ordering: .sequentiallyConsistent)
    wake.set()
    socket.shutdown()
  }

  public var isClosed: Bool { isClosedHere.load(ordering: .sequentiallyConsistent) }
}

/// For poll loops that wait for more than this listener.
extension Listener {
  /// Readable when a connection waits.
  public var raw: Int32 { socket.raw }

  /// A connection that waits already, or nil.
  ///
  /// - Throws: ``TransportError``.
  public func acceptNow() throws(TransportError) -> Connection? {
    if isClosed { throw .closed(peer: address.description) }
    do {
      guard let accepted = try socket.accept() else { return nil }
      Connection.prepare(accepted, congestion: congestion)
      let remote = Address(accepted.peerAddress)
      return Connection(accepted, peer: remote?.description ?? "unknown peer")
    } catch {
      if isClosed { throw .closed(peer: address.description) }
      throw TransportError(error, operation: "accept at", peer: address.description)
    }
  }
}
