internal import Synchronization
public import System

/// A binary frame between coordinator and worker: shards, checkpoint chunks, logs. What the kind
/// and the four numbers mean is the control protocol's business.
public struct BulkFrame: Equatable, Sendable {
  public var kind: UInt16
  public var a: UInt64
  public var b: UInt64
  public var c: UInt64
  public var d: UInt64
  public var payload: [UInt8]

  public init(
    kind: UInt16, a: UInt64 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0,
    payload: [UInt8] = []
  ) {
    self.kind = kind
    self.a = a
    self.b = b
    self.c = c
    self.d = d
    self.payload = payload
  }
}

/// Binary frames to and from one peer, checked by CRC-32C.
///
/// Any thread may send; a frame goes out whole. One thread receives.
public final class BulkChannel: Sendable {
  public let connection: Connection
  /// 8 MiB: two checkpoint chunks.
  public static let payloadByteCountMaxDefault = 8 << 20

  private struct Incoming {
    var header = [UInt8](repeating: 0, count: BulkHeader.byteCount)
    var headerFilled = 0
    var parsed: BulkHeader?
    var payload: [UInt8] = []
    var payloadFilled = 0
  }

  private let limit: Atomic<Int>
  private let sending = Mutex<Void>(())
  private let incoming = Mutex(Incoming())

  /// - Parameter payloadByteCountMax: The largest payload sent or accepted.
  public init(
    _ connection: Connection, payloadByteCountMax: Int = payloadByteCountMaxDefault
  ) {
    self.connection = connection
    limit = Atomic(payloadByteCountMax)
  }

  /// The largest payload sent or accepted. May be raised at any time.
  public var payloadByteCountMax: Int {
    get { limit.load(ordering: .relaxed) }
    set { limit.store(newValue, ordering: .relaxed) }
  }

  public var peer: String { connection.peer }

  /// Sends one frame, waiting for room in the connection. Thread-safe.
  ///
  /// - Throws: ``TransportError``. After anything but ``TransportError/messageTooLarge`` the
  ///   connection is closed, because a part of the frame may have gone.
  public func send(
    _ frame: BulkFrame, deadline: Deadline = .after(.seconds(60))
  ) throws(TransportError) {
    try frame.payload.withRawSpan { (payload) throws(TransportError) in
      try send(
        kind: frame.kind, a: frame.a, b: frame.b, c: frame.c, d: frame.d, payload: payload,
        deadline: deadline)
    }
  }

  /// Sends one frame whose payload is lent, not copied (weights on their way to a checkpoint).
  public func send(
    kind: UInt16, a: UInt64 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0, payload: RawSpan,
    deadline: Deadline = .after(.seconds(60))
  ) throws(TransportError) {
    guard payload.byteCount <= payloadByteCountMax else {
      throw .messageTooLarge(
        peer: peer, byteCount: payload.byteCount, limit: payloadByteCountMax)
    }
    let header = BulkHeader(
      kind: kind, a: a, b: b, c: c, d: d, payloadByteCount: payload.byteCount,
      payloadChecksum: CRC32C.checksum(payload))
    let bytes = header.bytes
    try sending.withLock { (_) throws(TransportError) in
      do throws(TransportError) {
        try bytes.withRawSpan { (header) throws(TransportError) in
          try connection.write(header, payload, deadline: deadline)
        }
      } catch {
        connection.close()
        throw error
      }
    }
  }

  /// Waits for the next frame.
  ///
  /// - Returns: The frame, or nil when the peer ended the connection between two frames.
  /// - Throws: ``TransportError``. After ``TransportError/timedOut(operation:peer:)`` receiving
  ///   may go on; after anything else the connection is of no use.
  public func receive(deadline: Deadline) throws(TransportError) -> BulkFrame? {
    try incoming.withLock { (incoming) throws(TransportError) in
      try receive(&incoming, deadline)
    }
  }

  /// Closes the connection at once, from any thread; sends and receives in progress throw.
  public func close() { connection.close() }

  private func receive(
    _ incoming: inout Incoming, _ deadline: Deadline
  ) throws(TransportError) -> BulkFrame? {
    if incoming.parsed == nil {
      guard try connection.read(
        into: &incoming.header, filled: &incoming.headerFilled, deadline: deadline) else {
        if incoming.headerFilled == 0 { return nil }
        throw .connectionLost(peer: peer)
      }
      do {
        let header = try BulkHeader(parsing: incoming.header, limit: payloadByteCountMax)
        incoming.parsed = header
        incoming.payload = [UInt8](repeating: 0, count: header.payloadByteCount)
      } catch {
        if case .length(let byteCount, let limit) = error {
          throw .messageTooLarge(peer: peer, byteCount: byteCount, limit: limit)
        }
        throw .malformed(peer: peer, error)
      }
    }
    guard try connection.read(
      into: &incoming.payload, filled: &incoming.payloadFilled, deadline: deadline) else {
      throw .connectionLost(peer: peer)
    }
    return try finish(&incoming)
  }

  private func finish(_ incoming: inout Incoming) throws(TransportError) -> BulkFrame? {
    guard let header = incoming.parsed else { return nil }
    let computed = CRC32C.checksum(incoming.payload)
    guard computed == header.payloadChecksum else {
      throw .malformed(
        peer: peer, .payloadChecksum(found: header.payloadChecksum, computed: computed))
    }
    let payload = incoming.payload
    incoming = Incoming()
    return BulkFrame(
      kind: header.kind, a: header.a, b: header.b, c: header.c, d: header.d, payload: payload)
  }
}
