internal import Optimization
public import Settings

extension ResolvedPlan {
  /// The learning rates of phase `index`.
  ///
  /// An anneal that begins where the rates of the phase before it were to end begins where they did
  /// end, if a gate ended them earlier.
  ///
  /// - Parameter stepsTaken: In the phases that gates ended, by their indices.
  func learningRates(ofPhase index: Int, stepsTaken: [Int: Int]) -> LearningRateSchedule {
    var schedule = phases[index].schedule
    if phases[index].kind == .anneal, let before = trainingPhase(before: index),
      schedule.peak == phases[before].schedule.lastRate
    {
      let rates = learningRates(ofPhase: before, stepsTaken: stepsTaken)
      schedule.peak = stepsTaken[before].map(rates.rate) ?? rates.schedule.lastRate
    }
    return LearningRateSchedule(schedule, stepCount: phases[index].steps)
  }

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
  ///
  /// - Parameter stepsTaken: In the phases that gates ended, by their indices.
  func updatesBefore(phase index: Int, stepsTaken: [Int: Int]) -> Int {
    var (first, count) = (index, 0)
    while carriesMoments(intoPhase: first), let before = trainingPhase(before: first) {
      first = before
      count += stepsTaken[first] ?? phases[first].steps
    }
    return count
  }
}
