internal import Operators
public import Settings

/// The learning rate of every step of a phase.
///
/// Steps before `warmupSteps` rise linearly, `peak * (step + 1) / (warmupSteps + 1)`, so that the
/// first step already learns and the step after the warm-up has the peak. Then, with
/// `x = (step - warmupSteps) / (stepCount - warmupSteps)`:
///
///     cosine    final + (peak - final) * (1 + cos(pi x)) / 2
///     linear    peak + (final - peak) * x
///     constant  peak
///     wsd       peak, and over the last decaySteps linear to final
///
/// Every machine computes the same bits: no libm is asked.
public struct LearningRateSchedule: Equatable, Sendable {
  public let schedule: ResolvedPlan.Schedule
  public let stepCount: Int

  /// - Parameter stepCount: Steps of the phase.
  public init(_ schedule: ResolvedPlan.Schedule, stepCount: Int) {
    self.schedule = schedule
    self.stepCount = stepCount
  }

  /// The rate of `step`, counted from 0 at the start of the phase.
  public func rate(at step: Int) -> Double {
    let (peak, final, warmup) = (schedule.peak, schedule.final, schedule.warmupSteps)
    if step < warmup { return peak * Double(step + 1) / Double(warmup + 1) }
    switch schedule.kind {
    case .constant:
      return peak
    case .cosine:
      let x = progress(step, from: warmup)
      return final + (peak - final) * (1 + PortableMath.sinCos(.pi * x).cos) / 2
    case .linear:
      return peak + (final - peak) * progress(step, from: warmup)
    case .wsd:
      let start = max(stepCount - schedule.decaySteps, warmup)
      return step < start ? peak : peak + (final - peak) * progress(step, from: start)
    }
  }

  private func progress(_ step: Int, from start: Int) -> Double {
    stepCount > start ? min(1, Double(step - start) / Double(stepCount - start)) : 1
  }
}

/// `base` to the power `exponent >= 0`, by squaring: the same bits everywhere, unlike `pow`.
package func power(_ base: Double, _ exponent: Int) -> Double {
  precondition(exponent >= 0, "the exponent is \(exponent)")
  var (result, square, rest) = (1.0, base, exponent)
  while rest > 0 {
    if rest & 1 == 1 { result *= square }
    square *= square
    rest >>= 1
  }
  return result
}
