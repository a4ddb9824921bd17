internal import Optimization
public import Settings

extension ResolvedPlan.Phase {
  var learningRates: LearningRateSchedule { LearningRateSchedule(schedule, stepCount: steps) }
}

extension ResolvedPlan {
  /// Whether phase `index` starts with the moments of the phase before it: from pretraining to
  /// annealing it does, every other phase starts with zero moments. An evaluation between them
  /// changes nothing.
  public func carriesMoments(intoPhase index: Int) -> Bool {
    guard phases[index].kind == .anneal, let before = trainingPhase(before: index) else {
      return false
    }
    return phases[before].kind == .pretrain || phases[before].kind == .anneal
  }

  private func trainingPhase(before index: Int) -> Int? {
    phases[..<index].lastIndex { $0.kind.takesSteps }
  }

  /// Updates that the moments have seen when phase `index` starts, skipped steps included.
  func updatesBefore(phase index: Int) -> Int {
    var (first, count) = (index, 0)
    while carriesMoments(intoPhase: first), let before = trainingPhase(before: first) {
      first = before
      count += phases[first].steps
    }
    return count
  }
}
