public import Tensors

/// Sequences computed at once, laid one after the other: what each row reads, predicts and sees.
///
/// Its arrays keep their capacity, so that filling it again allocates nothing.
public struct Microbatch {
  /// Rows, that is positions of all sequences.
  public var tokenCount: Int { ids.count }
  /// The token each row reads.
  public private(set) var ids: [UInt32] = []
  /// The token each row predicts.
  public private(set) var targets: [UInt32] = []
  /// Whether a row's prediction counts.
  public private(set) var isTarget: [Bool] = []
  /// Index of each row in its sequence; rotary positions count from the start of the window.
  public var positions: SharedRows<Int32> { positionStorage[0..<tokenCount] }
  private let positionStorage: SharedRows<Int32>
  /// Runs of rows that attend only among themselves.
  public private(set) var segments: [Range<Int>] = []
  /// Rows of the slice before this micro-batch: dropout counts elements from the slice's start.
  public private(set) var firstToken = 0

  /// Room for `tokenCapacity` rows.
  public init(tokenCapacity: Int) {
    ids.reserveCapacity(tokenCapacity)
    targets.reserveCapacity(tokenCapacity)
    isTarget.reserveCapacity(tokenCapacity)
    positionStorage = AlignedStorage(count: tokenCapacity, filledWith: 0).rows
    segments.reserveCapacity(tokenCapacity)
  }

  /// Takes over sequences `range` of `slice`.
  public mutating func load(_ range: Range<Int>, of slice: TokenSlice, firstToken: Int) {
    ids.removeAll(keepingCapacity: true)
    targets.removeAll(keepingCapacity: true)
    isTarget.removeAll(keepingCapacity: true)
    segments.removeAll(keepingCapacity: true)
    self.firstToken = firstToken
    for index in range { append(slice.sequences[index]) }
  }

  private mutating func append(_ sequence: TokenSlice.Sequence) {
    let first = tokenCount
    for position in 0..<sequence.count {
      ids.append(sequence.tokens[position])
      targets.append(sequence.tokens[position + 1])
      isTarget.append(sequence.isTarget[position])
      positionStorage[first + position] = Int32(position)
    }
    let starts = sequence.segmentStarts
    for index in starts.indices {
      let end = index + 1 < starts.count ? Int(starts[index + 1]) : sequence.count
      guard Int(starts[index]) < end else { continue }
      segments.append(first + Int(starts[index])..<first + end)
    }
  }
}
