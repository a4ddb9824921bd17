import Phases
import Settings
import Testing

/// The formulas beside PyTorch's on the same numbers (Tests/Parity/objectives.py writes them), and
/// at the ends of their ranges. Both sides compute in f64: some ten roundings of numbers up to 30.
@Suite struct `Objectives` {
  private static let tolerance = 1e-12

  private let rows: JSONNode

  init() throws { rows = try parityFile("objectives.json") }

  private func expectRows(_ name: String, _ ours: ([Double]) -> LossAndSlope) throws {
    let rows = try #require(rows[name]?.elements)
    #expect(rows.count >= 5)
    for row in rows {
      let arguments = try row.numbers("arguments")
      let found = ours(arguments)
      for (value, key) in [(found.loss, "loss"), (found.slope, "slope")] {
        let expected = try #require(row[key]?.double)
        #expect(
          abs(value - expected) <= Self.tolerance * max(1, abs(expected)),
          "\(name)\(arguments): \(key) \(value), PyTorch \(expected)")
      }
    }
  }

  private func expectLists(_ found: [Double], _ expected: [Double], _ what: String) {
    #expect(found.count == expected.count)
    for (a, b) in zip(found, expected) {
      #expect(abs(a - b) <= Self.tolerance * max(1, abs(b)), "\(what): \(a), PyTorch \(b)")
    }
  }

  @Test func `of pairs are PyTorch's`() throws {
    try expectRows("sigmoid") {
      PairObjective.sigmoid(beta: $0[1], labelSmoothing: $0[2])(margin: $0[0])
    }
    try expectRows("identity") { PairObjective.identity(beta: $0[1])(margin: $0[0]) }
    try expectRows("bradley_terry") { bradleyTerry(difference: $0[0], isTie: $0[1] == 1) }
  }

  @Test func `of a policy and its values are PyTorch's`() throws {
    try expectRows("policy") {
      ClippedPolicy(clip: $0[3])(logProbability: $0[0], old: $0[1], advantage: $0[2]).term
    }
    try expectRows("value") {
      ClippedValue(clip: $0[3])(value: $0[0], old: $0[1], target: $0[2])
    }
    try expectRows("k3") {
      let estimate = KLEstimate(logProbability: $0[0], reference: $0[1])
      #expect(estimate.k1 == $0[0] - $0[1])
      return LossAndSlope(loss: estimate.k3, slope: estimate.slope)
    }
  }

  @Test func `of advantages are PyTorch's`() throws {
    for row in try #require(rows["gae"]?.elements) {
      let found = Advantages(
        rewards: try row.numbers("rewards"), values: try row.numbers("values"),
        gamma: try #require(row["gamma"]?.double), lambda: try #require(row["lambda"]?.double))
      expectLists(found.advantages, try row.numbers("advantages"), "advantages")
      expectLists(found.returns, try row.numbers("returns"), "returns")
    }
    for row in try #require(rows["whiten"]?.elements) {
      let found = Advantages.whiten(try row.numbers("values"))
      expectLists(found, try row.numbers("result"), "whitened")
    }
    for row in try #require(rows["group"]?.elements) {
      let found = Advantages.group(try row.numbers("values"))
      expectLists(found, try row.numbers("result"), "group")
    }
  }

  @Test func `give the score to the last token and charge every one for leaving the reference`() {
    let found = Advantages.rewards(
      score: 2, logProbabilities: [-1, -0.5, -2], reference: [-1, -1, -1.5], beta: 0.1)
    expectLists(found, [0, -0.05, 2.05], "rewards")
    #expect(Advantages.rewards(score: 2, logProbabilities: [], reference: [], beta: 1).isEmpty)
  }

  @Test func `of a policy that has not moved have a ratio of exactly 1`() {
    for logProbability in [-0.0001, -1.5, -40.25] {
      let found = ClippedPolicy(clip: 0.2)(
        logProbability: logProbability, old: logProbability, advantage: 0.75)
      #expect(found.ratio == 1 && !found.isClipped && found.term.slope == -0.75)
    }
  }

  @Test func `stay finite however far two models are apart`() {
    for margin in [-1e6, 1e6] {
      let pair = PairObjective.sigmoid(beta: 1, labelSmoothing: 0.1)(margin: margin)
      #expect(pair.loss.isFinite && pair.slope.isFinite)
    }
    let policy = ClippedPolicy(clip: 0.2)(logProbability: 0, old: -1e4, advantage: -1)
    #expect(policy.term.loss.isFinite && policy.term.slope.isFinite)
    #expect(KLEstimate(logProbability: -1e4, reference: 0).k3.isFinite)
  }

  @Test func `of equal rewards teach nothing`() {
    #expect(Advantages.group([1, 1, 1]) == [0, 0, 0])
    #expect(Advantages.group([0.5]) == [0])
    #expect(Advantages.whiten([]).isEmpty)
  }
}
