import Planning
import Settings
import Testing

@Suite struct `Figures of a phase` {
  /// 49 times 1 / 49 is not 1, nor is 98 times 1 / 98 or 103 times 1 / 103.
  @Test(arguments: [1, 49, 98, 103])
  func `that are alike everywhere have exactly that mean`(count: Int) {
    func sum(_ one: SIMD16<Double>) -> SIMD16<Double> {
      (0..<count).reduce(.zero) { sum, _ in sum + one }
    }
    let token = Measures.policyToken(
      ratio: 1, isClipped: true, old: 0, loss: 0.5, divergence: 0.25)
    for kind in [ResolvedPlan.Phase.Kind.ppo, .grpo] {
      let figures = kind.figures(sum(token), count: Int64(count))
      #expect(figures["ratio_mean"] == 1 && figures["ratio_deviation"] == 0)
      #expect(figures["clip_fraction"] == 1 && figures["divergence"] == 0.25)
    }
    let pair = Measures.pair(margin: 1, chosen: 3, rejected: 2, lengths: (4, 3))
    let pairs = ResolvedPlan.Phase.Kind.dpo.figures(sum(pair), count: Int64(count))
    #expect(pairs["accuracy"] == 1 && pairs["longer_wins"] == 1)
    let answer = Measures.answer(
      score: 1, isUnscored: false, isEnded: true, promptCount: 2, logProbabilities: [-1],
      estimates: [(0, 0.5)])
    let answers = Measures.rolloutFigures(sum(answer))
    #expect(answers["reward"] == 1 && answers["ended"] == 1 && answers["length"] == 1)
    #expect(answers["entropy"] == 1 && answers["kl_k3"] == 0.5)
  }
}

@Suite struct `Measures of pairs` {
  private func figures(_ sums: SIMD16<Double>...) -> [String: Double] {
    ResolvedPlan.Phase.Kind.reward.figures(sums.reduce(.zero, +), count: Int64(sums.count))
  }

  private func pair(_ margin: Double, _ lengths: (Int, Int)) -> SIMD16<Double> {
    Measures.pair(margin: margin, chosen: 1, rejected: 1 - margin, lengths: lengths)
  }

  @Test func `are shares of those that are decided`() {
    let found = figures(
      pair(2, (9, 5)), pair(-1, (4, 8)), Measures.tie(lengths: (3, 7)),
      Measures.tie(lengths: (8, 2)))
    #expect(found["decided"] == 2 && found["ties"] == 2)
    #expect(found["accuracy"] == 0.5 && found["margin"] == 0.5 && found["longer_chosen"] == 0.5)
    let ties = figures(Measures.tie(lengths: (3, 7)))
    #expect(ties == ["decided": 0, "ties": 1])
    #expect(Measures.tie(lengths: (3, 7))[Measures.tokens] == 10)
  }

  @Test(arguments: [
    (1.0, (9, 5), 1.0), (-1, (9, 5), 0), (1, (5, 9), 0), (-1, (5, 9), 1), (0, (9, 5), 0.5),
    (0, (5, 9), 0.5), (1, (7, 7), 0.5), (-1, (7, 7), 0.5),
  ])
  func `say how often the model prefers the longer answer; draws count half`(
    margin: Double, lengths: (Int, Int), share: Double
  ) {
    #expect(figures(pair(margin, lengths))["longer_wins"] == share)
  }
}
