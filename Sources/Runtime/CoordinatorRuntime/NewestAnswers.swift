internal import Planning
internal import Settings
internal import Telemetry

/// What is known of the answers that the steps to come learn from: figures of the newest rollout,
/// by the names that records give them.
struct NewestAnswers {
  private let plan: ResolvedPlan
  private var newest: (phase: Int, figures: [String: Double])?

  init(_ plan: ResolvedPlan) { self.plan = plan }

  mutating func take(_ figures: [String: Double], ofPhase phase: Int) {
    newest = (phase, figures)
  }

  /// Figures of the answers that a step learns from. None if they are not known: the coordinator
  /// was killed between them and the first step.
  func figures(ofPhase phase: Int, step: Int) -> [String: Double] {
    guard let newest, newest.phase == phase,
      let reinforcement = plan.phases[phase].reinforcement,
      newest.figures["iteration"]
        == Double(step / reinforcement.stepsPerIteration(plan.batch) + 1)
    else { return [:] }
    return newest.figures
  }

  /// A step's share of its iteration's answers.
  func share(of figures: [String: Double], phase: Int) -> StepRecord.Rollout? {
    guard let reinforcement = plan.phases[phase].reinforcement,
      let flops = figures["rollout_flops"], let causal = figures["rollout_flops_causal"],
      let seconds = figures["rollout_seconds"]
    else { return nil }
    let share = 1 / Double(reinforcement.stepsPerIteration(plan.batch))
    return StepRecord.Rollout(
      flops: flops * share, causalFlops: causal * share, seconds: seconds * share)
  }

  /// What to tell where answers with `figures`, which come now, make the steps smaller, or where
  /// steps are whole again.
  func brakeChange(to figures: [String: Double], ofPhase phase: Int) -> String? {
    let brakes = plan.phases[phase].brakes
    let before = newest.map { $0.phase == phase ? brakes.factor(of: $0.figures) : 1 } ?? 1
    let factor = brakes.factor(of: figures)
    guard (factor < 1) != (before < 1) else { return nil }
    let reasons = brakes.crossings(of: figures).map(\.text).joined(separator: ", ")
    return factor < 1
      ? "\(reasons): steps are taken at \(Figures.fixed(factor, 3)) of their rate"
      : "answers are within the limits again: steps are taken at their whole rate"
  }
}
