public import Settings

/// Sums that operations of a phase report besides loss and count, by place in
/// ``Tensors/SliceStatistics/measures``, and what they are called in the records.
public enum Measures {
  /// Real tokens that were read.
  public static let tokens = 0
}

/// Of phases that learn from pairs; per pair.
extension Measures {
  static let accuracy = 1
  static let margin = 2
  static let chosen = 3
  static let rejected = 4
  static let longerWins = 5
  static let longerChosen = 6

  /// The measures of one pair.
  ///
  /// - Parameters:
  ///   - margin: By how much the chosen answer is ahead of the rejected one.
  ///   - lengths: Tokens of the chosen and of the rejected sequence.
  public static func pair(
    margin: Double, chosen: Double, rejected: Double, lengths: (Int, Int)
  ) -> SIMD16<Double> {
    var sums = SIMD16<Double>.zero
    sums[tokens] = Double(lengths.0 + lengths.1)
    sums[accuracy] = margin > 0 ? 1 : margin == 0 ? 0.5 : 0
    sums[Self.margin] = margin
    sums[Self.chosen] = chosen
    sums[Self.rejected] = rejected
    // How often the longer answer is the better one, by the model and by the labels.
    if lengths.0 == lengths.1 {
      sums[longerWins] = 0.5
      sums[longerChosen] = 0.5
    } else {
      sums[longerWins] = (margin > 0) == (lengths.0 > lengths.1) ? 1 : 0
      sums[longerChosen] = lengths.0 > lengths.1 ? 1 : 0
    }
    return sums
  }
}

extension ResolvedPlan.Phase.Kind {
  /// What the phase's measures come to, by the names that records give them.
  ///
  /// - Parameter count: What the loss is a mean over.
  public func figures(_ sums: SIMD16<Double>, count: Int64) -> [String: Double] {
    guard count > 0, readsPairs else { return [:] }
    let share = 1 / Double(count)
    return [
      "accuracy": sums[Measures.accuracy] * share,
      "margin": sums[Measures.margin] * share,
      "chosen_reward": sums[Measures.chosen] * share,
      "rejected_reward": sums[Measures.rejected] * share,
      "longer_wins": sums[Measures.longerWins] * share,
      "longer_chosen": sums[Measures.longerChosen] * share,
    ]
  }
}
