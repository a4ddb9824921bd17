/// Which source of a mixture each sequence of a phase reads, so that every stretch of sequences
/// divides as the weights do.
///
/// Of any number of sequences the first source has its share, rounded; the others are dealt among
/// the sources behind it by the same rule. After n sequences a source has had n times its share, to
/// within half as many as there are sources. The order follows from the weights alone: nothing is
/// drawn, and any sequence is found without those before it.
public struct MixtureOrder: Sendable {
  /// Of each source but the last: its part of its own weight and those behind it, in 2^-64.
  private let parts: [UInt64]

  /// - Precondition: At least one weight; all are positive, none is 2^52 times another.
  public init(weights: [Double]) {
    precondition(!weights.isEmpty && weights.allSatisfy { $0 > 0 }, "weights \(weights)")
    var rest = 0.0
    var parts: [UInt64] = []
    for weight in weights.reversed() {
      rest += weight
      parts.append(weight < rest ? UInt64(weight / rest * 0x1p64) : 0)
    }
    self.parts = parts.dropFirst().reversed()
  }

  /// The source of sequence `number`, and how many sequences before it read the same source.
  public func place(of number: Int) -> (source: Int, index: Int) {
    var index = number
    for (source, part) in parts.enumerated() {
      let before = Self.count(index, part)
      if Self.count(index + 1, part) > before { return (source, before) }
      index -= before
    }
    return (parts.count, index)
  }

  /// How many of the first `count` sequences read each source.
  public func counts(ofFirst count: Int) -> [Int] {
    var rest = count
    var counts = parts.map { part in
      let taken = Self.count(rest, part)
      rest -= taken
      return taken
    }
    counts.append(rest)
    return counts
  }

  /// `count` times `part`, rounded half up: grows by 0 or 1 from one count to the next.
  private static func count(_ count: Int, _ part: UInt64) -> Int {
    let product = UInt64(count).multipliedFullWidth(by: part)
    return Int(product.high + product.low >> 63)
  }
}
