/// Finds the merges of byte-pair encoding: again and again the most frequent pair becomes a token.
///
/// Of pairs with equal counts the one whose tokens' bytes are lexicographically greatest (left
/// token first, then right) wins, so the result is a function of the text. Pair counts are kept up
/// to date: a merge visits only the pieces that hold its pair, and a heap with stale entries
/// gives the next pair. Merging goes on down to pairs that occur once.
/// - Source: Sennrich et al. 2016, arXiv:1508.07909, algorithm 1; the tie rule is that of
///   Stanford CS336 (assignment 1).
struct MergeTraining {
  private(set) var tokens = TokenBytes((0...255).map { [UInt8($0)] })
  private(set) var merges: [Merge] = []

  /// Ids of all pieces, one piece after the other; a merge shortens a piece in place.
  private var symbols: [UInt32] = []
  private var starts: [Int] = []
  private var lengths: [Int] = []
  private let pieceCounts: [Int]

  /// Number of a pair, by its two ids.
  private var pairIndices: [UInt64: Int] = [:]
  private var pairs: [UInt64] = []
  private var pairCounts: [Int] = []
  /// Pieces in which the pair occurred when it was counted there; may name one twice or stale.
  private var pairPieces: [[UInt32]] = []
  private var isRaised: [Bool] = []
  private var raised: [Int] = []

  private var heap: [Candidate] = []
  private var tokenIDs: [[UInt8]: UInt32] = [:]

  private struct Candidate {
    var count: Int
    var pair: Int
  }

  init(_ counter: PieceCounter) {
    pieceCounts = counter.counts
    for index in 0..<counter.pieces.count {
      let piece = counter.pieces.piece(index)
      starts.append(symbols.count)
      lengths.append(piece.count)
      symbols.append(contentsOf: piece.lazy.map { UInt32($0) })
    }
    for id in 0..<256 { tokenIDs[[UInt8(id)]] = UInt32(id) }
    for piece in starts.indices { countPairs(of: piece) }
    pushRaised()
  }

  /// Merges until there are `count` tokens, bytes included, or no pairs left.
  mutating func run(untilTokenCount count: Int) {
    while tokens.count < count, let pair = popMostFrequent() { merge(pair) }
  }

  // MARK: - Counting

  private mutating func countPairs(of piece: Int) {
    let start = starts[piece]
    for index in start..<start + max(lengths[piece] - 1, 0) {
      raise(symbols[index], symbols[index + 1], by: pieceCounts[piece], in: piece)
    }
  }

  private mutating func raise(_ left: UInt32, _ right: UInt32, by count: Int, in piece: Int) {
    let key = UInt64(left) << 32 | UInt64(right)
    let pair: Int
    if let known = pairIndices[key] {
      pair = known
    } else {
      pair = pairs.count
      pairIndices[key] = pair
      pairs.append(key)
      pairCounts.append(0)
      pairPieces.append([])
      isRaised.append(false)
    }
    pairCounts[pair] += count
    if pairPieces[pair].last != UInt32(piece) { pairPieces[pair].append(UInt32(piece)) }
    if !isRaised[pair] {
      isRaised[pair] = true
      raised.append(pair)
    }
  }

  /// Changes the count of a pair that the piece held before the merge as well.
  private mutating func adjust(_ left: UInt32, _ right: UInt32, by count: Int) {
    let key = UInt64(left) << 32 | UInt64(right)
    guard let pair = pairIndices[key] else {
      preconditionFailure("pair (\(left), \(right)) was never counted")
    }
    pairCounts[pair] += count
  }

  // MARK: - Merging

  private mutating func merge(_ pair: Int) {
    let left = UInt32(pairs[pair] >> 32)
    let right = UInt32(truncatingIfNeeded: pairs[pair])
    let bytes = tokens[Int(left)] + tokens[Int(right)]
    // Two pairs can spell the same bytes; the vocabulary holds them once.
    let result = tokenIDs[bytes] ?? UInt32(tokens.count)
    if result == tokens.count {
      tokens.append(bytes)
      tokenIDs[bytes] = result
    }
    merges.append(Merge(left: left, right: right, result: result))
    let places = pairPieces[pair]
    pairPieces[pair] = []
    for piece in places { merge(left, right, into: result, in: Int(piece)) }
    precondition(
      pairCounts[pair] == 0, "\(pairCounts[pair]) occurrences of a merged pair are left")
    pushRaised()
  }

  /// Replaces the pair in one piece from left to right. Only pairs with the new token can gain.
  private mutating func merge(
    _ left: UInt32, _ right: UInt32, into result: UInt32, in piece: Int
  ) {
    let start = starts[piece]
    let length = lengths[piece]
    let count = pieceCounts[piece]
    var isPresent = false
    for index in start..<start + length - 1
    where symbols[index] == left && symbols[index + 1] == right {
      isPresent = true
      break
    }
    guard isPresent else { return }
    for index in start..<start + length - 1 {
      adjust(symbols[index], symbols[index + 1], by: -count)
    }
    var target = start
    var index = start
    while index < start + length {
      if index + 1 < start + length, symbols[index] == left, symbols[index + 1] == right {
        symbols[target] = result
        index += 2
      } else {
        symbols[target] = symbols[index]
        index += 1
      }
      target += 1
    }
    lengths[piece] = target - start
    for index in start..<max(target - 1, start) {
      let (first, second) = (symbols[index], symbols[index + 1])
      if first == result || second == result {
        raise(first, second, by: count, in: piece)
      } else {
        adjust(first, second, by: count)
      }
    }
  }

  // MARK: - Heap

  /// Makes candidates of the pairs whose counts may have grown.
  private mutating func pushRaised() {
    for pair in raised {
      isRaised[pair] = false
      if pairCounts[pair] > 0 { push(Candidate(count: pairCounts[pair], pair: pair)) }
    }
    raised.removeAll(keepingCapacity: true)
  }

  private mutating func popMostFrequent() -> Int? {
    while let top = pop() {
      let count = pairCounts[top.pair]
      if top.count == count { return top.pair }
      if count > 0, count < top.count { push(Candidate(count: count, pair: top.pair)) }
    }
    return nil
  }

  private func precedes(_ first: Candidate, _ second: Candidate) -> Bool {
    if first.count != second.count { return first.count > second.count }
    return isGreater(pairs[first.pair], pairs[second.pair])
  }

  /// Whether the first pair's token bytes are lexicographically greater than the second's.
  private func isGreater(_ first: UInt64, _ second: UInt64) -> Bool {
    if first >> 32 != second >> 32 {
      let order = compareTokens(Int(first >> 32), Int(second >> 32))
      if order != 0 { return order > 0 }
    }
    let mask: UInt64 = 0xFFFF_FFFF
    return compareTokens(Int(first & mask), Int(second & mask)) > 0
  }

  private func compareTokens(_ first: Int, _ second: Int) -> Int {
    let a = tokens.range(of: first)
    let b = tokens.range(of: second)
    let bytes = tokens.bytes.span
    for offset in 0..<min(a.count, b.count) {
      let x = bytes[a.lowerBound + offset]
      let y = bytes[b.lowerBound + offset]
      if x != y { return x < y ? -1 : 1 }
    }
    return a.count - b.count
  }

  private mutating func push(_ candidate: Candidate) {
    heap.append(candidate)
    var child = heap.count - 1
    while child > 0, precedes(heap[child], heap[(child - 1) / 2]) {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  private mutating func pop() -> Candidate? {
    guard let top = heap.first else { return nil }
    let last = heap.removeLast()
    guard !heap.isEmpty else { return top }
    heap[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < heap.count else { return top }
      if child + 1 < heap.count, precedes(heap[child + 1], heap[child]) { child += 1 }
      guard precedes(heap[child], heap[parent]) else { return top }
      heap.swapAt(child, parent)
      parent = child
    }
  }
}
