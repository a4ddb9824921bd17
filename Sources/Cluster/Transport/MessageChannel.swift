internal import Synchronization
public import System

/// Messages (bytes of JSON) to and from one peer, each with a length before it.
///
/// Any thread may send; a message goes out whole. One thread receives.
public final class MessageChannel: Sendable {
  public let connection: Connection
  /// 1 MiB.
  public static let byteCountMaxDefault = 32 << 20

  /// What has come of the message being received; kept when a deadline passes in its middle.
  private struct Incoming {
    var header = [UInt8](repeating: 0, count: MessageHeader.byteCount)
    var headerFilled = 0
    var payload: [UInt8]?
    var payloadFilled = 0
  }

  private let limit: Atomic<Int>
  private let sending = Mutex<Void>(())
  private let incoming = Mutex(Incoming())

  /// - Parameter byteCountMax: The longest message sent or accepted (1 KiB, say, until the peer
  ///   has shown who it is).
  public init(_ connection: Connection, byteCountMax: Int = byteCountMaxDefault) {
    self.connection = connection
    limit = Atomic(byteCountMax)
  }

  /// The longest message sent or accepted. May be raised at any time.
  public var byteCountMax: Int {
    get { limit.load(ordering: .relaxed) }
    set { limit.store(newValue, ordering: .relaxed) }
  }

  public var peer: String { connection.peer }

  /// Sends one message, waiting for room in the connection. Thread-safe.
  ///
  /// - Throws: ``TransportError``. After anything but ``TransportError/messageTooLarge`` the
  ///   connection is closed, because a part of the message may have gone.
  public func send(
    _ message: [UInt8], deadline: Deadline = .after(.seconds(30))
  ) throws(TransportError) {
    guard message.count <= byteCountMax else {
      throw .messageTooLarge(peer: peer, byteCount: message.count, limit: byteCountMax)
    }
    let header = MessageHeader(payloadByteCount: message.count).bytes
    try sending.withLock { (_) throws(TransportError) in
      do throws(TransportError) {
        try message.withRawSpan { (message) throws(TransportError) in
          try header.withRawSpan { (header) throws(TransportError) in
            try connection.write(header, message, deadline: deadline)
          }
        }
      } catch {
        connection.close()
        throw error
      }
    }
  }

  /// Waits for the next message.
  ///
  /// - Returns: Its bytes, or nil when the peer ended the connection between two messages.
  /// - Throws: ``TransportError``. After ``TransportError/timedOut(operation:peer:)`` receiving
  ///   may go on; after anything else the connection is of no use.
  public func receive(deadline: Deadline) throws(TransportError) -> [UInt8]? {
    try incoming.withLock { (incoming) throws(TransportError) in
      try receive(&incoming, deadline)
    }
  }

  /// Closes the connection at once, from any thread; sends and receives in progress throw.
  public func close() { connection.close() }

  private func receive(
    _ incoming: inout Incoming, _ deadline: Deadline
  ) throws(TransportError) -> [UInt8]? {
    if incoming.payload == nil {
      guard try connection.read(
        into: &incoming.header, filled: &incoming.headerFilled, deadline: deadline) else {
        if incoming.headerFilled == 0 { return nil }
        throw .connectionLost(peer: peer)
      }
      do {
        let header = try MessageHeader(parsing: incoming.header, limit: byteCountMax)
        incoming.payload = [UInt8](repeating: 0, count: header.payloadByteCount)
      } catch {
        if case .length(let byteCount, let limit) = error {
          throw .messageTooLarge(peer: peer, byteCount: byteCount, limit: limit)
        }
        throw .malformed(peer: peer, error)
      }
    }
    // Taken out and put back, so that the bytes are filled in place and not copied.
    var payload = incoming.payload.take() ?? []
    let isWhole: Bool
    do {
      isWhole = try connection.read(
        into: &payload, filled: &incoming.payloadFilled, deadline: deadline)
    } catch {
      incoming.payload = payload
      throw error
    }
    guard isWhole else { throw .connectionLost(peer: peer) }
    incoming = Incoming()
    return payload
  }
}
