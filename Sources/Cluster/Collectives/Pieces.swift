internal import Planning

/// The unit in which gradients travel and are summed: a run of elements of one bucket, owned by
/// one rank, inside one window.
struct Piece: Equatable {
  let bucket: Int
  /// Counts the pieces of one owner through the whole exchange; travels in the header.
  let ordinal: Int
  let window: Int
  /// In the window.
  let range: Range<Int>

  var byteCount: Int { range.count * MemoryLayout<Float>.stride }
}

/// Who owns which piece. Every rank computes the same table from the same arguments, so a frame
/// needs no negotiation: the receiver knows the exact sequence that must come.
struct PieceTable {
  /// By owner, in the order in which they travel.
  private(set) var pieces: [[Piece]]

  init(worldSize: Int) { pieces = Array(repeating: [], count: worldSize) }

  /// Cuts each bucket into one segment per rank, each segment at window borders and into pieces of
  /// at most `pieceCountMax` elements. Keeps its memory.
  mutating func plan(buckets: [Range<Int>], windowCounts: [Int], pieceCountMax: Int) {
    precondition(pieceCountMax >= 16, "a piece holds at least 16 elements, not \(pieceCountMax)")
    let total = windowCounts.reduce(0, +)
    for owner in pieces.indices { pieces[owner].removeAll(keepingCapacity: true) }
    for (index, bucket) in buckets.enumerated() {
      precondition(
        bucket.lowerBound >= 0 && bucket.upperBound <= total, "bucket \(bucket) of \(total)")
      for owner in pieces.indices {
        let segment = BucketPlan.segment(of: owner, among: pieces.count, in: bucket)
        cut(segment, bucket: index, owner: owner, windowCounts, pieceCountMax)
      }
    }
  }

  private mutating func cut(
    _ segment: Range<Int>, bucket: Int, owner: Int, _ windowCounts: [Int], _ pieceCountMax: Int
  ) {
    var offset = 0
    for (window, count) in windowCounts.enumerated() {
      let inside = segment.clamped(to: offset..<(offset + count))
      var start = inside.lowerBound
      while start < inside.upperBound {
        let end = min(start + pieceCountMax, inside.upperBound)
        pieces[owner].append(
          Piece(
            bucket: bucket, ordinal: pieces[owner].count, window: window,
            range: (start - offset)..<(end - offset)))
        start = end
      }
      offset += count
    }
  }
}
