import CSystem
import System
import Testing

@Suite struct `CRC-32C` {
  @Test func `gives the published check values`() {
    #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    // RFC 3720, appendix B.4.
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum(Array(0..<32)) == 0x46DD_794E)
    #expect(CRC32C.checksum([]) == 0)
  }

  @Test func `gives the same with and without CRC instructions, at any length`() {
    let bytes = (0..<40_000).map { UInt8(truncatingIfNeeded: $0 &* $0 &+ $0 >> 7) }
    let byteCounts = [
      0, 1, 7, 8, 9, 511, 512, 513, 575, 767, 768, 4095, 12_287, 12_288, 12_289, 24_576, 39_999,
    ]
    for byteCount in byteCounts {
      let part = Array(bytes[..<byteCount])
      let portable = unsafe part.withUnsafeBytes {
        unsafe cs_crc32c_portable(0, $0.baseAddress, $0.count)
      }
      #expect(CRC32C.checksum(part) == portable, "\(byteCount) bytes")
    }
  }

  @Test func `continues from a seed`() {
    let bytes = (0..<2000).map { UInt8(truncatingIfNeeded: $0 &* $0 &+ $0 >> 7) }
    for cut in [0, 1, 19, 600, 1300, 1999, 2000] {
      let first = CRC32C.checksum(Array(bytes[..<cut]))
      #expect(CRC32C.checksum(Array(bytes[cut...]), seed: first) == CRC32C.checksum(bytes))
    }
  }
}
