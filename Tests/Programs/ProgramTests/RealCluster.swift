import System
import Telemetry

/// Real processes on real sockets: a coordinator, its workers, and what they leave behind.
final class RealCluster {
  /// The folder of the built programs, which is the test bundle's own.
  static let programs = Files.parent(of: programPath())
  /// The repository.
  static let root: String = {
    var folder = #filePath
    for _ in 0..<4 { folder = Files.parent(of: folder) }
    return folder
  }()
  static let smoke = "\(root)/launch/plans/smoke.json"

  let run: String
  let coordinator: ChildProcess
  let address: String
  private(set) var workers: [ChildProcess] = []

  /// Starts a coordinator and waits until it listens; the workers come by ``addWorker(threads:)``.
  init(
    run: String, plan: String = smoke, waitingFor workerCount: Int = 1, extra: [String] = []
  ) throws {
    self.run = run
    try Files.createDirectory(run)
    coordinator = try ChildProcess(
      ["\(Self.programs)/coordinator", plan, "--run", run, "--listen", "127.0.0.1:0",
        "--min-workers", "\(workerCount)"] + extra,
      output: .pipe, errors: .file("\(run)/coordinator.err"))
    let line = coordinator.readLine() ?? ""
    address = line.hasPrefix("listening on ") ? String(line.dropFirst(13)) : ""
  }

  deinit {
    for process in workers + [coordinator] {
      process.signal(9)
      _ = process.exitCode(waiting: true)
    }
  }

  @discardableResult
  func addWorker(
    threads: Int = 1, failpoint: String? = nil, options: [String] = []
  ) throws -> ChildProcess {
    let worker = try ChildProcess(
      ["\(Self.programs)/worker", "--coordinator", address, "--threads", "\(threads)"]
        + options,
      errors: .file("\(run)/worker\(workers.count).err"),
      environment: failpoint.map { ["COX_FAILPOINT": $0] } ?? [:])
    workers.append(worker)
    return worker
  }

  /// Waits until the run's records reach `step`; false when that takes longer than 60 s.
  func waitForStep(_ step: Int) -> Bool {
    let deadline = Clock.monotonicSeconds + 60
    while Clock.monotonicSeconds < deadline {
      if let last = records().last, last.step >= step { return true }
      pauseThread(milliseconds: 20)
    }
    return false
  }

  /// Waits until an event of this kind is recorded; false when that takes longer than 60 s.
  func waitForEvent(_ kind: String) -> Bool {
    let deadline = Clock.monotonicSeconds + 60
    while Clock.monotonicSeconds < deadline {
      let text = String(
        decoding: (try? Files.read("\(run)/events.jsonl")) ?? [], as: UTF8.self)
      if text.contains("\"event\":\"\(kind)\"") { return true }
      pauseThread(milliseconds: 20)
    }
    return false
  }

  /// The coordinator's exit code; 124 when it has not ended after `seconds`.
  func wait(atMost seconds: Double = 120) -> Int32 {
    let deadline = Clock.monotonicSeconds + seconds
    while Clock.monotonicSeconds < deadline {
      if let code = coordinator.exitCode(waiting: false) { return code }
      pauseThread(milliseconds: 20)
    }
    return 124
  }

  func records() -> [StepRecord] {
    guard let reader = try? RunReader(runDirectory: run) else { return [] }
    _ = try? reader.update()
    return reader.log.records
  }

  var errors: String {
    String(decoding: (try? Files.read("\(run)/coordinator.err")) ?? [], as: UTF8.self)
  }

  var outcome: Outcome {
    Outcome(
      digest: command(["cox", "digest", run]).output,
      losses: records().map(\.loss), norms: records().map(\.gradNorm),
      validations: records().map(\.validationLoss))
  }

  /// What a run came to, to the last bit.
  struct Outcome: Equatable {
    var digest: String
    var losses: [Double]
    var norms: [Double]
    var validations: [Double?]
  }
}

/// Runs one of the programs to its end.
func command(
  _ arguments: [String], errors: String? = nil
) -> (code: Int32, output: String, errors: String) {
  let folder = (try? Files.createTemporaryDirectory(prefix: "cox-command")) ?? "/tmp"
  defer { try? Files.removeTree(folder) }
  let log = "\(folder)/err"
  guard
    let process = try? ChildProcess(
      ["\(RealCluster.programs)/\(arguments[0])"] + arguments.dropFirst(), output: .pipe,
      errors: .file(log))
  else { return (-1, "", "") }
  var lines: [String] = []
  while let line = process.readLine() { lines.append(line) }
  let code = process.exitCode(waiting: true) ?? -1
  let text = String(decoding: (try? Files.read(log)) ?? [], as: UTF8.self)
  return (code, lines.joined(separator: "\n"), text)
}

func withRunFolder(_ body: (String) throws -> Void) throws {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-run")
  defer { try? Files.removeTree(folder) }
  try body("\(folder)/run")
}
