public import Settings

/// Sums that operations of a phase report besides loss and count, by place in
/// ``Tensors/SliceStatistics/measures``, and what they are called in the records.
public enum Measures {
  /// Real tokens that were read.
  public static let tokens = 0
}

/// Of phases that learn from pairs; per pair of which one answer is the better.
extension Measures {
  static let accuracy = 1
  static let margin = 2
  static let chosen = 3
  static let rejected = 4
  static let longerWins = 5
  static let longerChosen = 6
  static let decided = 7
  static let ties = 8

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
    sums[decided] = 1
    sums[accuracy] = margin > 0 ? 1 : margin == 0 ? 0.5 : 0
    sums[Self.margin] = margin
    sums[Self.chosen] = chosen
    sums[Self.rejected] = rejected
    // How often the longer answer is the better one, by the model and by the labels.
    let isLonger: Double = lengths.0 == lengths.1 ? 0.5 : lengths.0 > lengths.1 ? 1 : 0
    sums[longerWins] = margin == 0 ? 0.5 : margin > 0 ? isLonger : 1 - isLonger
    sums[longerChosen] = isLonger
    return sums
  }

  /// The measures of a pair whose answers are equally good: nothing can be right of it, or wrong.
  ///
  /// - Parameter lengths: Tokens of both sequences.
  public static func tie(lengths: (Int, Int)) -> SIMD16<Double> {
    var sums = SIMD16<Double>.zero
    sums[tokens] = Double(lengths.0 + lengths.1)
    sums[ties] = 1
    return sums
  }
}

extension Measures {
  /// Shares and means are those of decided pairs; there are none of ties alone.
  fileprivate static func pairFigures(_ sums: SIMD16<Double>) -> [String: Double] {
    let counts = ["decided": sums[decided], "ties": sums[ties]]
    guard sums[decided] > 0 else { return counts }
    let means = sums / sums[decided]
    return [
      "accuracy": means[accuracy], "margin": means[margin], "chosen_reward": means[chosen],
      "rejected_reward": means[rejected], "longer_wins": means[longerWins],
      "longer_chosen": means[longerChosen],
    ].merging(counts) { mean, _ in mean }
  }
}

/// Of rollouts.
extension Measures {
  static let answers = 1
  static let score = 2
  static let ended = 3
  static let answerTokens = 4
  static let surprise = 5
  static let k1 = 6
  static let k3 = 7
  static let unscored = 8
  static let freshRight = 9
  static let freshPairs = 10
  static let freshTies = 11

  /// How a reward model ranks fresh pairs, before it learns from them.
  ///
  /// - Parameters:
  ///   - sums: Of ``pair(margin:chosen:rejected:lengths:)`` and ``tie(lengths:)`` over the pairs.
  ///   - count: Of the pairs, ties included.
  public static func ranking(_ sums: SIMD16<Double>, count: Int64) -> SIMD16<Double> {
    var ranking = SIMD16<Double>.zero
    ranking[freshRight] = sums[accuracy]
    ranking[freshPairs] = Double(count)
    ranking[freshTies] = sums[ties]
    return ranking
  }

  /// The measures of one answer.
  ///
  /// - Parameters:
  ///   - isUnscored: Whether its score was no finite number.
  ///   - estimates: k1 and k3 of each of its tokens.
  public static func answer(
    score: Double, isUnscored: Bool, isEnded: Bool, promptCount: Int, logProbabilities: [Double],
    estimates: [(k1: Double, k3: Double)]
  ) -> SIMD16<Double> {
    var sums = SIMD16<Double>.zero
    sums[tokens] = Double(promptCount + logProbabilities.count)
    sums[answers] = 1
    sums[Self.score] = score
    sums[unscored] = isUnscored ? 1 : 0
    sums[ended] = isEnded ? 1 : 0
    sums[answerTokens] = Double(logProbabilities.count)
    // Its mean over tokens that were drawn from the policy is the policy's entropy.
    sums[surprise] = -logProbabilities.reduce(0, +)
    sums[k1] = estimates.reduce(0) { $0 + $1.k1 }
    sums[k3] = estimates.reduce(0) { $0 + $1.k3 }
    return sums
  }

  /// What a rollout's measures come to, by the names that records give them.
  public static func rolloutFigures(_ sums: SIMD16<Double>) -> [String: Double] {
    guard sums[answers] > 0, sums[answerTokens] > 0 else { return [:] }
    let (perAnswer, perToken) = (sums / sums[answers], sums / sums[answerTokens])
    var figures = [
      "reward": perAnswer[score], "rewards_not_finite": sums[unscored],
      "ended": perAnswer[ended], "length": perAnswer[answerTokens],
      "entropy": perToken[surprise], "kl": perToken[k1], "kl_k3": perToken[k3],
    ]
    if sums[freshPairs] > 0 { figures["fresh_ties"] = sums[freshTies] / sums[freshPairs] }
    let ranked = sums[freshPairs] - sums[freshTies]
    if ranked > 0 { figures["fresh_accuracy"] = sums[freshRight] / ranked }
    return figures
  }
}

extension Measures {
  /// Names of what an iteration tells of its answers.
  public static let rolloutNames = Set(
    rolloutFigures(
      answer(
        score: 0, isUnscored: false, isEnded: true, promptCount: 1, logProbabilities: [0],
        estimates: [(0, 0)]) + ranking(.zero, count: 1),
      RolloutCosts(
        iteration: 0, tokenCount: 0, seconds: 0, exchangeSeconds: 0, byteCount: 0,
        flopsPerToken: (0, 0), recomputedCount: 0)
    ).keys)

  /// What an iteration's answers took.
  public struct RolloutCosts {
    /// Counted from 0.
    public var iteration: Int
    /// Tokens of the answers.
    public var tokenCount: Int64
    public var seconds: Double
    /// What workers spent of these on passing answers on and waiting; their mean.
    public var exchangeSeconds: Double
    /// What workers sent one another of them.
    public var byteCount: Int
    /// Of a token of prompt or answer; then with the attention term halved.
    public var flopsPerToken: (Double, Double)
    /// Slices that were another worker's before.
    public var recomputedCount: Int

    public init(
      iteration: Int, tokenCount: Int64, seconds: Double, exchangeSeconds: Double, byteCount: Int,
      flopsPerToken: (Double, Double), recomputedCount: Int
    ) {
      self.iteration = iteration
      self.tokenCount = tokenCount
      self.seconds = seconds
      self.exchangeSeconds = exchangeSeconds
      self.byteCount = byteCount
      self.flopsPerToken = flopsPerToken
      self.recomputedCount = recomputedCount
    }
  }

  /// What every step of an iteration tells of the answers that it learns from.
  public static func rolloutFigures(
    _ sums: SIMD16<Double>, _ costs: RolloutCosts
  ) -> [String: Double] {
    let count = Double(costs.tokenCount)
    let figures = [
      "iteration": Double(costs.iteration + 1), "rollout_tokens": count,
      "rollout_seconds": costs.seconds, "rollout_exchange_seconds": costs.exchangeSeconds,
      "rollout_exchange_bytes": Double(costs.byteCount),
      "rollout_tokens_per_s": costs.seconds > 0 ? count / costs.seconds : 0,
      "rollout_flops": costs.flopsPerToken.0 * sums[tokens],
      "rollout_flops_causal": costs.flopsPerToken.1 * sums[tokens],
      "rollout_slices_recomputed": Double(costs.recomputedCount),
    ]
    return rolloutFigures(sums).merging(figures) { _, cost in cost }
  }
}

/// Of updates that learn from answers; per token of an answer.
extension Measures {
  static let clipped = 1
  static let ratio = 2
  static let ratioSquare = 3
  static let oldK1 = 4
  static let policyLoss = 5
  static let valueLoss = 6
  static let returns = 7
  static let returnSquares = 8
  static let errors = 9
  static let errorSquares = 10
  static let divergence = 11

  /// The measures of one token, as the policy's update sees it.
  public static func policyToken(
    ratio: Double, isClipped: Bool, old: Double, loss: Double, divergence: Double
  ) -> SIMD16<Double> {
    var sums = SIMD16<Double>.zero
    sums[clipped] = isClipped ? 1 : 0
    sums[Self.ratio] = ratio
    sums[ratioSquare] = ratio * ratio
    sums[oldK1] = old
    sums[policyLoss] = loss
    sums[Self.divergence] = divergence
    return sums
  }

  /// The measures of one token, as the value model's update sees it.
  public static func valueToken(loss: Double, value: Double, target: Double) -> SIMD16<Double> {
    var sums = SIMD16<Double>.zero
    sums[valueLoss] = loss
    sums[returns] = target
    sums[returnSquares] = target * target
    sums[errors] = target - value
    sums[errorSquares] = (target - value) * (target - value)
    return sums
  }

  /// Sums are divided by the count, not multiplied by its inverse: ratios that are all 1 must have
  /// a mean of 1, and n (1 / n) falls short of it for 49, 98, 103 and so on.
  fileprivate static func updateFigures(
    _ sums: SIMD16<Double>, count: Double, hasValues: Bool
  ) -> [String: Double] {
    let means = sums / count
    func variance(_ mean: Int, _ meanSquare: Int) -> Double {
      means[meanSquare] - means[mean] * means[mean]
    }
    var figures = [
      "clip_fraction": means[clipped], "ratio_mean": means[ratio],
      "ratio_deviation": max(0, variance(ratio, ratioSquare)).squareRoot(),
      "kl_old": means[oldK1], "policy_loss": means[policyLoss],
      "divergence": means[divergence],
    ]
    guard hasValues else { return figures }
    let spread = variance(returns, returnSquares)
    figures["value_loss"] = means[valueLoss]
    figures["explained_variance"] =
      spread > 0 ? 1 - variance(errors, errorSquares) / spread : 0
    return figures
  }
}

extension ResolvedPlan.Phase {
  /// What the measures of a validation come to, by name.
  public func validationFigures(
    _ sums: SIMD16<Double>, count: Int64
  ) -> [String: Double] {
    reinforcesPolicy ? Measures.rolloutFigures(sums) : kind.figures(sums, count: count)
  }
}

extension ResolvedPlan.Phase.Kind {
  /// What the phase's measures come to, by the names that records give them.
  ///
  /// - Parameter count: What the loss is a mean over.
  public func figures(_ sums: SIMD16<Double>, count: Int64) -> [String: Double] {
    if readsPairs { return Measures.pairFigures(sums) }
    guard count > 0 else { return [:] }
    let count = Double(count)
    switch self {
    case .tokenizer, .pretrain, .anneal, .sft, .evaluate, .reward, .dpo: return [:]
    case .ppo: return Measures.updateFigures(sums, count: count, hasValues: true)
    case .grpo: return Measures.updateFigures(sums, count: count, hasValues: false)
    }
  }
}
