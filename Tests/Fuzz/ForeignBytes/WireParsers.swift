import Collectives
import ControlProtocol
import Planning
import System
import Tensors
import Transport

/// Headers and binary payloads of every connection.
let wireParsers: [ForeignParser] = [
  frameHeader, bulkHeader, messageHeader, address, tokenSlices, statistics,
]

private let frameHeader = ForeignParser(
  "frame-header",
  seeds: {
    [FrameKind.hello, .contribution, .statistics, .sum].map { kind in
      var header = FrameHeader(kind: kind, run: 0x1234_5678_9ABC, view: 3)
      header.round = 7
      header.bucket = 2
      header.payloadByteCount = 4096
      header.isLent = kind == .sum
      return bytes(of: header)
    }
  },
  read: { bytes in
    var words = bytes.words
    readFrameHeader(words)
    guard words.count == FrameHeader.wordCount else { return }
    // Random damage never meets the checksum, so a second reading has it right.
    let checksum = CRC32C.checksum(words.span, byteCount: FrameHeader.byteCount - 4)
    words[7] = words[7] & 0xFFFF_FFFF | UInt64(checksum) << 32
    readFrameHeader(words)
  })

private func readFrameHeader(_ words: [UInt64]) {
  guard let header = try? FrameHeader(parsing: words.span) else { return }
  requireSame(bytes(of: header).words, words, "a frame header written again")
}

private func bytes(of header: FrameHeader) -> [UInt8] {
  var words = [UInt64](repeating: 0, count: FrameHeader.wordCount)
  var span = words.mutableSpan
  header.write(into: &span)
  return words.flatMap(littleEndianBytes)
}

private let bulkHeader = ForeignParser(
  "bulk-header",
  seeds: {
    let header = BulkHeader(
      kind: 2, a: 1, b: 2, c: 3, d: .max, payloadByteCount: 4 << 20, payloadChecksum: 0xDEAD_BEEF)
    return [header.bytes]
  },
  read: { bytes in
    readBulkHeader(bytes)
    let checked = bytes.dropLast(4)
    readBulkHeader(checked + littleEndianBytes(CRC32C.checksum(Array(checked))))
  })

private func readBulkHeader(_ bytes: [UInt8]) {
  guard let header = try? BulkHeader(parsing: bytes, limit: 8 << 20) else { return }
  requireSame(header.bytes, bytes, "a bulk header written again")
}

private let messageHeader = ForeignParser(
  "message-header",
  seeds: { [MessageHeader(payloadByteCount: 1000).bytes] },
  read: { bytes in
    guard let header = try? MessageHeader(parsing: bytes, limit: 1 << 20) else { return }
    requireSame(header.bytes, bytes, "a message header written again")
  })

private let address = ForeignParser(
  "address",
  seeds: { ["127.0.0.1:7070", "[::1]:0", "node-7.example:65535"].map { Array($0.utf8) } },
  read: { bytes in
    let found = try? Address(parsing: String(decoding: bytes, as: UTF8.self))
    _ = found?.isLoopback
    _ = found?.description
  })

private let tokenSlices = ForeignParser(
  "token-slices",
  seeds: {
    let sequence = TokenSlice.Sequence(
      tokens: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      isTarget: [true, false, true, true, true, false, true, true, true], segmentStarts: [0, 4])
    var tied = sequence
    (tied.row, tied.isTie) = (7, true)
    let slice = TokenSlice(sequences: [sequence, tied])
    return [TokenSliceCoding.encode([slice, TokenSlice(sequences: [])])]
  },
  read: { bytes in
    guard let slices = try? TokenSliceCoding.decode(bytes) else { return }
    requireSame(
      try? TokenSliceCoding.decode(TokenSliceCoding.encode(slices)), slices,
      "token slices written again")
  })

private let statistics = ForeignParser(
  "statistics",
  seeds: {
    let measures = (0..<16).map { Double($0).bitPattern }
    let words: [[UInt64]] = [[1, 64, (2.5).bitPattern], [1 << 32 | 1, 128, (5.0).bitPattern]]
    return [words.flatMap { $0 + measures }.flatMap(littleEndianBytes)]
  },
  read: { bytes in
    let nodes = [SliceNode.leaf(0), SliceNode.leaf(1), SliceNode(level: 1, index: 1)]
    let wordCount = StatisticsPayload.wordsPerNode
    let held = Array(nodes[(bytes.count / (8 * wordCount) == 3 ? 0 : 1)...])
    guard bytes.count == 8 * wordCount * held.count else { return }
    let rows = AlignedStorage<UInt64>(count: wordCount * held.count, filledWith: 0).rows
    for (index, word) in bytes.words.enumerated() { rows[index] = word.littleEndian }
    var found: [SliceNode: SliceStatistics] = [:]
    guard
      (try? StatisticsPayload.read(rows, nodes: held, rank: 1, into: &found)) != nil
    else { return }
    _ = found.values.reduce(SliceStatistics(tokenCount: 0, lossSum: 0), +)
  })
