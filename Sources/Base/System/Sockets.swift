internal import CSystem
internal import Glibc

/// An address as the system's calls want it.
public struct SocketAddress: Sendable {
  fileprivate var value: cs_address

  /// Looks up a host (number or name) and a port. Names ask the system's resolver, which has its
  /// own time limit (resolv.conf).
  ///
  /// - Parameter isPassive: For listening.
  /// - Returns: At most 8 addresses, in the order in which to try them.
  /// - Throws: ``ResolutionError``.
  public static func resolve(
    host: String, port: Int, isPassive: Bool
  ) throws(ResolutionError) -> [SocketAddress] {
    var found = [cs_address](repeating: cs_address(), count: 8)
    let count = unsafe cs_resolve(host, "\(port)", isPassive ? 1 : 0, &found, Int32(found.count))
    guard count >= 0 else {
      let text = unsafe cs_resolve_text(count).map { unsafe String(cString: $0) }
      throw ResolutionError(host: host, reason: text ?? "code \(count)")
    }
    return found.prefix(Int(count)).map(SocketAddress.init(value:))
  }

  /// The host as a number, and the port; nil for an address without them (socket pairs).
  public var hostAndPort: (host: String, port: Int)? {
    var host = [UInt8](repeating: 0, count: 64)
    let port = unsafe host.withUnsafeMutableBytes {
      unsafe withUnsafePointer(to: value) { [base = $0.baseAddress, count = $0.count] address in
        unsafe cs_address_text(address, base?.assumingMemoryBound(to: CChar.self), count)
      }
    }
    guard port >= 0 else { return nil }
    return (String(decoding: host.prefix { $0 != 0 }, as: UTF8.self), Int(port))
  }
}

/// A host whose address could not be found.
public struct ResolutionError: Error, Equatable, Sendable {
  public let host: String
  public let reason: String
}

/// How far a transfer came without blocking.
public enum SocketProgress: Equatable, Sendable {
  case moved(Int)
  case wouldBlock
  /// The peer will send no more.
  case ended
}

/// A stream socket: close-on-exec, non-blocking, never raising SIGPIPE. Any thread may use it.
public final class Socket: Sendable {
  private let descriptor: Descriptor
  /// For a ``PollSet``.
  public var raw: Int32 { descriptor.raw }

  private init(taking raw: Int32) { descriptor = Descriptor(taking: raw) }

  /// A socket for the family of `address`, not connected.
  public convenience init(for address: SocketAddress) throws(SystemError) {
    var address = address
    self.init(taking: try checked("socket", unsafe cs_socket(&address.value)))
  }

  /// Two sockets connected to each other inside this process.
  public static func pair() throws(SystemError) -> (Socket, Socket) {
    var ends: [Int32] = [-1, -1]
    _ = try checked("socketpair", unsafe cs_socket_pair(&ends))
    return (Socket(taking: ends[0]), Socket(taking: ends[1]))
  }

  /// Binds and listens; `backlog` connections may wait to be accepted.
  public func listen(at address: SocketAddress, backlog: Int32) throws(SystemError) {
    var address = address
    _ = try checked("listen", unsafe cs_bind_and_listen(raw, &address.value, backlog))
  }

  /// A waiting connection, or nil when there is none.
  public func accept() throws(SystemError) -> Socket? {
    let code = cs_accept(raw)
    // The peer may have gone again before we looked: that is no failure of the listener.
    if code == -EAGAIN || code == -ECONNABORTED { return nil }
    return Socket(taking: try checked("accept", code))
  }

  /// Starts to connect. False: poll for ``PollEvents/writable``, then look at ``pendingError``.
  public func connect(to address: SocketAddress) throws(SystemError) -> Bool {
    var address = address
    let code = unsafe cs_connect(raw, &address.value)
    if code == -EINPROGRESS { return false }
    _ = try checked("connect", code)
    return true
  }

  /// The pending `errno`, taken off the socket; 0 when there is none.
  public var pendingError: Int32 { cs_socket_error(raw) }

  public var localAddress: SocketAddress? {
    var address = cs_address()
    return unsafe cs_local_address(raw, &address) < 0 ? nil : SocketAddress(value: address)
  }

  public var peerAddress: SocketAddress? {
    var address = cs_address()
    return unsafe cs_peer_address(raw, &address) < 0 ? nil : SocketAddress(value: address)
  }

  /// Sends small messages at once (TCP_NODELAY). Not a TCP socket: nothing happens.
  public func setNoDelay() { _ = cs_set_no_delay(raw) }

  /// Chooses the congestion control. False: the kernel lacks it, and its default stays.
  public func setCongestion(_ name: String) -> Bool { unsafe cs_set_congestion(raw, name) >= 0 }

  /// The congestion control in use; nil when this is not a TCP socket.
  public var congestion: String? {
    var name = [UInt8](repeating: 0, count: 17)
    let code = unsafe name.withUnsafeMutableBytes {
      unsafe cs_congestion(raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), 16)
    }
    return code < 0 ? nil : String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
  }

  /// Fixes the kernel's buffers, which also ends their automatic growth.
  package func setBuffers(sendByteCount: Int, receiveByteCount: Int) {
    _ = cs_set_buffers(raw, Int32(clamping: sendByteCount), Int32(clamping: receiveByteCount))
  }

  /// Sends `first` from `offset` on, then `second`; `offset` may lie in `second`.
  ///
  /// - Throws: ``SystemError/failed(call:subject:code:)``; the caller knows the peer.
  public func send(
    _ first: RawSpan, _ second: RawSpan, from offset: Int
  ) throws(SystemError) -> SocketProgress {
    precondition(
      offset >= 0 && offset < first.byteCount + second.byteCount,
      "offset \(offset) of \(first.byteCount) + \(second.byteCount) bytes")
    let code = unsafe first.withUnsafeBytes { first in
      unsafe second.withUnsafeBytes { second in
        // SAFETY: the pieces lie inside the two lent spans, by the precondition above.
        guard offset < first.count else {
          let skipped = offset - first.count
          return unsafe cs_send(
            raw, second.baseAddress! + skipped, second.count - skipped, nil, 0)
        }
        return unsafe cs_send(
          raw, first.baseAddress! + offset, first.count - offset, second.baseAddress, second.count)
      }
    }
    if code == -Int64(EAGAIN) { return .wouldBlock }
    guard code >= 0 else { throw .failed(call: "send", subject: "socket", code: Int32(-code)) }
    return .moved(Int(code))
  }

  /// Receives into `first` from `offset` on, then into `second` from its start.
  ///
  /// - Throws: ``SystemError/failed(call:subject:code:)``; the caller knows the peer.
  public func receive(
    into first: inout MutableRawSpan, from offset: Int, then second: inout MutableRawSpan
  ) throws(SystemError) -> SocketProgress {
    precondition(
      offset >= 0 && offset <= first.byteCount && first.byteCount - offset + second.byteCount > 0,
      "offset \(offset) of \(first.byteCount) bytes, then \(second.byteCount)")
    let code = unsafe first.withUnsafeMutableBytes { first in
      unsafe second.withUnsafeMutableBytes { second in
        // SAFETY: the pieces lie inside the two lent spans, by the precondition above.
        guard offset < first.count else {
          return unsafe cs_receive(raw, second.baseAddress, second.count, nil, 0)
        }
        return unsafe cs_receive(
          raw, first.baseAddress! + offset, first.count - offset, second.baseAddress, second.count)
      }
    }
    if code == -Int64(EAGAIN) { return .wouldBlock }
    guard code >= 0 else { throw .failed(call: "receive", subject: "socket", code: Int32(-code)) }
    return code == 0 ? .ended : .moved(Int(code))
  }

  /// Ends both directions and wakes whoever polls the socket. Any thread; the descriptor stays.
  public func shutdown() { _ = cs_shutdown(raw) }

  /// Tells the peer that nothing more comes; receiving goes on.
  public func shutdownSending() { _ = cs_shutdown_sending(raw) }
}

extension SystemError {
  /// Whether the error says that the connection is gone.
  public var isConnectionLoss: Bool {
    code == ECONNRESET || code == EPIPE || code == ENOTCONN || code == ECONNABORTED
  }

  /// Whether nobody listens at an address, or no way leads there: worth another try later.
  public var isUnreachable: Bool {
    code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH || code == ETIMEDOUT
  }

  /// Whether another program has the address.
  public var isAddressInUse: Bool { code == EADDRINUSE }
}

private func checked(_ call: String, _ code: Int32) throws(SystemError) -> Int32 {
  guard code >= 0 else { throw .failed(call: call, subject: "socket", code: -code) }
  return code
}
