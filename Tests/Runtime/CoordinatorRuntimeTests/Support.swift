import Checkpoints
import ControlProtocol
import CoordinatorRuntime
import Corpus
import Planning
import Settings
import System
import Tensors
import Transport

/// Runs `body` with the path of a run that does not exist yet, in a folder that is removed
/// afterwards.
func withRun<R>(_ body: (String) throws -> R) throws -> R {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-test")
  defer { try? Files.removeTree(folder) }
  return try body("\(folder)/run")
}

/// A plan of two training phases (indices 1 and 2) and one that only evaluates. Operations by
/// position:
///
///     a: steps 0-2, validation (3)
///     b: enter (4), steps 5-6, validation (7)    c: enter (8), validation (9)
func planText(stepsOfA: Int = 3, source: String = "world", tokenizer: String = "bytes") -> String {
  """
  {
    "name": "tiny", "seed": 3,
    "model": { "layers": 1, "width": 16, "heads": 2, "feed_forward": 16, "context": 8 },
    "batch": { "sequences": 4, "slices": 2 },
    "tokenizer": { "kind": "\(tokenizer)" },
    "data": { "source": "\(source)" },
    "phases": [
      { "kind": "tokenizer" },
      { "kind": "pretrain", "name": "a", "steps": \(stepsOfA), "validation": { "every": 0 } },
      { "kind": "pretrain", "name": "b", "steps": 2, "validation": { "every": 0 } },
      { "kind": "evaluate", "name": "c" }
    ],
    "checkpoints": { "every": 0 }
  }
  """
}

/// Opens the run, as a coordinator does.
func openRun(
  _ run: String, plan: String = planText(), isAmending: Bool = false,
  tell: @escaping (String) -> Void = { _ in }
) throws -> RunFolder {
  let options = CoordinatorOptions(
    plan: "plan.json", runDirectory: run, listen: Address(host: "127.0.0.1", port: 0),
    isAmending: isAmending, resumeCommand: "coordinator plan.json --data 'a b'")
  return try RunFolder(
    options, try PlanResolver.resolve(text: plan, path: "plan.json"), tell: tell)
}

/// Everything a coordinator keeps records with.
struct Recording {
  let folder: RunFolder
  var program: PhaseProgram { folder.program }
  let recorder: RunRecorder

  init(_ run: String, plan: String = planText()) throws {
    folder = try openRun(run, plan: plan)
    let source = TrainingSource(
      plan: folder.plan, program: folder.program, corpora: try folder.corpora { _ in })
    recorder = try RunRecorder(folder: folder, source: source)
  }

  /// Forms a view of one worker.
  func beginView(at position: Int) throws {
    try folder.ledger.append(
      .view(number: 1, workers: ["w0"], position: position), synchronizing: false)
    recorder.beginView(
      Resumption(
        view: 1, members: [Member(worker: 0, name: "w0", dataAddress: "127.0.0.1:1")],
        position: position, slices: [[0, 1]], sources: [.own],
        grantedPosition: program.operationCount))
  }

  /// What a report measures when nothing is said: 4 sequences of 8 positions.
  private static let measures: SIMD16<Double> = {
    var measures = SIMD16<Double>.zero
    measures[Measures.tokens] = 32
    return measures
  }()

  /// The worker reports the operations at `positions`, each of `seconds`.
  func report(
    _ positions: Range<Int>, seconds: Double = 0.25, measures: SIMD16<Double> = Self.measures
  ) {
    for position in positions {
      var time = OperationTime()
      time.total = seconds
      time.forward = 0.75 * seconds
      time.exchange = 0.25 * seconds
      let report = OperationReport(
        view: 1, position: position, tokenCount: 32, lossSum: 64 + Double(position),
        gradientNorm: 1, learningRate: 0.1, isSkipped: false, measures: measures,
        sliceCount: 2, recomputedCount: 0, time: time, byteCount: 0)
      recorder.take(report, from: 0, name: "w0")
    }
  }

  /// Reports and commits, one operation after the other.
  func record(
    _ positions: Range<Int>, seconds: Double = 0.25, measures: SIMD16<Double> = Self.measures
  ) {
    for position in positions {
      report(position..<position + 1, seconds: seconds, measures: measures)
      recorder.commit(upTo: position + 1)
    }
  }
}

/// Writes the checkpoint that `writer` is for: zeros.
@discardableResult
func commit(_ writer: CheckpointWriter) throws -> CheckpointReader {
  for index in 0..<writer.chunks.chunkCount {
    try writer.writeChunk(index: index, bytes: zeros(writer, index))
  }
  return try writer.commit()
}

func zeros(_ writer: CheckpointWriter, _ index: Int) -> [UInt8] {
  [UInt8](repeating: 0, count: writer.chunks.byteCount(of: index))
}
