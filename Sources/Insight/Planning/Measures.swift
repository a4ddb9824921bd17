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

extension Measures {
  fileprivate static func pairFigures(
    _ sums: SIMD16<Double>, share: Double
  ) -> [String: Double] {
    [
      "accuracy": sums[accuracy] * share, "margin": sums[margin] * share,
      "chosen_reward": sums[chosen] * share, "rejected_reward": sums[rejected] * share,
      "longer_wins": sums[longerWins] * share, "longer_chosen": sums[longerChosen] * share,
    ]
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

  /// The measures of one answer.
  ///
  /// - Parameter estimates: k1 and k3 of each of its tokens.
  public static func answer(
    score: Double, isEnded: Bool, promptCount: Int, logProbabilities: [Double],
    estimates: [(k1: Double, k3: Double)]
  ) -> SIMD16<Double> {
    var sums = SIMD16<Double>.zero
    sums[tokens] = Double(promptCount + logProbabilities.count)
    sums[answers] = 1
    sums[Self.score] = score
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
    let (perAnswer, perToken) = (1 / sums[answers], 1 / sums[answerTokens])
    return [
      "reward": sums[score] * perAnswer, "ended": sums[ended] * perAnswer,
      "length": sums[answerTokens] * perAnswer, "entropy": sums[surprise] * perToken,
      "kl": sums[k1] * perToken, "kl_k3": sums[k3] * perToken,
    ]
  }
}

extension Measures {
  /// Names of ``rolloutFigures(_:iteration:tokenCount:seconds:exchangeSeconds:flopsPerToken:)``.
  public static let rolloutNames = Set(
    rolloutFigures(
      answer(
        score: 0, isEnded: true, promptCount: 1, logProbabilities: [0], estimates: [(0, 0)]),
      iteration: 0, tokenCount: 0, seconds: 0, exchangeSeconds: 0, flopsPerToken: (0, 0)
    ).keys)

  /// What every step of an iteration tells of the answers that it learns from.
  ///
  /// - Parameters:
  ///   - iteration: Counted from 0.
  ///   - tokenCount: Tokens of the answers.
  ///   - seconds: What they took.
  ///   - exchangeSeconds: What workers spent of these on passing them on and waiting; their mean.
  ///   - flopsPerToken: Of a token of prompt or answer; then with the attention term halved.
  public static func rolloutFigures(
    _ sums: SIMD16<Double>, iteration: Int, tokenCount: Int64, seconds: Double,
    exchangeSeconds: Double, flopsPerToken: (Double, Double)
  ) -> [String: Double] {
    let costs = [
      "iteration": Double(iteration + 1), "rollout_tokens": Double(tokenCount),
      "rollout_seconds": seconds, "rollout_exchange_seconds": exchangeSeconds,
      "rollout_tokens_per_s": seconds > 0 ? Double(tokenCount) / seconds : 0,
      "rollout_flops": flopsPerToken.0 * sums[tokens],
      "rollout_flops_causal": flopsPerToken.1 * sums[tokens],
    ]
    return rolloutFigures(sums).merging(costs) { _, cost in cost }
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

  fileprivate static func updateFigures(
    _ sums: SIMD16<Double>, share: Double, hasValues: Bool
  ) -> [String: Double] {
    let ratio = sums[Measures.ratio] * share
    var figures = [
      "clip_fraction": sums[clipped] * share, "ratio_mean": ratio,
      "ratio_deviation": max(0, sums[ratioSquare] * share - ratio * ratio).squareRoot(),
      "kl_old": sums[oldK1] * share, "policy_loss": sums[policyLoss] * share,
      "divergence": sums[divergence] * share,
    ]
    guard hasValues else { return figures }
    func variance(_ sum: Double, _ squares: Double) -> Double {
      squares * share - sum * share * sum * share
    }
    let spread = variance(sums[returns], sums[returnSquares])
    figures["value_loss"] = sums[valueLoss] * share
    figures["explained_variance"] =
      spread > 0 ? 1 - variance(sums[errors], sums[errorSquares]) / spread : 0
    return figures
  }
}

extension ResolvedPlan.Phase {
  /// What the measures of a validation come to, by name.
  public func validationFigures(
    _ sums: SIMD16<Double>, count: Int64
  ) -> [String: Double] {
    samples ? Measures.rolloutFigures(sums) : kind.figures(sums, count: count)
  }
}

extension ResolvedPlan.Phase.Kind {
  /// What the phase's measures come to, by the names that records give them.
  ///
  /// - Parameter count: What the loss is a mean over.
  public func figures(_ sums: SIMD16<Double>, count: Int64) -> [String: Double] {
    guard count > 0 else { return [:] }
    let share = 1 / Double(count)
    switch self {
    case .tokenizer, .pretrain, .anneal, .sft, .evaluate: return [:]
    case .ppo: return Measures.updateFigures(sums, share: share, hasValues: true)
    case .grpo: return Measures.updateFigures(sums, share: share, hasValues: false)
    case .reward, .dpo: return Measures.pairFigures(sums, share: share)
    }
  }
}
