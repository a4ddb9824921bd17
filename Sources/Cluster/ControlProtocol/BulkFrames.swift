public import Tensors

/// What a frame on a worker's second connection carries.
public enum BulkKind: UInt64, Sendable {
  /// Coordinator to worker, tokens of one operation: a = view, b = position, c = offset of this
  /// part in the whole, d = byte count of the whole.
  case tokens = 1
  /// Either way, one 4 MiB chunk of the state: a = view (down) or position (up), b = chunk.
  case state = 2
  /// Worker to coordinator: lines of its log.
  case log = 3
}

/// Token slices of one operation as bytes: little-endian, no pointers, no alignment.
///
///     u32 slices, then per slice: u32 sequences, then per sequence:
///     u32 row, u8 marks (1: a tie), u32 positions, u32 segments, u32 x segments,
///     u32 x (positions + 1) tokens, u8 x ceil(positions / 8) target bits
public enum TokenSliceCoding {
  public static func encode(_ slices: [TokenSlice]) -> [UInt8] {
    var bytes: [UInt8] = []
    func put(_ value: UInt32) {
      for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
    put(UInt32(slices.count))
    for slice in slices {
      put(UInt32(slice.sequences.count))
      for sequence in slice.sequences {
        put(sequence.row)
        bytes.append(sequence.isTie ? 1 : 0)
        put(UInt32(sequence.count))
        put(UInt32(sequence.segmentStarts.count))
        sequence.segmentStarts.forEach(put)
        sequence.tokens.forEach(put)
        for start in stride(from: 0, to: sequence.count, by: 8) {
          var byte: UInt8 = 0
          for bit in 0..<min(8, sequence.count - start) where sequence.isTarget[start + bit] {
            byte |= 1 << bit
          }
          bytes.append(byte)
        }
      }
    }
    return bytes
  }

  /// - Throws: ``ProtocolError/unreadable(_:)`` when counts and bytes do not agree.
  public static func decode(_ bytes: [UInt8]) throws(ProtocolError) -> [TokenSlice] {
    var reader = Reader(bytes: bytes)
    let sliceCount = try reader.count(perItem: 4)
    var slices: [TokenSlice] = []
    for _ in 0..<sliceCount {
      let sequenceCount = try reader.count(perItem: leastSequenceByteCount)
      var sequences: [TokenSlice.Sequence] = []
      for _ in 0..<sequenceCount { sequences.append(try reader.sequence()) }
      slices.append(TokenSlice(sequences: sequences))
    }
    guard reader.position == bytes.count else {
      throw .unreadable("\(bytes.count - reader.position) bytes follow the last token slice")
    }
    return slices
  }

  /// Row, marks, both counts, the first segment and the first token.
  private static let leastSequenceByteCount = 21

  private struct Reader {
    let bytes: [UInt8]
    var position = 0

    mutating func mark() throws(ProtocolError) -> Bool {
      guard position < bytes.count else { throw .unreadable("token slices end early") }
      defer { position += 1 }
      guard bytes[position] <= 1 else {
        throw .unreadable("a sequence has the unknown marks \(bytes[position])")
      }
      return bytes[position] == 1
    }

    mutating func word() throws(ProtocolError) -> UInt32 {
      guard bytes.count - position >= 4 else { throw .unreadable("token slices end early") }
      defer { position += 4 }
      return UInt32(bytes[position]) | UInt32(bytes[position + 1]) << 8
        | UInt32(bytes[position + 2]) << 16 | UInt32(bytes[position + 3]) << 24
    }

    /// A count of items of which each takes at least `perItem` bytes of what is left.
    mutating func count(perItem: Int) throws(ProtocolError) -> Int {
      let found = Int(try word())
      guard found <= (bytes.count - position) / perItem else {
        throw .unreadable("\(found) items cannot stand in \(bytes.count - position) bytes")
      }
      return found
    }

    mutating func sequence() throws(ProtocolError) -> TokenSlice.Sequence {
      let row = try word()
      let isTie = try mark()
      let positionCount = try count(perItem: 4)
      let segmentCount = try count(perItem: 4)
      var segments: [UInt32] = []
      for _ in 0..<segmentCount { segments.append(try word()) }
      var tokens: [UInt32] = []
      tokens.reserveCapacity(positionCount + 1)
      for _ in 0...positionCount { tokens.append(try word()) }
      let maskByteCount = (positionCount + 7) / 8
      guard bytes.count - position >= maskByteCount else {
        throw .unreadable("token slices end early")
      }
      let isTarget = (0..<positionCount).map { bytes[position + $0 / 8] >> ($0 % 8) & 1 == 1 }
      position += maskByteCount
      guard segments.first == 0, zip(segments, segments.dropFirst()).allSatisfy({ $0 < $1 }),
        segments.allSatisfy({ $0 < max(1, UInt32(positionCount)) })
      else { throw .unreadable("segments \(segments) do not cut \(positionCount) positions") }
      return TokenSlice.Sequence(
        tokens: tokens, isTarget: isTarget, segmentStarts: segments, row: row, isTie: isTie)
    }
  }
}
