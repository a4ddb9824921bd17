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
    case .rollout(let phase, _):
      phases[phase].gates.closing(rollout: Measures.rolloutFigures(sums.measures))
    case .train(let phase, _):
      phases[phase].reinforcesPolicy
        ? phases[phase].gates.answers.crossings(
          of: ["kl_k3": Measures.divergence(of: sums.measures, count: sums.tokenCount)]
        ).first?.text : nil
    case .validate(let phase, _, isFull: _):
      phases[phase].reinforcesPolicy || sums.tokenCount == 0
        ? nil : phases[phase].gates.closing(loss: sums.lossSum / Double(sums.tokenCount))
    case .enter, .end: nil
    }
  }
}

extension ResolvedPlan.Gates {
  fileprivate func closing(loss: Double) -> String? {
    guard let limit = validationLoss, loss <= limit else { return nil }
    return crossingText("the validation loss", loss, "at most", limit)
  }

  fileprivate func closing(rollout figures: [String: Double]) -> String? {
    if let limit = reward, let found = figures["reward"], found >= limit {
      return crossingText("the reward", found, "at least", limit)
    }
    return answers.crossings(of: figures).first?.text
  }
}

extension ResolvedPlan.AnswerLimits {
  /// A limit that a figure is beyond.
  public struct Crossing: Equatable, Sendable {
    /// For people.
    public let text: String
    /// What of a step is right there: `limit / figure`; of a floor, `figure / limit`.
    public let share: Double
  }

  /// What each limit is called, the figure that it bounds, and whether that should not be lower.
  private var bounds: [(name: String, figure: String, limit: Double?, isFloor: Bool)] {
    [
      ("the divergence from the reference", "kl_k3", divergence, false),
      ("the length", "length", length, false), ("the entropy", "entropy", entropy, true),
    ]
  }

  /// The limits that are passed.
  ///
  /// - Parameter figures: Of an iteration's answers, by the names of the records.
  public func crossings(of figures: [String: Double]) -> [Crossing] {
    bounds.compactMap { name, figure, limit, isFloor in
      guard let limit, let found = figures[figure], isFloor ? found < limit : found > limit
      else { return nil }
      return Crossing(
        text: crossingText(name, found, isFloor ? "under" : "above", limit),
        share: max(0, isFloor ? found / limit : limit / found))
    }
  }

  /// What the brakes multiply the rate by: the smallest share of the limits that are passed; 1
  /// where none is.
  public func factor(of figures: [String: Double]) -> Double {
    crossings(of: figures).map(\.share).reduce(1, min)
  }
}

private func crossingText(
  _ what: String, _ found: Double, _ side: String, _ limit: Double
) -> String {
  "\(what) \(Figures.fixed(found, 4)) is \(side) \(Figures.fixed(limit, 4))"
}

extension Measures {
  /// The mean divergence per token that an update saw.
  static func divergence(of sums: SIMD16<Double>, count: Int64) -> Double {
    count > 0 ? sums[divergence] / Double(count) : 0
  }
}
