import Planning
import Settings
import Testing

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
