import System
import Testing

/// The examples of FIPS 180-4 as NIST publishes them, and lengths around the block size.
@Suite struct `SHA-256` {
  static let vectors: [(text: String, digest: String)] = [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    (
      "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
        + "lmnopqrsmnopqrstnopqrstu",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
    ),
  ]

  @Test(arguments: vectors, [false, true])
  func `gives the digests that NIST publishes`(
    vector: (text: String, digest: String), isPortable: Bool
  ) {
    var hash = SHA256(isPortable: isPortable)
    hash.update(vector.text)
    #expect(hash.hexDigest == vector.digest)
  }

  @Test(arguments: [false, true])
  func `gives the published digest of a million letters a`(isPortable: Bool) {
    var hash = SHA256(isPortable: isPortable)
    let thousand = [UInt8](repeating: 0x61, count: 1000)
    for _ in 0..<1000 { hash.update(thousand) }
    #expect(
      hash.hexDigest == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  }

  @Test func `does not depend on how the bytes are cut, nor on the CPU`() {
    for byteCount in [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000] {
      let bytes = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
      let whole = SHA256.hex(of: bytes)
      for step in [1, 7, 63, 64, 65] {
        var pieces = SHA256(isPortable: true)
        var start = 0
        while start < byteCount {
          pieces.update(Array(bytes[start..<min(start + step, byteCount)]))
          start += step
        }
        #expect(pieces.hexDigest == whole, "\(byteCount) bytes in pieces of \(step)")
      }
    }
  }

  @Test func `goes on after a digest was read`() {
    var hash = SHA256()
    hash.update("ab")
    _ = hash.digest
    hash.update("c")
    #expect(hash.hexDigest == Self.vectors[1].digest)
  }

  @Test func `appends numbers as little-endian bytes`() {
    var hash = SHA256()
    hash.update(0x0807_0605_0403_0201 as UInt64)
    #expect(hash.hexDigest == SHA256.hex(of: [1, 2, 3, 4, 5, 6, 7, 8]))
  }
}
