internal import Planning
internal import Settings
internal import Tensors

extension Replica {
  /// What the rate is multiplied by: less than 1 where the answers that a step learns from are
  /// beyond a limit of the phase's brakes.
  ///
  /// A function of the state, which holds all answers: every worker finds the same, whoever was
  /// there when they were made.
  var brakeFactor: Double {
    guard !phase.brakes.isEmpty, let rollouts, let shape = plan.rolloutShape(ofPhase: phaseIndex)
    else { return 1 }
    let answers = Rollouts(shape, rollouts)
    let sums = (0..<shape.answerCount).reduce(SIMD16<Double>.zero) { $0 + answers[$1].measures }
    return phase.brakes.factor(of: Measures.rolloutFigures(sums))
  }
}
