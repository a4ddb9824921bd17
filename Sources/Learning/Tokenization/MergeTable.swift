/// One rule of byte-pair encoding: the pair becomes one token.
struct Merge: Equatable, Sendable {
  var left: UInt32
  var right: UInt32
  var result: UInt32
}

/// The merges in order of rank, and a table that finds a pair's rank.
struct MergeTable: Sendable {
  /// In order of rank.
  private(set) var merges: [Merge] = []
  /// Rank in the high half, result in the low half.
  private var pairs: PairTable

  /// The value of a pair that does not merge; larger than that of any that does.
  static let absent = PairTable.absent

  init(merges: [Merge]) {
    self.init(countMax: merges.count)
    for merge in merges { append(merge) }
  }

  /// An empty table with room for `countMax` merges.
  init(countMax: Int) { pairs = PairTable(countMax: countMax) }

  /// Adds the merge of the next rank. The last rank given to a pair stays, as in Hugging Face
  /// tokenizers.
  mutating func append(_ merge: Merge) {
    pairs.set(merge.left, merge.right, to: UInt64(merges.count) << 32 | UInt64(merge.result))
    merges.append(merge)
  }

  /// Rank (high half) and result (low half) of the pair, or ``absent``.
  @inline(__always)
  func value(_ left: UInt32, _ right: UInt32) -> UInt64 { pairs.value(left, right) }
}

/// Replays merges on one piece: the pair of lowest rank first, of equals the leftmost.
struct MergeReplay: Sendable {
  private var ids: [UInt32] = []
  /// Value of the pair that starts at each id, as in ``MergeTable/value(_:_:)``.
  private var values: [UInt64] = []
  private var following: [Int] = []
  private var preceding: [Int] = []
  private var heap = MinHeap()

  /// Up to this length a scan for the lowest rank beats a heap (both give the same ids).
  static let scannedLengthMax = 48

  /// Merges `initial` (one id per byte) as far as the table goes, onto the end of `target`.
  mutating func merge(_ initial: [UInt32], with table: MergeTable, into target: inout [UInt32]) {
    if initial.count <= Self.scannedLengthMax {
      mergeByScanning(initial, table, &target)
    } else {
      mergeByHeap(initial, table, &target)
    }
  }

  private mutating func mergeByScanning(
    _ initial: [UInt32], _ table: MergeTable, _ target: inout [UInt32]
  ) {
    ids.removeAll(keepingCapacity: true)
    ids.append(contentsOf: initial)
    values.removeAll(keepingCapacity: true)
    for index in 1..<max(ids.count, 1) { values.append(table.value(ids[index - 1], ids[index])) }
    while true {
      var lowest = MergeTable.absent
      var place = 0
      for index in values.indices where values[index] < lowest {
        lowest = values[index]
        place = index
      }
      guard lowest != MergeTable.absent else { break }
      ids[place] = UInt32(truncatingIfNeeded: lowest)
      ids.remove(at: place + 1)
      values.remove(at: place)
      if place > 0 { values[place - 1] = table.value(ids[place - 1], ids[place]) }
      if place < values.count { values[place] = table.value(ids[place], ids[place + 1]) }
    }
    target.append(contentsOf: ids)
  }

  /// The same in `n log n`: a linked list of ids and a heap of pairs, whose entries may be stale.
  private mutating func mergeByHeap(
    _ initial: [UInt32], _ table: MergeTable, _ target: inout [UInt32]
  ) {
    let count = initial.count
    ids = initial
    values = [UInt64](repeating: MergeTable.absent, count: count)
    following = (1...count).map { $0 }
    preceding = (0..<count).map { $0 - 1 }
    heap.removeAll()
    for index in 0..<count - 1 { rate(index, table) }
    while let entry = heap.popLeast() {
      let index = Int(entry.place)
      let value = values[index]
      guard value != MergeTable.absent, value >> 32 == entry.rank else { continue }
      let absorbed = following[index]
      ids[index] = UInt32(truncatingIfNeeded: value)
      values[absorbed] = MergeTable.absent
      following[index] = following[absorbed]
      if following[index] < count { preceding[following[index]] = index }
      rate(index, table)
      if preceding[index] >= 0 { rate(preceding[index], table) }
    }
    var index = 0
    while index < count {
      target.append(ids[index])
      index = following[index]
    }
  }

  private mutating func rate(_ index: Int, _ table: MergeTable) {
    let next = following[index]
    guard next < ids.count else {
      values[index] = MergeTable.absent
      return
    }
    values[index] = table.value(ids[index], ids[next])
    guard values[index] != MergeTable.absent else { return }
    heap.push(MinHeap.Entry(rank: values[index] >> 32, place: UInt64(index)))
  }
}

/// A binary heap of (rank, place), least first.
struct MinHeap: Sendable {
  struct Entry: Comparable, Sendable {
    var rank: UInt64
    var place: UInt64
    static func < (left: Entry, right: Entry) -> Bool {
      (left.rank, left.place) < (right.rank, right.place)
    }
  }

  private var entries: [Entry] = []

  mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

  mutating func push(_ entry: Entry) {
    entries.append(entry)
    var child = entries.count - 1
    while child > 0, entries[child] < entries[(child - 1) / 2] {
      entries.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func popLeast() -> Entry? {
    guard let least = entries.first else { return nil }
    let last = entries.removeLast()
    guard !entries.isEmpty else { return least }
    entries[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < entries.count else { return least }
      if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
      guard entries[child] < entries[parent] else { return least }
      entries.swapAt(child, parent)
      parent = child
    }
  }
}
