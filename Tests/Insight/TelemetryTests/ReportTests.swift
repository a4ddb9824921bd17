import System
import Telemetry
import Testing

@Suite struct `The MFU log` {
  static let outline = RunOutline(
    run: "sample",
    phases: [.init(name: "pretrain", stepCount: 300), .init(name: "sft", stepCount: 100)])

  @Test func `has one line per step with fixed columns below a header`() throws {
    try withTemporaryDirectory { run in
      let writer = try MFULogWriter(runDirectory: run, outline: Self.outline)
      for step in 1...3 {
        var record = sampleRecord(step: step)
        if step == 2 { record.validationLoss = 3.25 }
        try writer.append(record)
      }
      try writer.finish()
      #expect(
        try lines("\(run)/mfu.log") == [
          "# run sample  time UTC  MFU% of the measured (m) peak; nominal n/a, "
            + "measured 460.0 GFLOP/s",
          "# 89.7 MFLOP per token: 6 x 14.2 M + 12 x 6 x 384 x 256",
          "time     phase    step/of     loss    val   tok/s   MFU% (causal)  peak GF  wk "
            + "| fwd bwd exch wait opt other % |  ETA",
          "12:00:00 pretrain 1/300       9.1000  -     2,731   53.2 (51.2)    460 m    2  "
            + "| 30  50  10   0    0   10      |  9 m 59 s",
          "12:00:01 pretrain 2/300       4.6000  3.250 2,731   53.2 (51.2)    460 m    2  "
            + "| 30  50  10   0    0   10      |  9 m 57 s",
          "12:00:03 pretrain 3/300       3.1000  -     2,731   53.2 (51.2)    460 m    2  "
            + "| 30  50  10   0    0   10      |  9 m 56 s",
        ])
    }
  }

  @Test func `has at most one line per second, for all steps since the one before`() throws {
    try withTemporaryDirectory { run in
      let writer = try MFULogWriter(runDirectory: run, outline: Self.outline)
      for step in 1...41 { try writer.append(sampleRecord(step: step, seconds: 0.1)) }
      try writer.finish()
      let rows = try lines("\(run)/mfu.log").filter { $0.hasPrefix("12:") }
      let steps = rows.map { String($0.split(separator: " ")[2]) }
      #expect(steps == [1, 11, 21, 31, 41].map { "\($0)/300" })
      // 4096 tokens in 0.1 s.
      #expect(rows.allSatisfy { $0.contains(" 40,960 ") })
    }
  }

  @Test func `repeats the header every 40 lines`() throws {
    try withTemporaryDirectory { run in
      let writer = try MFULogWriter(runDirectory: run, outline: nil)
      for step in 1...81 { try writer.append(sampleRecord(step: step)) }
      let text = try lines("\(run)/mfu.log")
      let headers = text.indices.filter { text[$0].hasPrefix("time ") }
      #expect(headers == [2, 2 + 40 + 3, 2 + 2 * (40 + 3)])
      #expect(text.last?.contains("| n/a") == false)
      #expect(text.last?.hasSuffix("n/a") == true)
    }
  }

  @Test func `names the nominal peak where it is known`() throws {
    try withTemporaryDirectory { run in
      let writer = try MFULogWriter(runDirectory: run, outline: nil)
      var record = sampleRecord(step: 1)
      record.setPeaks(
        nominalGigaflops: 473.6, measuredGigaflops: 460, causalFlopsPerToken: 86.2e6)
      try writer.append(record)
      let text = try lines("\(run)/mfu.log")
      #expect(text[0].contains("nominal (n) peak; nominal 473.6 GFLOP/s, measured 460.0 GFLOP/s"))
      #expect(text[3].contains("51.7 (49.7)    474 n"))
    }
  }
}

@Suite struct `A validation that ends after its step was recorded` {
  /// A step, then the same with its validation, as the records hold them.
  private var records: [StepRecord] {
    var validated = sampleRecord(step: 1)
    validated.validationLoss = 3.25
    validated.validationBitsPerByte = 1.5
    validated.validationTokens = 2048
    return [sampleRecord(step: 1), validated, sampleRecord(step: 2)]
  }

  @Test func `is no step that was taken twice`() {
    var log = StepLog()
    for record in records { log.append(record) }
    #expect(log.repeatedCount == 0)
    #expect(log.records.map(\.validationLoss) == [3.25, nil])
  }

  @Test func `gets a line without rates, or stands in its step's`() throws {
    try withTemporaryDirectory { run in
      let writer = try MFULogWriter(runDirectory: run, outline: nil)
      for record in records { try writer.append(record) }
      // Within a second of the line before: the step has not been told yet.
      var soon = sampleRecord(step: 3)
      soon.time = "2026-03-01T12:00:01.600Z"
      try writer.append(soon)
      soon.validationLoss = 3
      try writer.append(soon)
      try writer.finish()
      let rows = try lines("\(run)/mfu.log").dropFirst(3)
      #expect(rows.count == 4)
      let validation = rows.dropFirst().first ?? ""
      #expect(validation.hasPrefix("12:00:00 pretrain 1           9.1000  3.250 -  "))
      #expect(validation.hasSuffix("| validation of 2048 tokens, 1.5000 bits per byte"))
      #expect(rows.last?.contains(" 3.000 ") == true)
    }
  }

  @Test func `adds its own scalars to a TensorBoard file, not those of its step again`() throws {
    try withTemporaryDirectory { run in
      let writer = try TensorBoardWriter(
        runDirectory: run, unixMilliseconds: 1_772_366_400_000, host: "node", process: 7)
      for record in records { try writer.append(record, globalStep: record.step) }
      let name = try #require(try Files.list("\(run)/tensorboard").first)
      let text = String(
        decoding: try Files.read("\(run)/tensorboard/\(name)"), as: UTF8.self)
      func count(_ tag: String) -> Int { text.ranges(of: tag).count }
      #expect(count("train/loss") == 2)
      #expect(count("val/loss") == 1)
    }
  }
}

@Suite struct `A phase of pairs or answers` {
  private var reward: StepRecord {
    var record = sampleRecord(step: 1, phase: "reward", loss: 0.7)
    record.extra = ["decided": 16, "ties": 4, "accuracy": 0.64, "margin": 0.213]
    return record
  }

  private var validated: StepRecord {
    var record = reward
    record.validationLoss = 0.6831
    record.validationTokens = 20
    let heldBack = ["validation_accuracy": 0.613, "validation_decided": 20, "validation_ties": 0]
    record.extra.merge(heldBack) { figure, _ in figure }
    return record
  }

  @Test func `shows its own figures in the place of losses, and behind the line`() throws {
    try withTemporaryDirectory { run in
      let writer = try MFULogWriter(runDirectory: run, outline: nil)
      try writer.append(reward)
      try writer.append(validated)
      var ppo = sampleRecord(step: 2, phase: "ppo")
      ppo.extra = ["reward": -0.82, "kl": 0.163, "length": 7.94, "iteration": 1]
      try writer.append(ppo)
      ppo = sampleRecord(step: 3, phase: "ppo")
      ppo.validationTokens = 140
      ppo.extra = ["reward": 1, "kl": -0.004, "length": 12, "validation_reward": 0.75]
      try writer.append(ppo)
      try writer.finish()
      let rates = "2,731   53.2 (51.2)    460 m    2  | 30  50  10   0    0   10      |  n/a  "
      #expect(
        try lines("\(run)/mfu.log").dropFirst(3) == [
          "12:00:00 reward   1           acc .64 -     \(rates)mar .21",
          "12:00:00 reward   1           acc .64 .61   -       -              -        2  "
            + "| validation of 20 pairs",
          "12:00:01 ppo      2           rew-.82 -     \(rates)kl .16 len 7.9",
          "12:00:03 ppo      3           rew 1.0 .75   \(rates)kl .00 len 12",
        ])
    }
  }

  @Test func `closes with all of them, and with losses per pair`() throws {
    try withTemporaryDirectory { run in
      let writer = try MetricsWriter(runDirectory: run)
      for record in [reward, validated] { try writer.append(record) }
      let text = try TailReport(runDirectory: run).text()
      #expect(text.contains("validation 0.6831 nats per pair (after step 1)\n"), "\(text)")
      let own = "reward    accuracy 0.6400  decided 16.0000  margin 0.2130  ties 4.0000  "
      #expect(text.contains("\n\(own)validation_accuracy 0.6130  "), "\(text)")
    }
  }

  @Test func `that a gate ends is validated twice behind one step, and took no step twice`() {
    var second = validated
    second.validationLoss = 0.68
    var log = StepLog()
    for record in [reward, validated, second] { log.append(record) }
    #expect(log.repeatedCount == 0 && log.records == [second])
  }
}

@Suite struct `The tail report` {
  private func writeRun(_ run: String, stepCount: Int = 30, isFinished: Bool = true) throws {
    try Files.write(
      "{\"name\": \"sample\", \"phases\": [{\"name\": \"pretrain\", \"steps\": 40}]}",
      to: "\(run)/plan.resolved.json")
    let metrics = try MetricsWriter(runDirectory: run)
    let events = try EventWriter(runDirectory: run)
    for step in 1...stepCount {
      var record = sampleRecord(step: step)
      if step % 10 == 0 {
        record.validationLoss = 4 - Double(step - 1) / 10
        record.validationBitsPerByte = 1.5
      }
      record.goodput = 0.978
      try metrics.append(record)
    }
    try events.append(
      RunEvent(
        .workerLost, run: "sample", time: "2026-03-01T12:00:40.000Z", node: "gamma",
        text: "gamma left: connection reset"))
    // In order, hence not lost.
    try events.append(
      RunEvent(
        .workerLeft, run: "sample", time: "2026-03-01T12:00:41.000Z", node: "delta",
        text: "delta left, as it asked"))
    if isFinished {
      try events.append(
        RunEvent(.finished, run: "sample", time: "2026-03-01T13:00:00.000Z", text: "finished"))
    }
  }

  @Test func `prints lines, workers and a closing summary`() throws {
    try withTemporaryDirectory { run in
      try writeRun(run)
      let report = try TailReport(runDirectory: run)
      let text = report.text(withNodes: true)
      let expected = [
        "run sample   phase pretrain   step 30 of 40   2 workers   view 1   ended",
        "formula   89.7 MFLOP per token: 6 x 14.2 M + 12 x 6 x 384 x 256",
        "peak      measured 460.0 GFLOP/s   nominal n/a (processor's name hidden or unknown)",
        "12:00:40 ! gamma left: connection reset",
        "worker    s/step  wait %   GFLOP/s  share %",
        "alpha      1.500     6.7     120.0     54.5",
        "beta       1.500    20.0     100.0     45.5",
        "loss      9.1000 -> 0.4000   validation 1.1000 nats per token, 1.5000 bits per byte "
          + "(after step 30)",
        "rate      2,731 tokens/s: 122,880 tokens in 45 s",
        "MFU       measured 53.2 % (causal 51.2 %)   nominal n/a   p10 53.2  p90 53.2",
        "goodput   97.8 %   slices recomputed 0   steps skipped 0   workers lost 1",
        "ETA       done",
      ]
      let found = text.split(separator: "\n").map(String.init)
      for line in expected { #expect(found.contains(line), "\(line)\n\(text)") }
      #expect(!report.text().contains("alpha"))
      #expect(found.count { $0.hasPrefix("12:00:") && $0.contains("pretrain") } == 20)
    }
  }

  @Test func `tells what share of a phase its answers take`() throws {
    try withTemporaryDirectory { run in
      try Files.write("{\"name\": \"x\", \"phases\": []}", to: "\(run)/plan.resolved.json")
      let metrics = try MetricsWriter(runDirectory: run)
      for step in 1...2 {
        var record = sampleRecord(step: step, phase: "ppo")
        record.extra = ["iteration": 1, "rollout_seconds": 1, "rollout_exchange_seconds": 0.2]
        try metrics.append(record)
      }
      let report = try TailReport(runDirectory: run)
      // Of two steps of 1.5 s and a second of answers.
      let line = "answers   25.0 % of the phase's time, steps and answers; passing them on 5.0 %\n"
      #expect(report.text().contains(line), "\(report.text())")
      #expect(try report.json().contains("\"rollout_share\":0.25"))
      try metrics.append(sampleRecord(step: 1, phase: "sft"))
      #expect(try !TailReport(runDirectory: run).text().contains("answers  "))
    }
  }

  @Test func `gives the same figures as JSON`() throws {
    try withTemporaryDirectory { run in
      try writeRun(run, isFinished: false)
      let report = try TailReport(runDirectory: run)
      let json = try report.json()
      #expect(json.contains("\"tokens_total\":122880"))
      #expect(json.contains("\"step_count\":40"))
      #expect(json.contains("\"eta_seconds\":15"))
      #expect(json.contains("\"seconds_by\":{"))
      #expect(!json.contains("\n"))
      #expect(report.summary?.isEnded == false)
    }
  }

  @Test func `of a run that has not begun says so`() throws {
    try withTemporaryDirectory { run in
      try Files.write("{\"name\": \"x\", \"phases\": []}", to: "\(run)/plan.resolved.json")
      #expect(try TailReport(runDirectory: run).text() == "run x   no step has been taken yet\n")
      #expect(try TailReport(runDirectory: run).json() == "null")
    }
  }

  @Test func `shouts when a repeated step is not the same`() throws {
    try withTemporaryDirectory { run in
      let metrics = try MetricsWriter(runDirectory: run)
      for step in [1, 2, 2] { try metrics.append(sampleRecord(step: step)) }
      #expect(
        try TailReport(runDirectory: run).text().contains("repeated  1 steps, of which 0 differ\n"))
      try metrics.append(sampleRecord(step: 2, loss: 7))
      #expect(
        try TailReport(runDirectory: run).text()
          .contains("repeated  2 steps, of which 1 differ  ! THE RUN IS NOT EXACT\n"))
    }
  }

  @Test func `follows a run live until it ends`() throws {
    try withTemporaryDirectory { run in
      try writeRun(run, stepCount: 3, isFinished: false)
      let follower = try TailFollower(runDirectory: run, format: .text(withNodes: false))
      let opening = try follower.poll()
      #expect(opening.count == 3 + 3 + 2)
      #expect(try follower.poll() == [])
      try MetricsWriter(runDirectory: run).append(sampleRecord(step: 4))
      let next = try follower.poll()
      #expect(next.count == 1)
      #expect(next[0].contains(" 4/40 "))
      #expect(!follower.isEnded)
      try EventWriter(runDirectory: run).append(
        RunEvent(.finished, run: "sample", time: "2026-03-01T13:00:00.000Z", text: "finished"))
      let closing = try follower.poll()
      #expect(follower.isEnded)
      let stopped = try withTemporaryDirectory { run in
        try writeRun(run, stepCount: 3, isFinished: false)
        try EventWriter(runDirectory: run).append(
          RunEvent(.stopped, run: "sample", time: "2026-03-01T13:00:00.000Z", text: "stopped"))
        return try TailFollower(runDirectory: run, format: .text(withNodes: false)).poll()
      }
      // 37 steps of 1.5 s.
      #expect(stopped.last == "ETA       stopped, 56 s to go")
      #expect(closing.first == "13:00:00 ! finished")
      #expect(closing.last == "ETA       done")
    }
  }

  @Test func `follows as JSON, line by line`() throws {
    try withTemporaryDirectory { run in
      try writeRun(run, stepCount: 3)
      let follower = try TailFollower(runDirectory: run, format: .json)
      #expect(try follower.poll() == lines("\(run)/metrics.jsonl") + lines("\(run)/events.jsonl"))
      #expect(try follower.poll() == [])
      #expect(follower.isEnded)
    }
  }
}

@Suite struct `TensorBoard files` {
  @Test func `begin with the version record that TensorBoard's own writer writes`() {
    let bytes = TensorBoardWriter.framed(TensorBoardWriter.versionEvent(wallTime: 0))
    #expect(
      hexText(bytes)
        == "1800000000000000a37f4b220900000000000000001a0d627261696e2e4576656e743a32eedf28a3")
  }

  @Test func `hold one frame per step`() throws {
    try withTemporaryDirectory { run in
      let writer = try TensorBoardWriter(
        runDirectory: run, unixMilliseconds: 1_772_366_400_000, host: "node", process: 7)
      for step in 1...3 { try writer.append(sampleRecord(step: step), globalStep: step) }
      let names = try Files.list("\(run)/tensorboard")
      #expect(names == ["events.out.tfevents.1772366400.node.7.0"])
      let bytes = try Files.read("\(run)/tensorboard/\(names[0])")
      var offset = 0
      var frames: [[UInt8]] = []
      while offset + 12 <= bytes.count {
        let length = bytes[offset..<offset + 8].reversed().reduce(0) { $0 << 8 | Int($1) }
        let event = Array(bytes[offset + 12..<offset + 12 + length])
        #expect(TensorBoardWriter.framed(event) == Array(bytes[offset..<offset + length + 16]))
        frames.append(event)
        offset += length + 16
      }
      #expect(offset == bytes.count)
      #expect(frames.count == 4)
      #expect(String(decoding: frames[1], as: UTF8.self).contains("train/loss"))
    }
  }
}
