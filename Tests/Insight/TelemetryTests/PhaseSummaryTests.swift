import System
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
        "rollout_exchange_seconds": iteration, "rollout_flops": 1e12,
      ]
      records.append(record)
    }
    let found = summaries(records)
    #expect(found.map(\.phase) == ["sft", "ppo"] && found.map(\.steps) == [1, 3])
    #expect(found[0].rolloutTokensPerS == nil && found[0].seconds == 2)
    let ppo = found[1]
    #expect(ppo.rolloutTokens == 200 && ppo.rolloutSeconds == 15 && ppo.seconds == 21)
    #expect(ppo.rolloutTokensPerS == 200.0 / 15)
    #expect(ppo.rolloutShare == 15.0 / 21 && ppo.rolloutExchangeShare == 3.0 / 21)
    #expect(found[0].rolloutShare == nil && found[0].rolloutExchangeShare == nil)
    // 3 x 4,096 tokens of 89.7 MFLOP and 2 TFLOP of answers, of 21 s at 460 GFLOP/s.
    let share = (3 * 4096 * 89.7e6 + 2e12) / (21 * 460e9)
    #expect(abs(try #require(ppo.mfuMeasured) - share) < 1e-12)
    #expect(ppo.mfuNominal == nil && ppo.peakNominalGigaflops == nil)
    #expect(abs(try #require(ppo.peakMeasuredGigaflops) - 460) < 1e-9)
    #expect(ppo.flopsFormula == "6 x 14.2 M + 12 x 6 x 384 x 256")
  }

  @Test func `weighs peaks by the seconds that they stood for`() throws {
    var slow = sampleRecord(step: 1, seconds: 3)
    slow.setPeaks(nominalGigaflops: 100, measuredGigaflops: nil, causalFlopsPerToken: 86.2e6)
    var fast = sampleRecord(step: 2, seconds: 1)
    fast.setPeaks(nominalGigaflops: 300, measuredGigaflops: nil, causalFlopsPerToken: 86.2e6)
    let found = summaries([slow, fast])[0]
    #expect(found.peakNominalGigaflops == 150 && found.peakMeasuredGigaflops == nil)
    let share = 2 * 4096 * 89.7e6 / (4 * 150e9)
    #expect(abs(try #require(found.mfuNominal) - share) < 1e-12)
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

@Suite struct `The wall clock of a run` {
  private func event(_ kind: RunEvent.Kind, _ time: String) -> RunEvent {
    RunEvent(kind, run: "sample", time: "2026-03-01T12:\(time).000Z", text: "")
  }

  @Test func `runs from each start to what was told last, and not in pauses`() throws {
    try withTemporaryDirectory { run in
      let (metrics, events) = (
        try MetricsWriter(runDirectory: run), try EventWriter(runDirectory: run)
      )
      try events.append(event(.started, "00:00"))
      var step = sampleRecord(step: 1)
      step.time = "2026-03-01T12:00:20.000Z"
      try metrics.append(step)
      // Killed after a checkpoint, 10 s after the step; and again, 7 s after its return.
      try events.append(event(.checkpointSaved, "00:30"))
      try events.append(event(.resumed, "10:00"))
      step.step = 2
      step.time = "2026-03-01T12:10:07.500Z"
      try metrics.append(step)
      try events.append(event(.resumed, "20:00"))
      try events.append(event(.finished, "20:01"))
      let reader = try RunReader(runDirectory: run)
      _ = try reader.update()
      #expect(reader.wallSeconds == 30 + 7.5 + 1)
    }
  }

  @Test func `of a run that told nothing stands still`() throws {
    try withTemporaryDirectory { run in
      try Files.write("{}", to: "\(run)/plan.resolved.json")
      #expect(try RunReader(runDirectory: run).wallSeconds == 0)
    }
  }
}
