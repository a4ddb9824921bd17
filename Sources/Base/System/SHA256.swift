internal import CSystem

/// SHA-256, streaming: it identifies bytes (digests, checkpoints, shards), it protects nothing.
///
/// - Source: FIPS 180-4.
public struct SHA256: Sendable {
  private var state = cs_sha256()

  /// - Parameter isPortable: Stays off the CPU's SHA instructions (about 2 GB/s per core against
  ///   0.3); the digest is the same.
  public init(isPortable: Bool = false) {
    unsafe cs_sha256_start(&state, isPortable ? 1 : 0)
  }

  /// Appends bytes.
  public mutating func update(_ bytes: RawSpan) {
    unsafe bytes.withUnsafeBytes { unsafe cs_sha256_update(&state, $0.baseAddress, $0.count) }
  }

  /// Appends bytes.
  public mutating func update(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe cs_sha256_update(&state, $0.baseAddress, $0.count) }
  }

  /// Appends the UTF-8 bytes of `text`.
  public mutating func update(_ text: String) { update(Array(text.utf8)) }

  /// Appends a number as 8 little-endian bytes.
  public mutating func update(_ number: UInt64) {
    update((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
  }

  /// The 32 bytes for everything appended so far. The hash may go on.
  public var digest: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 32)
    unsafe withUnsafePointer(to: state) { unsafe cs_sha256_finish($0, &bytes) }
    return bytes
  }

  /// The digest as 64 lowercase hex digits.
  public var hexDigest: String { hexText(digest) }

  /// The digest of `bytes` as 64 lowercase hex digits.
  public static func hex(of bytes: [UInt8]) -> String {
    var hash = SHA256()
    hash.update(bytes)
    return hash.hexDigest
  }
}

/// CRC-32C (Castagnoli), the checksum of frames, records and files.
public enum CRC32C {
  /// The checksum of `bytes`, continuing from `seed`: `crc(a + b) == crc(b, seed: crc(a))`.
  public static func checksum(_ bytes: RawSpan, seed: UInt32 = 0) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe cs_crc32c(seed, $0.baseAddress, $0.count) }
  }

  /// The checksum of `bytes`, continuing from `seed`.
  public static func checksum(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe cs_crc32c(seed, $0.baseAddress, $0.count) }
  }
}

/// Bytes as lowercase hex digits, two each.
public func hexText(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  text.reserveCapacity(2 * bytes.count)
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return String(decoding: text, as: UTF8.self)
}
