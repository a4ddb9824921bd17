import System
import Telemetry

/// Runs `body` in a new folder that is removed afterwards.
@discardableResult
func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-test")
  defer { try? Files.removeTree(folder) }
  return try body(folder)
}

/// A step of a run with two workers on a processor whose name is hidden.
func sampleRecord(
  step: Int, phase: String = "pretrain", loss: Double? = nil, seconds: Double = 1.5,
  startMilliseconds: Int64 = 1_772_366_400_000
) -> StepRecord {
  var by = StepRecord.SecondsBy()
  by.forward = seconds * 0.3
  by.backward = seconds * 0.5
  by.exchange = seconds * 0.1
  by.other = seconds * 0.1
  var record = StepRecord(
    run: "sample", phase: phase, step: step,
    time: Timestamp.text(
      unixMilliseconds: startMilliseconds + Int64(Double(step - 1) * seconds * 1000)),
    loss: loss ?? 9.0 / Double(max(step, 1)) + 0.1, gradNorm: 1.0 / 3.0, learningRate: 3e-4,
    skipped: false, tokens: 4096, tokensTotal: 4096 * step, seconds: seconds,
    flopsPerToken: 89.7e6, flopsFormula: "6 x 14.2 M + 12 x 6 x 384 x 256", workers: 2, view: 1,
    secondsBy: by,
    nodes: [
      .init(name: "alpha", seconds: seconds, wait: 0.1, gflops: 120),
      .init(name: "beta", seconds: seconds, wait: 0.3, gflops: 100),
    ])
  record.setPeaks(
    nominalGigaflops: nil, measuredGigaflops: 460, causalFlopsPerToken: 86.2e6)
  return record
}

/// The lines of a text file.
func lines(_ path: String) throws -> [String] {
  String(decoding: try Files.read(path), as: UTF8.self).split(separator: "\n").map(String.init)
}
