/// How much better than expected each token of an answer turned out.
public struct Advantages: Equatable, Sendable {
  public var advantages: [Double]
  /// What the value model should have said: advantage + value.
  public var returns: [Double]

  /// Generalized advantage estimation over an answer's tokens:
  ///
  ///     d[t] = r[t] + gamma V[t + 1] - V[t],   A[t] = d[t] + gamma lambda A[t + 1]
  ///
  /// which is the sum over (gamma lambda)^l d[t + l] of Schulman et al. 2016, equation 16,
  /// with nothing after the last token, whether the answer ended there or was cut.
  ///
  /// - Parameters:
  ///   - rewards: r, `[T]`.
  ///   - values: V, `[T]`.
  public init(rewards: [Double], values: [Double], gamma: Double, lambda: Double) {
    precondition(
      rewards.count == values.count, "\(rewards.count) rewards, \(values.count) values")
    var advantages = [Double](repeating: 0, count: rewards.count)
    var (following, nextValue) = (0.0, 0.0)
    for t in rewards.indices.reversed() {
      following = rewards[t] + gamma * nextValue - values[t] + gamma * lambda * following
      nextValue = values[t]
      advantages[t] = following
    }
    self.advantages = advantages
    returns = zip(advantages, values).map { $0 + $1 }
  }

  /// Rewards of an answer's tokens: the score comes with the last one, and every token pays for
  /// leaving the reference, `-beta k1`.
  ///
  /// - Parameters:
  ///   - score: Of the whole answer.
  ///   - logProbabilities: Of the policy that drew it, `[T]`.
  ///   - reference: `[T]`.
  public static func rewards(
    score: Double, logProbabilities: [Double], reference: [Double], beta: Double
  ) -> [Double] {
    var rewards = zip(logProbabilities, reference).map { -beta * ($0 - $1) }
    if let last = rewards.indices.last { rewards[last] += score }
    return rewards
  }

  /// Subtracts the mean and divides by the deviation, over all tokens of an iteration, summed in
  /// their order in f64: `(A - mean) / sqrt(variance + 1e-8)`, the variance over n.
  public static func whiten(_ values: [Double]) -> [Double] {
    guard !values.isEmpty else { return [] }
    let mean = values.reduce(0, +) / Double(values.count)
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
    let scale = 1 / (variance + 1e-8).squareRoot()
    return values.map { ($0 - mean) * scale }
  }

  /// The advantage of each answer of a group to one prompt (GRPO, Shao et al. 2024, section 4.1.2):
  /// `(r - mean) / (deviation + 1e-4)`, the variance over n - 1. A group whose rewards are all
  /// equal teaches nothing: 0.
  public static func group(_ rewards: [Double]) -> [Double] {
    guard rewards.count > 1 else { return rewards.map { _ in 0 } }
    let mean = rewards.reduce(0, +) / Double(rewards.count)
    let squares = rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let deviation = (squares / Double(rewards.count - 1)).squareRoot()
    return rewards.map { ($0 - mean) / (deviation + 1e-4) }
  }
}
