internal import System

/// What a data-plane frame carries.
public enum FrameKind: UInt16, Sendable {
  /// Who is at the other end of a new connection.
  case hello = 1
  /// One node's part of a segment, on its way to the segment's owner.
  case contribution = 2
  /// The owner's sum, on its way to everyone.
  case sum = 3
  /// Token counts and loss sums of a rank's nodes.
  case statistics = 4
  /// Master weights and moments for a joiner or a laggard.
  case state = 5
  /// Nothing to say, but alive.
  case alive = 6
  /// The sender gives this view's exchange up, because of the rank in `segment`.
  case abandon = 7
  /// The sender leaves orderly.
  case goodbye = 8
  /// The sender can read the receiver's memory: payloads may be lent to it.
  case borrows = 9
  /// The sender has copied all sums of this round that were lent to it.
  case returned = 10
}

/// The 64 bytes before the payload of a data-plane frame: eight little-endian words.
///
///     0  magic u32, version u16, kind u16      4  bucket u32, segment u32
///     1  run u64                               5  node index u32, node level u16, lent u16
///     2  view u32, round u32                   6  piece u32, payload length u32
///     3  step u64                              7  payload CRC-32C u32, CRC-32C of 60 bytes u32
///
/// A lent payload stays in its sender's memory. In its place 8 bytes follow: the address from which
/// the receiver, on the same machine, copies it.
///
/// A view of 32 bits lasts a change a second for 136 years, a round likewise.
public struct FrameHeader: Equatable, Sendable {
  public static let wordCount = 8
  public static let byteCount = 64
  /// What follows the header of a lent payload.
  public static let addressByteCount = 8
  /// "COXG", little-endian.
  public static let magic: UInt32 = 0x4758_4F43
  public static let version: UInt16 = 1

  public var kind: FrameKind
  /// Tells this run's workers from another's that reach the same port.
  public var run: UInt64
  public var view: UInt32
  /// Exchanges of this view, counted from 1; 0 for frames that belong to none.
  public var round: UInt32 = 0
  public var step: UInt64 = 0
  public var bucket: UInt32 = 0
  public var segment: UInt32 = 0
  public var nodeIndex: UInt32 = 0
  public var nodeLevel: UInt16 = 0
  public var piece: UInt32 = 0
  public var payloadByteCount: UInt32 = 0
  public var payloadChecksum: UInt32 = 0
  /// Whether the payload's address follows, and not the payload.
  public var isLent = false

  /// The bytes that follow the header.
  public var followingByteCount: Int { isLent ? Self.addressByteCount : Int(payloadByteCount) }

  public init(kind: FrameKind, run: UInt64, view: UInt32) {
    self.kind = kind
    self.run = run
    self.view = view
  }

  /// Reads words from a peer: magic, version and checksum first, then the fields.
  ///
  /// Whether the fields are the expected ones is for the reader to say, before any memory is
  /// touched for the payload.
  ///
  /// - Throws: ``FrameFault``.
  public init(parsing words: Span<UInt64>) throws(FrameFault) {
    guard words.count == Self.wordCount else {
      throw .truncated(byteCount: 8 * words.count, expected: Self.byteCount)
    }
    func word(_ index: Int) -> UInt64 { UInt64(littleEndian: words[index]) }
    func low(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: word(index)) }
    func high(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: word(index) >> 32) }
    guard low(0) == Self.magic else { throw .magic(found: low(0)) }
    let version = UInt16(truncatingIfNeeded: word(0) >> 32)
    guard version == Self.version else {
      throw .version(found: version, supported: Self.version)
    }
    let computed = Self.checksum(of: words)
    guard high(7) == computed else {
      throw .headerChecksum(found: high(7), computed: computed)
    }
    let kindNumber = UInt16(truncatingIfNeeded: word(0) >> 48)
    guard let kind = FrameKind(rawValue: kindNumber) else { throw .kind(found: kindNumber) }
    guard word(5) >> 48 <= 1 else { throw .reserved }
    self.kind = kind
    run = word(1)
    view = low(2)
    round = high(2)
    step = word(3)
    bucket = low(4)
    segment = high(4)
    nodeIndex = low(5)
    nodeLevel = UInt16(truncatingIfNeeded: word(5) >> 32)
    piece = low(6)
    payloadByteCount = high(6)
    payloadChecksum = low(7)
    isLent = word(5) >> 48 == 1
    let isPayload = kind == .contribution || kind == .sum
    guard !isLent || (isPayload && payloadByteCount > 0) else { throw .reserved }
  }

  /// Writes the 64 bytes.
  public func write(into words: inout MutableSpan<UInt64>) {
    precondition(words.count == Self.wordCount, "a header has 8 words, not \(words.count)")
    func pair(_ low: UInt32, _ high: UInt32) -> UInt64 {
      (UInt64(high) << 32 | UInt64(low)).littleEndian
    }
    words[0] = pair(Self.magic, UInt32(kind.rawValue) << 16 | UInt32(Self.version))
    words[1] = run.littleEndian
    words[2] = pair(view, round)
    words[3] = step.littleEndian
    words[4] = pair(bucket, segment)
    words[5] = pair(nodeIndex, (isLent ? 1 << 16 : 0) | UInt32(nodeLevel))
    words[6] = pair(piece, payloadByteCount)
    words[7] = pair(payloadChecksum, 0)
    words[7] = pair(payloadChecksum, Self.checksum(of: words.span))
  }

  /// CRC-32C of everything before the header's own checksum.
  private static func checksum(of words: Span<UInt64>) -> UInt32 {
    CRC32C.checksum(words, byteCount: byteCount - 4)
  }
}
