/// The vocabulary as a tree: a node for every beginning of a token.
struct TokenTrie: Sendable {
  /// The node that follows a node and a byte; the root is 0.
  private var children: PairTable
  /// The id of the token that ends at each node, or `UInt32.max`.
  private var ids: [UInt32] = [UInt32.max]

  init(_ tokens: TokenBytes) {
    children = PairTable(countMax: tokens.bytes.count)
    for id in 0..<tokens.count where tokens.byteCount(of: id) > 0 {
      var node: UInt32 = 0
      for index in tokens.range(of: id) { node = child(of: node, tokens.bytes[index]) }
      ids[Int(node)] = UInt32(id)
    }
  }

  /// Writes `range` of `text` with the longest token that fits, again and again.
  /// - Precondition: Every byte is a token.
  func match(_ text: Span<UInt8>, _ range: Range<Int>, into target: inout [UInt32]) {
    var start = range.lowerBound
    while start < range.upperBound {
      var node: UInt32 = 0
      var index = start
      var longest = (id: UInt32.max, end: start)
      while index < range.upperBound {
        let next = children.value(node, UInt32(text[index]))
        guard next != PairTable.absent else { break }
        node = UInt32(truncatingIfNeeded: next)
        index += 1
        if ids[Int(node)] != UInt32.max { longest = (ids[Int(node)], index) }
      }
      precondition(longest.end > start, "byte \(text[start]) has no token")
      target.append(longest.id)
      start = longest.end
    }
  }

  private mutating func child(of node: UInt32, _ byte: UInt8) -> UInt32 {
    let known = children.value(node, UInt32(byte))
    if known != PairTable.absent { return UInt32(truncatingIfNeeded: known) }
    let new = UInt32(ids.count)
    ids.append(UInt32.max)
    children.set(node, UInt32(byte), to: UInt64(new))
    return new
  }
}
