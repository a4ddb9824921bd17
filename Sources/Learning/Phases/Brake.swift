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

extension ResolvedPlan.Brakes {
  /// The smallest of `limit / figure` over the limits that are passed; 1 where none is. Of the
  /// entropy, which should not be small, `figure / limit`.
  ///
  /// - Parameter figures: Of an iteration's answers, by the names of the records.
  package func factor(of figures: [String: Double]) -> Double {
    func share(_ part: Double, of whole: Double) -> Double {
      part < whole ? max(0, part / whole) : 1
    }
    var factors = [1.0]
    if let divergence, let found = figures["kl_k3"] { factors.append(share(divergence, of: found)) }
    if let length, let found = figures["length"] { factors.append(share(length, of: found)) }
    if let entropy, let found = figures["entropy"] { factors.append(share(found, of: entropy)) }
    return factors.reduce(1, min)
  }
}
