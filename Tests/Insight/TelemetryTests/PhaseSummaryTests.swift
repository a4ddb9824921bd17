import Telemetry
import Testing

@Suite struct `The summary of a phase` {
  private func summaries(_ records: [StepRecord]) -> [PhaseSummary] {
    var log = StepLog()
    for record in records { log.append(record) }
    return PhaseSummary.all(log)
  }

  @Test func `counts the answers of an iteration once, and all their seconds`() throws {
    // Two iterations of two steps, the second one ended after its first step.
    var records = [sampleRecord(step: 1, phase: "sft", seconds: 2)]
    for (step, iteration) in [(1, 1.0), (2, 1), (3, 2)] {
      var record = sampleRecord(step: step, phase: "ppo", seconds: 2)
      record.extra = [
        "iteration": iteration, "rollout_tokens": 100, "rollout_seconds": 5 * iteration,
        "rollout_flops": 1e12,
      ]
      records.append(record)
    }
    let found = summaries(records)
    #expect(found.map(\.phase) == ["sft", "ppo"] && found.map(\.steps) == [1, 3])
    #expect(found[0].rolloutTokensPerS == nil && found[0].seconds == 2)
    let ppo = found[1]
    #expect(ppo.rolloutTokens == 200 && ppo.rolloutSeconds == 15 && ppo.seconds == 21)
    #expect(ppo.rolloutTokensPerS == 200.0 / 15)
    // 3 x 4,096 tokens of 89.7 MFLOP and 2 TFLOP of answers, of 21 s at 460 GFLOP/s.
    let share = (3 * 4096 * 89.7e6 + 2e12) / (21 * 460e9)
    #expect(abs(try #require(ppo.mfuMeasured) - share) < 1e-12)
    #expect(ppo.mfuNominal == nil)
  }

  @Test func `says how many steps a gate left out`() {
    var log = StepLog()
    for step in 1...3 { log.append(sampleRecord(step: step)) }
    log.append(sampleRecord(step: 1, phase: "sft"))
    let outline = RunOutline(
      run: "sample",
      phases: [.init(name: "pretrain", stepCount: 9), .init(name: "sft", stepCount: 5)])
    let gate = RunEvent(.gate, run: "sample", time: "", phase: "pretrain", text: "")
    let found = PhaseSummary.all(log, events: [gate], outline: outline)
    #expect(found.map(\.stepsText) == ["3 of 9 (gate)", "1"])
    #expect(found[0].stepsPlanned == 9 && found[1].stepsPlanned == nil)
  }

  @Test func `holds what the last validation told`() throws {
    var first = sampleRecord(step: 1, phase: "reward")
    first.validationLoss = 0.7
    first.extra = ["validation_accuracy": 0.5, "accuracy": 0.4]
    let last = sampleRecord(step: 2, phase: "reward")
    var evaluation = sampleRecord(step: 0, phase: "evaluate")
    evaluation.validationLoss = 3
    let found = summaries([first, last, evaluation])
    #expect(found[0].validationLoss == 0.7)
    #expect(found[0].validationFigures == ["validation_accuracy": 0.5])
    #expect(found[1].steps == 0 && found[1].validationLoss == 3 && found[1].mfuMeasured == nil)
    #expect(summaries([]).isEmpty)
  }
}
