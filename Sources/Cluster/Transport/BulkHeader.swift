internal import System

/// The 52 bytes before the payload of a bulk frame, little-endian:
///
///     magic u32, version u16, kind u16, a u64, b u64, c u64, d u64, payload length u32,
///     payload CRC-32C u32, CRC-32C of the 48 bytes before u32
public struct BulkHeader: Equatable, Sendable {
  public static let byteCount = 52
  /// "COXB", little-endian.
  public static let magic: UInt32 = 0x4258_4F43
  public static let version: UInt16 = 1

  public let kind: UInt16
  public let a: UInt64
  public let b: UInt64
  public let c: UInt64
  public let d: UInt64
  public let payloadByteCount: Int
  public let payloadChecksum: UInt32

  /// For a frame to send.
  public init(
    kind: UInt16, a: UInt64, b: UInt64, c: UInt64, d: UInt64, payloadByteCount: Int,
    payloadChecksum: UInt32
  ) {
    precondition(
      payloadByteCount >= 0 && payloadByteCount <= UInt32.max,
      "a frame cannot carry \(payloadByteCount) bytes")
    self.kind = kind
    self.a = a
    self.b = b
    self.c = c
    self.d = d
    self.payloadByteCount = payloadByteCount
    self.payloadChecksum = payloadChecksum
  }

  /// Reads bytes from a peer.
  ///
  /// - Throws: ``FrameFault``; lengths above `limit` are refused.
  public init(parsing bytes: [UInt8], limit: Int) throws(FrameFault) {
    var reader = LittleEndianReader(bytes)
    guard
      bytes.count == Self.byteCount, let magic = reader.next(UInt32.self),
      let version = reader.next(UInt16.self), let kind = reader.next(UInt16.self),
      let a = reader.next(UInt64.self), let b = reader.next(UInt64.self),
      let c = reader.next(UInt64.self), let d = reader.next(UInt64.self),
      let length = reader.next(UInt32.self), let payloadChecksum = reader.next(UInt32.self),
      let headerChecksum = reader.next(UInt32.self)
    else { throw .truncated(byteCount: bytes.count, expected: Self.byteCount) }
    guard magic == Self.magic else { throw .magic(found: magic) }
    guard version == Self.version else {
      throw .version(found: version, supported: Self.version)
    }
    let computed = CRC32C.checksum(Array(bytes.dropLast(4)))
    guard headerChecksum == computed else {
      throw .headerChecksum(found: headerChecksum, computed: computed)
    }
    guard Int(length) <= limit else { throw .length(byteCount: Int(length), limit: limit) }
    self.init(
      kind: kind, a: a, b: b, c: c, d: d, payloadByteCount: Int(length),
      payloadChecksum: payloadChecksum)
  }

  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.byteCount)
    bytes.appendLittleEndian(Self.magic)
    bytes.appendLittleEndian(Self.version)
    bytes.appendLittleEndian(kind)
    for field in [a, b, c, d] { bytes.appendLittleEndian(field) }
    bytes.appendLittleEndian(UInt32(payloadByteCount))
    bytes.appendLittleEndian(payloadChecksum)
    bytes.appendLittleEndian(CRC32C.checksum(bytes))
    return bytes
  }
}
