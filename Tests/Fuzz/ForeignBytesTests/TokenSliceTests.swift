import ControlProtocol
import Tensors
import Testing

@Suite struct `Token slices on the wire` {
  private let running = TokenSlice.Sequence(
    tokens: Array(1...11), isTarget: (0..<10).map { $0 % 3 != 0 }, segmentStarts: [0, 4])
  private let tied = TokenSlice.Sequence(
    tokens: [7, 8], isTarget: [true], row: 0xFEDC_BA98, isTie: true)

  @Test func `say of each sequence which example it is, and whether it is a tie`() throws {
    var other = tied
    (other.row, other.isTie) = (0, false)
    let slices = [
      TokenSlice(sequences: [running, tied]), TokenSlice(sequences: []),
      TokenSlice(sequences: [other]),
    ]
    let found = try TokenSliceCoding.decode(TokenSliceCoding.encode(slices))
    #expect(found == slices)
    #expect(found[0].sequences.map(\.row) == [TokenSlice.Sequence.noRow, 0xFEDC_BA98])
  }

  @Test func `are refused when they end early or go on`() {
    let bytes = TokenSliceCoding.encode([TokenSlice(sequences: [running, tied])])
    for count in bytes.indices {
      #expect(throws: ProtocolError.self) { try TokenSliceCoding.decode(Array(bytes[..<count])) }
    }
    #expect(throws: ProtocolError.self) { try TokenSliceCoding.decode(bytes + [0]) }
  }

  @Test func `are refused with marks that nobody gives, or more sequences than bytes`() {
    var bytes = TokenSliceCoding.encode([TokenSlice(sequences: [tied])])
    // Behind the two counts and the row.
    #expect(bytes[12] == 1)
    bytes[12] = 2
    #expect(throws: ProtocolError.unreadable("a sequence has the unknown marks 2")) {
      try TokenSliceCoding.decode(bytes)
    }
    bytes[12] = 1
    bytes[4] = 2
    let left = bytes.count - 8
    #expect(throws: ProtocolError.unreadable("2 items cannot stand in \(left) bytes")) {
      try TokenSliceCoding.decode(bytes)
    }
  }
}
