import Planning
import Settings
import Tensors
import Testing

@Suite struct `Gates of answers` {
  /// Two answers of 2 and 4 tokens, each token with a log-probability of -0.5 and a k3 of 0.25.
  private static let answers = [2, 4].reduce(SIMD16<Double>.zero) { sum, count in
    sum + Measures.answer(
      score: 1, isUnscored: false, isEnded: true, promptCount: 3,
      logProbabilities: [Double](repeating: -0.5, count: count),
      estimates: [(k1: Double, k3: Double)](repeating: (0.1, 0.25), count: count))
  }

  private func reason(
    _ gates: String,
    after operation: (Int) -> Planning.Operation = { .rollout(phase: $0, iteration: 0) }
  ) throws -> String? {
    let plan = try plan(
      """
      { "phases": [ {"kind": "tokenizer"}, {"kind": "sft", "steps": 2},
        {"kind": "grpo", "gates": { \(gates) }} ] }
      """)
    return plan.gate(
      after: operation(2), SliceStatistics(tokenCount: 6, lossSum: 0, measures: Self.answers))
  }

  @Test(arguments: [
    (#""length": 2.9"#, "the length 3.0000 is above 2.9000"), (#""length": 3"#, nil),
    (#""entropy": 0.6"#, "the entropy 0.5000 is under 0.6000"), (#""entropy": 0.5"#, nil),
    (#""divergence": 0.2"#, "the divergence from the reference 0.2500 is above 0.2000"),
    (#""divergence": 0.25"#, nil), (#""reward": 1"#, "the reward 1.0000 is at least 1.0000"),
    (#""reward": 1.1"#, nil),
    (#""length": 9, "entropy": 0.1, "divergence": 1, "reward": 2"#, nil),
  ] as [(String, String?)])
  func `close a phase after a rollout that passes them, and not at them`(
    gates: String, expected: String?
  ) throws {
    #expect(try reason(gates) == expected)
    // Of the cluster's answers nothing else is looked at.
    #expect(try reason(gates, after: { .enter(phase: $0) }) == nil)
    #expect(
      try reason(gates, after: { .validate(phase: $0, afterStep: 1, isFull: false) }) == nil)
  }
}
