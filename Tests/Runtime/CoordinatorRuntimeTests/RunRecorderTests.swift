import Checkpoints
import CoordinatorRuntime
import Planning
import System
import Telemetry
import Testing

@Suite struct `The records of a run` {
  private func log(_ run: String) throws -> StepLog {
    let reader = try RunReader(runDirectory: run)
    _ = try reader.update()
    return reader.log
  }

  private func lineCount(_ run: String) throws -> Int {
    try Files.read("\(run)/metrics.jsonl").count { $0 == 0x0A }
  }

  @Test func `of steps taken before a restart stand, whatever workers report again`() throws {
    try withRun { run in
      do {
        let first = try Recording(run)
        try first.beginView(at: 0)
        first.record(0..<2)
      }
      let before = try log(run).records
      let second = try Recording(run)
      second.report(0..<3, seconds: 5)
      second.recorder.commit(upTo: 3)
      let after = try log(run).records
      #expect(after.prefix(2) == before.prefix(2))
      #expect(after.map(\.step) == [1, 2, 3])
      // The third was taken while there was no coordinator: it took what its worker says.
      #expect((after.last?.seconds ?? 0) >= 5)
      #expect(try log(run).repeatedCount == 0)
    }
  }

  @Test func `hold a step at once, and its validation as soon as it is known`() throws {
    try withRun { run in
      let recording = try Recording(run)
      try recording.beginView(at: 0)
      recording.record(0..<3)
      #expect(try log(run).records.map(\.step) == [1, 2, 3])
      #expect(try log(run).latest?.validationLoss == nil)
      recording.record(3..<4)
      let validated = try log(run)
      #expect(validated.records.last?.validationLoss == 67.0 / 32)
      #expect(validated.records.map(\.step) == [1, 2, 3])
      #expect(validated.repeatedCount == 0)
    }
  }

  @Test func `give a validation to its step after a restart and after a rewind`() throws {
    try withRun { run in
      do {
        let first = try Recording(run)
        try first.beginView(at: 0)
        first.record(0..<3)
      }
      let second = try Recording(run)
      try second.beginView(at: 3)
      second.record(3..<4)
      #expect(try log(run).records.last?.validationLoss == 67.0 / 32)
      second.record(4..<6)
      second.recorder.rewind(from: 6, to: 3)
      try second.beginView(at: 3)
      second.record(3..<6)
      #expect(try log(run).records.map(\.step) == [1, 2, 3, 1])
      #expect(try log(run).records.dropFirst(2).first?.validationLoss == 67.0 / 32)
      #expect(try log(run).differences.isEmpty)
    }
  }

  /// Several steps a second share a line, which waits for the next ones.
  @Test func `have a line of mfu.log each or together, though a coordinator was killed`() throws {
    try withRun { run in
      /// Time, phase and step of each line.
      func log() throws -> [String] {
        String(decoding: try Files.read("\(run)/mfu.log"), as: UTF8.self)
          .split(separator: "\n").filter { $0.contains("/3 ") }.map { String($0.prefix(29)) }
      }
      do {
        let first = try Recording(run)
        try first.beginView(at: 0)
        first.record(0..<3)
      }
      let before = try log()
      #expect(before.count == 1 && before[0].contains(" 1/3 "))
      _ = try Recording(run)
      let after = try log()
      #expect(after.prefix(1) == before.prefix(1))
      #expect(after.last?.contains(" 3/3 ") == true, "\(after)")
      // Nothing is told twice, and a log that was lost is made again.
      _ = try Recording(run)
      #expect(try log() == after)
      try Files.removeTree("\(run)/mfu.log")
      let third = try Recording(run)
      let whole = try log()
      #expect(whole.first == after.first && whole.last == after.last)
      try third.beginView(at: 3)
      third.record(3..<4)
      #expect(try log().dropLast() == whole[...])
    }
  }

  /// Reported again, or made again by a worker that does not have it; behind steps, and where there
  /// is no step: the record's loss is none then, which equals nothing.
  @Test(arguments: [
    (done: 4, from: 2, isMadeAgain: false), (done: 4, from: 3, isMadeAgain: true),
    (done: 10, from: 9, isMadeAgain: false), (done: 10, from: 9, isMadeAgain: true),
  ])
  func `do not repeat a validation that was recorded before a restart`(
    done: Int, from: Int, isMadeAgain: Bool
  ) throws {
    try withRun { run in
      do {
        let first = try Recording(run)
        try first.beginView(at: 0)
        first.record(0..<done)
      }
      let count = try lineCount(run)
      let second = try Recording(run)
      if isMadeAgain { try second.beginView(at: from) }
      second.report(from..<done)
      second.recorder.commit(upTo: done)
      #expect(try lineCount(run) == count)
    }
  }

  @Test func `tell what a phase that only evaluates came to`() throws {
    try withRun { run in
      let recording = try Recording(run)
      try recording.beginView(at: 0)
      recording.record(0..<10)
      let record = try #require(try log(run).latest)
      #expect(record.phase == "c" && record.isEvaluation)
      #expect(record.validationLoss == 73.0 / 32)
      let report = try TailReport(runDirectory: run)
      #expect(report.summary?.phase == "b")
      #expect(report.summary?.evaluations.map(\.loss) == [73.0 / 32])
      #expect(report.text().contains("evaluated c: 2.281"))
      let events = try RunReader(runDirectory: run).update().events
      #expect(events.filter { $0.event == .phaseEnded }.map(\.phase) == ["a", "b", "c"])
      #expect(events.contains { $0.event == .validating && $0.phase == "a" })
    }
  }

  @Test func `say how many rows were passed over, and why`() throws {
    try withRun { run in
      let rows = "\(Files.parent(of: run))/rows.jsonl"
      let lines = (0..<20).map { #"{"prompt": "Q\#($0)?", "completion": "A."}"# }
        + ["{}", "{}", #"{"prompt": "Q?", "completion": ""}"#]
      try Files.write(Array(lines.joined(separator: "\n").utf8), to: rows)
      let plan = planText().replacing(
        #"{ "kind": "evaluate", "name": "c" }"#,
        with: #"{ "kind": "sft", "steps": 2, "data": { "source": "\#(rows)" } }"#
      ).replacing("\"context\": 8", with: "\"context\": 128")
      _ = try Recording(run, plan: plan)
      let events = try RunReader(runDirectory: run).update().events
      let told = try #require(events.first { $0.event == .rowsPassedOver })
      #expect(told.phase == "sft")
      #expect(told.text.hasPrefix("3 of 23 rows passed over: 2 times \"it has no messages"))
      #expect(told.text.hasSuffix("1 times \"its completion is empty\""), "\(told.text)")
    }
  }

  /// Phase g: enter (2), rollout (3), steps (4, 5), rollout (6), steps (7, 8), validation (9).
  private static let samplingPlan = """
    {
      "name": "tiny", "seed": 3,
      "model": { "layers": 1, "width": 16, "heads": 2, "feed_forward": 16, "context": 96 },
      "batch": { "sequences": 4, "slices": 2 }, "tokenizer": { "kind": "bytes" },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "name": "a", "steps": 1, "validation": { "every": 0 } },
        {
          "kind": "grpo", "name": "g", "validation": { "every": 0 }, "examples": { "count": 20 },
          "reinforcement": { "iterations": 2, "prompts": 4, "answers": 2, "answer_tokens": 4 }
        }
      ],
      "checkpoints": { "every": 0 }
    }
    """

  @Test func `tell of a step's own answers after a restart, or of none`() throws {
    try withRun { run in
      do {
        let first = try Recording(run, plan: Self.samplingPlan)
        try first.beginView(at: 0)
        first.record(0..<5)
      }
      do {
        let second = try Recording(run, plan: Self.samplingPlan)
        try second.beginView(at: 5)
        second.record(5..<7)
      }
      let third = try Recording(run, plan: Self.samplingPlan)
      try third.beginView(at: 7)
      third.record(7..<8)
      let steps = try log(run).records.filter { $0.phase == "g" }
      #expect(steps.map { $0.extra["iteration"] } == [1, 1, nil])
      let seconds = steps.map { $0.extra["rollout_seconds"] }
      #expect(seconds[0] == seconds[1] && seconds[0] != nil && seconds[2] == nil)
      // A quarter of what the worker took; of the operation, which may have been longer, no more.
      let exchange = steps.map { $0.extra["rollout_exchange_seconds"] }
      #expect(exchange[0] == exchange[1] && exchange[2] == nil)
      let found = try #require(exchange[0])
      #expect(try found > 0 && found <= 0.2500001 * #require(seconds[0]))
    }
  }

  @Test func `count rewards that are not finite, and warn of them`() throws {
    try withRun { run in
      let recording = try Recording(run, plan: Self.samplingPlan)
      try recording.beginView(at: 0)
      let answers = [true, false, true].map {
        Measures.answer(
          score: 0, isUnscored: $0, isEnded: true, promptCount: 2, logProbabilities: [-1],
          estimates: [(0, 0)])
      }
      recording.record(0..<3)
      for (position, sum) in [(3, answers[0] + answers[1] + answers[2]), (6, answers[1])] {
        recording.report(position..<position + 1, measures: sum)
        recording.recorder.commit(upTo: position + 1)
        recording.record(position + 1..<position + 3)
      }
      recording.report(9..<10, measures: answers[0])
      recording.recorder.commit(upTo: 10)
      let steps = try log(run).records.filter { $0.phase == "g" }
      #expect(steps.map { $0.extra["rewards_not_finite"] } == [2, 2, 0, 0])
      #expect(steps.last?.extra["validation_rewards_not_finite"] == 1)
      let warnings = try RunReader(runDirectory: run).update().events.filter {
        $0.event == .warning && $0.phase == "g"
      }
      #expect(
        warnings.map(\.text) == [
          "iteration 1: rewards that are not finite, and count as 0: 2",
          "validation after step 4: rewards that are not finite, and count as 0: 1",
        ])
    }
  }

  @Test func `tell once when a brake is put on, and when it is taken off`() throws {
    let plan = Self.samplingPlan
      .replacing(#""iterations": 2"#, with: #""iterations": 4"#)
      .replacing(#""kind": "grpo","#, with: #""kind": "grpo", "brakes": { "length": 3 },"#)
    /// An iteration that begins at `position`: its rollout and two steps.
    func iterate(_ recording: Recording, at position: Int, length: Int) {
      let answer = Measures.answer(
        score: 1, isUnscored: false, isEnded: true, promptCount: 4,
        logProbabilities: [Double](repeating: -1, count: length),
        estimates: [(k1: Double, k3: Double)](repeating: (0, 0), count: length))
      recording.record(position..<position + 1, measures: answer)
      recording.record(position + 1..<position + 3)
    }
    try withRun { run in
      do {
        let first = try Recording(run, plan: plan)
        try first.beginView(at: 0)
        first.record(0..<3)
        iterate(first, at: 3, length: 2)
        iterate(first, at: 6, length: 4)
      }
      let second = try Recording(run, plan: plan)
      try second.beginView(at: 9)
      iterate(second, at: 9, length: 6)
      iterate(second, at: 12, length: 3)
      let events = try RunReader(runDirectory: run).update().events.filter { $0.event == .brake }
      #expect(
        events.map(\.text) == [
          "the length 4.0000 is above 3.0000: steps are taken at 0.750 of their rate",
          "answers are within the limits again: steps are taken at their whole rate",
        ])
      #expect(events.allSatisfy { $0.phase == "g" })
      let tail = try TailReport(runDirectory: run).text()
      #expect(tail.contains("! the length 4.0000 is above 3.0000"), "\(tail)")
    }
  }

  @Test func `count the tokens of steps that the records lack`() throws {
    try withRun { run in
      do {
        let first = try Recording(run)
        try first.beginView(at: 0)
        first.record(0..<7)
        #expect(try first.recorder.tokensTotal(at: 7) == 160)
      }
      let text = String(decoding: try Files.read("\(run)/metrics.jsonl"), as: UTF8.self)
      let kept = text.split(separator: "\n").filter {
        !$0.contains("\"step\":2,") && !$0.contains("\"phase\":\"b\"")
      }
      try Files.write(Array((kept.joined(separator: "\n") + "\n").utf8), to: "\(run)/metrics.jsonl")
      let second = try Recording(run)
      #expect(try second.recorder.tokensTotal(at: 2) == 64)
      #expect(try second.recorder.tokensTotal(at: 7) == 160)
    }
  }

  /// A commit that comes late has counted what belongs to the one right behind it.
  @Test func `give a step no less than its worker took, and take that off the next`() throws {
    try withRun { run in
      let recording = try Recording(run)
      try recording.beginView(at: 0)
      recording.record(0..<1, seconds: 0)
      recording.record(1..<2, seconds: 1000)
      pauseThread(milliseconds: 20)
      recording.record(2..<3, seconds: 0.001)
      let seconds = try log(run).records.map(\.seconds)
      #expect(seconds[0] < 1000 && seconds[1...] == [1000, 0.001])
    }
  }

  @Test func `count no seconds of steps that were taken back as kept`() throws {
    try withRun { run in
      let recording = try Recording(run)
      // A first commit counts what workers say.
      recording.report(0..<2, seconds: 100)
      recording.recorder.commit(upTo: 2)
      recording.recorder.rewind(from: 2, to: 0)
      pauseThread(milliseconds: 50)
      try recording.beginView(at: 0)
      recording.record(0..<1, seconds: 0.001)
      // The 200 s do not count any more, and the pause belongs to no step.
      #expect(try #require(try log(run).latest).goodput < 1)
    }
  }
}
