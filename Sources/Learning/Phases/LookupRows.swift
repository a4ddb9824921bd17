internal import Tensors

/// The rows of the look-up table that a step touches: the only ones whose gradient travels.
struct LookupRows {
  /// Ids that the begun step touches, ascending.
  private(set) var ids: [UInt32] = []
  /// By id, its place among ``ids``; -1 for the others.
  private(set) var rowOfToken: [Int32]
  /// ``ids`` as the operators take them.
  private(set) var rows: [Int] = []
  private let capacity: Int
  private var isFound: [Bool]

  init(vocabularySize: Int, capacity: Int) {
    self.capacity = capacity
    rowOfToken = Array(repeating: -1, count: vocabularySize)
    isFound = Array(repeating: false, count: vocabularySize)
    ids.reserveCapacity(capacity)
    rows.reserveCapacity(capacity)
  }

  /// Learns which ids some position of `slices`, those of all workers, reads.
  mutating func begin(_ slices: [TokenSlice]) {
    for id in ids { rowOfToken[Int(id)] = -1 }
    ids.removeAll(keepingCapacity: true)
    rows.removeAll(keepingCapacity: true)
    for slice in slices {
      for sequence in slice.sequences {
        for id in sequence.tokens.dropLast() { isFound[Int(id)] = true }
      }
    }
    for id in isFound.indices where isFound[id] {
      isFound[id] = false
      rowOfToken[id] = Int32(ids.count)
      ids.append(UInt32(id))
      rows.append(id)
    }
    precondition(ids.count <= capacity, "a step touches \(ids.count) rows, room for \(capacity)")
  }
}
