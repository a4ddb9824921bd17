package import Planning
package import Tensors

/// The payload of a statistics frame: words of each node (which one, tokens, bits of the loss sum
/// and of the other sums).
package enum StatisticsPayload {
  package static let wordsPerNode = 3 + SIMD16<Double>.scalarCount

  package static func write(
    _ statistics: [SliceNode: SliceStatistics], nodes: [SliceNode],
    into words: SharedRows<UInt64>
  ) {
    for (index, node) in nodes.enumerated() {
      guard let value = statistics[node] else {
        preconditionFailure("no statistics for \(node), which this rank holds")
      }
      let first = wordsPerNode * index
      words[first] = word(node).littleEndian
      words[first + 1] = UInt64(bitPattern: value.tokenCount).littleEndian
      words[first + 2] = value.lossSum.bitPattern.littleEndian
      for measure in value.measures.indices {
        words[first + 3 + measure] = value.measures[measure].bitPattern.littleEndian
      }
    }
  }

  /// Reads a peer's words, which must be about exactly `nodes`, in that order.
  ///
  /// - Throws: ``ExchangeError/unexpectedFrame(rank:field:expected:found:)``.
  package static func read(
    _ words: SharedRows<UInt64>, nodes: [SliceNode], rank: Int,
    into statistics: inout [SliceNode: SliceStatistics]
  ) throws(ExchangeError) {
    for (index, node) in nodes.enumerated() {
      let first = wordsPerNode * index
      let found = UInt64(littleEndian: words[first])
      guard found == word(node) else {
        throw .unexpectedFrame(rank: rank, field: .node, expected: word(node), found: found)
      }
      let tokenCount = UInt64(littleEndian: words[first + 1])
      // Counts are added over slices later: 2^48 tokens in one step is out of any plan's reach,
      // and far from where a sum could overflow.
      guard tokenCount < 1 << 48 else {
        throw .unexpectedFrame(
          rank: rank, field: .statistics, expected: 1 << 48, found: tokenCount)
      }
      var value = SliceStatistics(
        tokenCount: Int64(tokenCount),
        lossSum: Double(bitPattern: UInt64(littleEndian: words[first + 2])))
      for measure in value.measures.indices {
        let bits = UInt64(littleEndian: words[first + 3 + measure])
        value.measures[measure] = Double(bitPattern: bits)
      }
      statistics[node] = value
    }
  }

  /// The sum of all nodes' statistics along the tree.
  static func sum(
    _ statistics: [SliceNode: SliceStatistics], at node: SliceNode
  ) -> SliceStatistics {
    if let value = statistics[node] { return value }
    precondition(node.level > 0, "nobody holds slice \(node.index)")
    return sum(statistics, at: node.left) + sum(statistics, at: node.right)
  }

  private static func word(_ node: SliceNode) -> UInt64 {
    UInt64(node.level) << 32 | UInt64(node.index)
  }
}
