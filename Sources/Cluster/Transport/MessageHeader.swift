/// The 8 bytes before a control message: magic, then the byte count of the JSON that follows.
///
/// The magic tells another program's traffic from ours before a length is believed.
public struct MessageHeader: Equatable, Sendable {
  public static let byteCount = 8
  /// "COX1", little-endian.
  public static let magic: UInt32 = 0x3158_4F43

  public let payloadByteCount: Int

  /// For a message to send.
  public init(payloadByteCount: Int) {
    precondition(
      payloadByteCount >= 0 && payloadByteCount <= UInt32.max,
      "a message cannot have \(payloadByteCount) bytes")
    self.payloadByteCount = payloadByteCount
  }

  /// Reads bytes from a peer.
  ///
  /// - Throws: ``FrameFault``; lengths above `limit` are refused.
  public init(parsing bytes: [UInt8], limit: Int) throws(FrameFault) {
    var reader = LittleEndianReader(bytes)
    guard
      bytes.count == Self.byteCount, let magic = reader.next(UInt32.self),
      let length = reader.next(UInt32.self)
    else { throw .truncated(byteCount: bytes.count, expected: Self.byteCount) }
    guard magic == Self.magic else { throw .magic(found: magic) }
    guard Int(length) <= limit else { throw .length(byteCount: Int(length), limit: limit) }
    payloadByteCount = Int(length)
  }

  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.byteCount)
    bytes.appendLittleEndian(Self.magic)
    bytes.appendLittleEndian(UInt32(payloadByteCount))
    return bytes
  }
}
