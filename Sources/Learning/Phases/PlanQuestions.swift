internal import Optimization
public import Settings

extension ResolvedPlan.Phase {
  var learningRates: LearningRateSchedule { LearningRateSchedule(schedule, stepCount: steps) }
}

extension ResolvedPlan {
  /// Whether phase `index` starts with the moments of the phase before it: from pretraining to
  /// annealing it does, every other phase starts with zero moments.
  public func carriesMoments(intoPhase index: Int) -> Bool {
    index > 0 && phases[index].kind == .anneal
      && (phases[index - 1].kind == .pretrain || phases[index - 1].kind == .anneal)
  }

  /// Updates that the moments have seen when phase `index` starts, skipped steps included.
  func updatesBefore(phase index: Int) -> Int {
    var (first, count) = (index, 0)
    while carriesMoments(intoPhase: first) {
      first -= 1
      count += phases[first].steps
    }
    return count
  }
}
