internal import Operators

/// What a loss over one number is, and how steep it is there.
public struct LossAndSlope: Equatable, Sendable {
  public var loss: Double
  /// d loss / d the number.
  public var slope: Double

  public init(loss: Double, slope: Double) {
    self.loss = loss
    self.slope = slope
  }
}

/// Bradley-Terry: the better of two answers wins with probability `sigmoid(difference)`.
///
/// - Parameters:
///   - difference: Score of the chosen answer minus that of the rejected one.
///   - isTie: Whether neither was preferred: half a win for each.
/// - Returns: Negative log-likelihood, nats.
public func bradleyTerry(difference: Double, isTie: Bool = false) -> LossAndSlope {
  preferenceLoss(difference, smoothing: isTie ? 0.5 : 0)
}

/// Direct preference optimization, on the margin
///
///     m = (ln p(chosen) - ln r(chosen)) - (ln p(rejected) - ln r(rejected))
///
/// with `p` the policy, `r` the frozen reference, log-probabilities summed over an answer's tokens,
/// its end included (or their means, where the plan normalizes by length).
public enum PairObjective: Equatable, Sendable {
  /// `-(1 - e) ln sigmoid(beta m) - e ln sigmoid(-beta m)`: DPO (Rafailov et al. 2023, equation 7),
  /// with labels that are wrong with probability `e` (conservative DPO, Mitchell 2023, equation 3).
  case sigmoid(beta: Double, labelSmoothing: Double)
  /// `(m - 1 / (2 beta))^2`: IPO (Azar et al. 2023, equation 17).
  case identity(beta: Double)

  /// Loss of a margin, and d loss / d margin.
  public func callAsFunction(margin: Double) -> LossAndSlope {
    switch self {
    case .sigmoid(let beta, let smoothing):
      let result = preferenceLoss(beta * margin, smoothing: smoothing)
      return LossAndSlope(loss: result.loss, slope: beta * result.slope)
    case .identity(let beta):
      let distance = margin - 1 / (2 * beta)
      return LossAndSlope(loss: distance * distance, slope: 2 * distance)
    }
  }
}

/// `-(1 - e) ln sigmoid(x) - e ln sigmoid(-x)`.
private func preferenceLoss(_ x: Double, smoothing: Double) -> LossAndSlope {
  LossAndSlope(
    loss: -(1 - smoothing) * logSigmoid(x) - smoothing * logSigmoid(-x),
    slope: smoothing * sigmoid(x) - (1 - smoothing) * sigmoid(-x))
}
