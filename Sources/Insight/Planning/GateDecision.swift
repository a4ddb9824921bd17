public import Settings
public import Tensors

extension ResolvedPlan {
  /// Why the phase of an operation ends after it, if a gate of the plan says so.
  ///
  /// A function of what the whole cluster summed exactly, so that every worker and the coordinator
  /// decide alike, whoever is there: no time, no speed, no number of workers.
  ///
  /// - Parameter sums: Of the operation, over all slices.
  public func gate(after operation: Operation, _ sums: SliceStatistics) -> String? {
    switch operation {
    case .rollout(let phase, _): phases[phase].gates.closing(rollout: sums.measures)
    case .train(let phase, _):
      phases[phase].reinforcesPolicy
        ? phases[phase].gates.closing(
          divergence: Measures.divergence(of: sums.measures, count: sums.tokenCount)) : nil
    case .validate(let phase, _, isFull: _):
      phases[phase].reinforcesPolicy || sums.tokenCount == 0
        ? nil : phases[phase].gates.closing(loss: sums.lossSum / Double(sums.tokenCount))
    case .enter, .end: nil
    }
  }
}

extension ResolvedPlan.Gates {
  private func text(_ what: String, _ found: Double, _ side: String, _ limit: Double) -> String {
    "\(what) \(Figures.fixed(found, 4)) is \(side) \(Figures.fixed(limit, 4))"
  }

  fileprivate func closing(loss: Double) -> String? {
    guard let limit = validationLoss, loss <= limit else { return nil }
    return text("the validation loss", loss, "at most", limit)
  }

  fileprivate func closing(divergence found: Double) -> String? {
    guard let limit = divergence, found > limit else { return nil }
    return text("the divergence from the reference", found, "above", limit)
  }

  fileprivate func closing(rollout sums: SIMD16<Double>) -> String? {
    let figures = Measures.rolloutFigures(sums)
    guard let score = figures["reward"], let tokens = figures["length"],
      let surprise = figures["entropy"], let far = figures["kl_k3"]
    else { return nil }
    if let limit = reward, score >= limit { return text("the reward", score, "at least", limit) }
    if let limit = length, tokens > limit { return text("the length", tokens, "above", limit) }
    if let limit = entropy, surprise < limit {
      return text("the entropy", surprise, "under", limit)
    }
    return closing(divergence: far)
  }
}

extension Measures {
  /// The mean divergence per token that an update saw.
  static func divergence(of sums: SIMD16<Double>, count: Int64) -> Double {
    count > 0 ? sums[divergence] / Double(count) : 0
  }
}
