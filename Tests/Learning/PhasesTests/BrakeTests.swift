import Phases
import Planning
import Settings
import Tensors
import Testing

@Suite struct `Brakes` {
  /// Phase 1 samples, two answers to each of two prompts.
  private func plan(_ brakes: ResolvedPlan.AnswerLimits) -> ResolvedPlan {
    var plan = tinyPlan(dropout: 0)
    plan.phases[1].kind = .grpo
    plan.phases[1].schedule = .init(kind: .constant, peak: 1e-2, final: 1e-2, warmupSteps: 0)
    plan.phases[1].reinforcement = .init(
      judge: .rule, iterations: 1, prompts: 2, answers: 2, answerTokens: 4, epochs: 1, beta: 0)
    plan.phases[1].brakes = brakes
    return plan
  }

  /// The rate of an update after answers of 1, 2, 3 and 2 tokens, each with a log-probability of
  /// -0.5, of which the reference makes -1.5.
  private func rate(_ brakes: ResolvedPlan.AnswerLimits) throws -> Double {
    let plan = plan(brakes)
    let shape = try #require(plan.rolloutShape(ofPhase: 1))
    var rate = 0.0
    withReplica(plan) { replica in
      replica.enter(1)
      guard let rows = replica.rollouts else { return }
      let rollouts = Rollouts(shape, rows)
      for (index, count) in [1, 2, 3, 2].enumerated() {
        var answer = rollouts[index]
        answer.promptCount = 2
        answer.tokens = [UInt32](repeating: 3, count: 2 + count)
        answer.logProbabilities = [Double](repeating: -0.5, count: count)
        answer.reference = [Double](repeating: -1.5, count: count)
        rollouts[index] = answer
      }
      let work = GradientWork(replica)
      work.begin(step: 0, slices: [])
      let outcome = replica.update(
        work.windows(of: work.makeSum()), statistics: .init(tokenCount: 1, lossSum: 0), step: 0)
      rate = outcome.learningRate
    }
    return rate
  }

  private func brakes(
    _ set: (inout ResolvedPlan.AnswerLimits) -> Void
  ) -> ResolvedPlan.AnswerLimits {
    var brakes = ResolvedPlan.AnswerLimits()
    set(&brakes)
    return brakes
  }

  @Test func `make steps smaller in proportion, by answers beyond a limit alone`() throws {
    #expect(try rate(ResolvedPlan.AnswerLimits()) == 1e-2)
    // The mean of the lengths is 2; the entropy is the mean of -ln p, 0.5.
    #expect(try rate(brakes { $0.length = 2 }) == 1e-2)
    #expect(try rate(brakes { $0.length = 1.5 }) == 1e-2 * (1.5 / 2))
    #expect(try rate(brakes { $0.entropy = 0.5 }) == 1e-2)
    #expect(try rate(brakes { $0.entropy = 2 }) == 1e-2 * (0.5 / 2))
    // k3 = r - 1 - ln r of r = exp(-1.5 + 0.5).
    let far = 0.367_879_441_171_442_33 - 1 + 1
    #expect(abs(try rate(brakes { $0.divergence = 0.1 }) - 1e-2 * 0.1 / far) < 1e-12)
    #expect(try rate(brakes { $0.divergence = 0.4 }) == 1e-2)
  }

  @Test func `of several passed limits take the one that is passed furthest`() throws {
    let both = brakes {
      $0.length = 1.5
      $0.entropy = 2
    }
    #expect(try rate(both) == 1e-2 * (0.5 / 2))
  }

  @Test func `never turn a rate negative`() {
    let floor = brakes { $0.entropy = 0.1 }
    #expect(floor.factor(of: ["entropy": -0.01]) == 0)
    #expect(floor.factor(of: [:]) == 1)
  }
}
