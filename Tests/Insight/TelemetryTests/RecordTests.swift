import System
import Telemetry
import Testing

@Suite struct `Step records` {
  @Test func `have exactly the documented keys, null where nothing applies`() throws {
    try withTemporaryDirectory { run in
      try MetricsWriter(runDirectory: run).append(sampleRecord(step: 1))
      let line = try #require(try lines("\(run)/metrics.jsonl").first)
      let documented = [
        "run", "phase", "step", "time", "loss", "validation_loss", "validation_bits_per_byte",
        "validation_tokens", "grad_norm", "learning_rate", "skipped", "tokens", "tokens_total",
        "seconds", "tokens_per_s", "flops_per_token", "flops_formula", "mfu_nominal",
        "mfu_measured", "mfu_nominal_causal", "mfu_measured_causal", "peak_nominal_gflops",
        "peak_measured_gflops", "workers", "view", "slices_recomputed", "seconds_by",
        "exchange_hidden", "nodes", "goodput",
      ]
      #expect(StepRecord.reservedKeys == Set(documented))
      for key in documented { #expect(line.contains("\"\(key)\":"), "\(key)") }
      for key in [
        "data", "forward", "backward", "exchange", "wait", "optimizer", "checkpoint", "other",
      ] {
        #expect(line.contains("\"\(key)\":"), "\(key)")
      }
      #expect(line.contains("\"mfu_nominal\":null"))
      #expect(line.contains("\"validation_loss\":null"))
      #expect(line.contains("\"time\":\"2026-03-01T12:00:00.000Z\""))
    }
  }

  @Test func `read back exactly, loss and norm to the last bit`() throws {
    try withTemporaryDirectory { run in
      let writer = try MetricsWriter(runDirectory: run)
      var written: [StepRecord] = []
      let values = [
        0.1, 1.0 / 3.0, 2.302585092994046, 1e-300, .leastNonzeroMagnitude,
        1.7976931348623157e308, 4.0, -0.0, 9.999999999999998, 123456789012345680.0,
      ]
      for (step, value) in values.enumerated() {
        var record = sampleRecord(step: step, loss: value)
        record.gradNorm = value.nextDown
        record.validationLoss = value
        record.extra = ["kl": value]
        written.append(record)
        try writer.append(record)
      }
      let reader = try RunReader(runDirectory: run)
      let records = try reader.update().records
      #expect(records == written)
      for (read, value) in zip(records, values) {
        #expect(read.loss.bitPattern == value.bitPattern)
        #expect(read.gradNorm.bitPattern == value.nextDown.bitPattern)
      }
    }
  }

  @Test func `keep a loss that is not finite as null`() throws {
    try withTemporaryDirectory { run in
      let writer = try MetricsWriter(runDirectory: run)
      var record = sampleRecord(step: 0, loss: .nan)
      record.gradNorm = .infinity
      record.skipped = true
      try writer.append(record)
      #expect(try lines("\(run)/metrics.jsonl")[0].contains("\"loss\":null"))
      let read = try #require(try RunReader(runDirectory: run).update().records.first)
      #expect(read.loss.isNaN && read.gradNorm.isNaN && read.skipped)
    }
  }

  @Test func `name both MFUs by the definition`() {
    let record = sampleRecord(step: 0)
    // 4096 tokens in 1.5 s, 89.7 MFLOP each, against 460 GFLOP/s.
    let expected = 89.7e6 * (4096 / 1.5) / 460e9
    #expect(abs((record.mfuMeasured ?? 0) - expected) < 1e-12)
    #expect(abs((record.mfuMeasuredCausal ?? 0) / expected - 86.2 / 89.7) < 1e-12)
    #expect(record.mfuNominal == nil)
    #expect(record.mfuNominalCausal == nil)
  }
}

@Suite struct `Record files` {
  @Test func `survive a line that was torn by a kill`() throws {
    try withTemporaryDirectory { run in
      let path = "\(run)/metrics.jsonl"
      try MetricsWriter(runDirectory: run).append(sampleRecord(step: 0))
      let whole = try Files.read(path)
      try File(path, .append).append(Array(whole.prefix(whole.count / 2)))
      // A reader meanwhile sees the whole line only.
      #expect(try RunReader(runDirectory: run).update().records.count == 1)
      try MetricsWriter(runDirectory: run).append(sampleRecord(step: 1))
      let reader = try RunReader(runDirectory: run)
      #expect(try reader.update().records.map(\.step) == [0, 1])
      #expect(reader.unreadableCount == 0)
    }
  }

  @Test func `are cut to nothing when even the first line was torn, however long`() throws {
    try withTemporaryDirectory { run in
      try Files.write([UInt8](repeating: 0x41, count: 200_000), to: "\(run)/metrics.jsonl")
      try MetricsWriter(runDirectory: run).append(sampleRecord(step: 0))
      #expect(try RunReader(runDirectory: run).update().records.count == 1)
      #expect(try lines("\(run)/metrics.jsonl").count == 1)
    }
  }

  @Test func `are read as they grow, only whole lines`() throws {
    try withTemporaryDirectory { run in
      let writer = try MetricsWriter(runDirectory: run)
      let events = try EventWriter(runDirectory: run)
      let reader = try RunReader(runDirectory: run)
      #expect(try reader.update().records == [])
      try writer.append(sampleRecord(step: 0))
      let event = RunEvent(
        .workerLeft, run: "sample", time: "2026-03-01T12:00:01.000Z", phase: "pretrain", step: 1,
        node: "beta", view: 2, text: "beta left: connection reset")
      try events.append(event)
      let first = try reader.update()
      #expect(first.records.map(\.step) == [0])
      #expect(first.events == [event])
      let file = try File("\(run)/metrics.jsonl", .append)
      try file.append(Array("{\"half".utf8))
      #expect(try reader.update().records == [])
      try file.append(Array("\": 1}\n".utf8))
      #expect(try reader.update().records == [])
      #expect(reader.unreadableCount == 1)
    }
  }

  @Test func `of no run are an error that names the folder`() throws {
    try withTemporaryDirectory { folder in
      #expect(throws: TelemetryError.notARun(path: folder)) {
        try RunReader(runDirectory: folder)
      }
    }
  }
}

@Suite struct `A step log` {
  @Test func `keeps the last record of a step and drops what was taken back`() {
    var log = StepLog()
    for step in 0..<10 { log.append(sampleRecord(step: step)) }
    for step in 6..<8 {
      var again = sampleRecord(step: step)
      again.view = 2
      log.append(again)
    }
    #expect(log.records.map(\.step) == Array(0..<8))
    #expect(log.records.map(\.view) == [1, 1, 1, 1, 1, 1, 2, 2])
    #expect(log.repeatedCount == 2)
    #expect(log.differences.isEmpty)
    log.append(sampleRecord(step: 0, phase: "sft"))
    #expect(log.records.count == 11)
    #expect(log.records.last?.phase == "sft")
  }

  @Test func `notices a repeated step that is not the same`() {
    var log = StepLog()
    log.append(sampleRecord(step: 0, loss: 1))
    log.append(sampleRecord(step: 0, loss: 1.0.nextUp))
    #expect(log.differences.map(\.step) == [0])
  }
}

@Suite struct `Timestamps` {
  @Test func `are RFC 3339 and read back`() {
    let cases: [(Int64, String)] = [
      (0, "1970-01-01T00:00:00.000Z"), (951_782_400_123, "2000-02-29T00:00:00.123Z"),
      (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
      (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
      (-1, "1969-12-31T23:59:59.999Z"),
    ]
    for (milliseconds, text) in cases {
      #expect(Timestamp.text(unixMilliseconds: milliseconds) == text)
      #expect(Timestamp.unixMilliseconds(text) == milliseconds)
    }
    for text in [
      "", "2024-02-30T00:00:00.000Z", "2024-13-01T00:00:00.000Z", "2024-02-29 12:34:56.007Z",
    ] {
      #expect(Timestamp.unixMilliseconds(text) == nil, "\(text)")
    }
  }
}

@Suite struct `Nominal peak` {
  @Test func `is clock times FLOP per cycle for a processor that says its name`() {
    // 96 cores x 3.7 GHz x 64 FLOP per cycle.
    let peak = NominalPeak.gigaflops(
      processorName: "AMD EPYC 9654 96-Core Processor", instruction: .bf16DotProduct,
      coreCount: 96)
    #expect(abs((peak ?? 0) - 22_732.8) < 1e-6)
    let shared = NominalPeak.gigaflops(
      processorName: "AMD EPYC 9654 96-Core Processor", instruction: .fma, coreCount: 1.5)
    #expect(abs((shared ?? 0) - 177.6) < 1e-9)
  }

  @Test func `does not take one model for another`() {
    let x3d = NominalPeak.perCore(
      processorName: "AMD Ryzen 7 7800X3D 8-Core Processor", instruction: .fma)
    #expect(x3d?.gigahertz == 5.0)
    let single = NominalPeak.perCore(
      processorName: "AMD EPYC 9354P 32-Core Processor", instruction: .fma)
    #expect(single?.gigahertz == 3.8)
  }

  @Test func `is unknown for a name that a hypervisor hides or that is not in the table`() {
    for name in [
      nil, "", "AMD EPYC", "AMD EPYC-Genoa Processor", "Intel Xeon Processor (SapphireRapids)",
      "AMD EPYC 96541", "Common KVM processor",
    ] {
      #expect(
        NominalPeak.gigaflops(processorName: name, instruction: .fma, coreCount: 2) == nil,
        "\(name ?? "nil")")
    }
    // Known, but without the instruction.
    #expect(
      NominalPeak.gigaflops(
        processorName: "AMD EPYC 7763 64-Core Processor", instruction: .bf16DotProduct,
        coreCount: 1) == nil)
  }
}
