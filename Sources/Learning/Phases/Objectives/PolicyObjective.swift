internal import Operators

/// How far a policy's token is from the reference's: two estimators of KL(policy || reference) from
/// one sample, both unbiased over the policy's own samples (Schulman, "Approximating KL
/// divergence").
public struct KLEstimate: Equatable, Sendable {
  /// `ln p - ln r`; its mean may be below 0.
  public let k1: Double
  /// `r / p - 1 - ln(r / p)`, never below 0.
  public let k3: Double
  /// d k3 / d ln p.
  public let slope: Double

  /// - Parameters:
  ///   - logProbability: ln p(token) under the policy.
  ///   - reference: ln r(token) under the reference.
  public init(logProbability: Double, reference: Double) {
    let ratio = PortableMath.exp(bounded(reference - logProbability))
    k1 = logProbability - reference
    k3 = ratio - 1 + k1
    slope = 1 - ratio
  }
}

/// The clipped objective of PPO for one token (Schulman et al. 2017, equation 7), negated:
///
///     max(-A q, -A clip(q, 1 - e, 1 + e)),   q = p(token) / p_old(token)
public struct ClippedPolicy: Equatable, Sendable {
  /// e.
  public var clip: Double

  public init(clip: Double) { self.clip = clip }

  public struct Outcome: Equatable, Sendable {
    /// Loss, and d loss / d ln p.
    public let term: LossAndSlope
    /// q.
    public let ratio: Double
    /// Whether clipping took the gradient away.
    public let isClipped: Bool
  }

  /// - Parameters:
  ///   - logProbability: ln p(token) now.
  ///   - old: ln p(token) when it was drawn.
  ///   - advantage: A.
  public func callAsFunction(
    logProbability: Double, old: Double, advantage: Double
  ) -> Outcome {
    let ratio = PortableMath.exp(bounded(logProbability - old))
    let plain = -advantage * ratio
    let clipped = -advantage * min(max(ratio, 1 - clip), 1 + clip)
    let isClipped = clipped > plain
    return Outcome(
      term: LossAndSlope(loss: max(plain, clipped), slope: isClipped ? 0 : plain),
      ratio: ratio, isClipped: isClipped)
  }
}

/// The clipped loss of a value model for one token, as the code of PPO's authors has it
/// (openai/baselines, ppo2/model.py):
///
///     max((v - R)^2, (clip(v, v_old - e, v_old + e) - R)^2) / 2
public struct ClippedValue: Equatable, Sendable {
  /// e.
  public var clip: Double

  public init(clip: Double) { self.clip = clip }

  /// - Parameters:
  ///   - value: v, now.
  ///   - old: The value when the token was drawn.
  ///   - target: R, the return.
  /// - Returns: Loss, and d loss / d v.
  public func callAsFunction(value: Double, old: Double, target: Double) -> LossAndSlope {
    let plain = value - target
    let clipped = min(max(value, old - clip), old + clip) - target
    let isClipped = clipped * clipped > plain * plain
    let distance = isClipped ? clipped : plain
    return LossAndSlope(loss: distance * distance / 2, slope: isClipped ? 0 : plain)
  }
}

/// A difference of log-probabilities whose exponential is finite: e^80 is as good as never.
private func bounded(_ difference: Double) -> Double { min(max(difference, -80), 80) }
