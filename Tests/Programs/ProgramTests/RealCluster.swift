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

  /// What one worker with one thread makes of the smoke plan; every other run must equal it.
  static let reference: Outcome? = {
    var outcome: Outcome?
    try? withRunFolder { run in
      let cluster = try RealCluster(run: run)
      try cluster.addWorker()
      if cluster.wait() == 0 { outcome = cluster.outcome }
    }
    return outcome
  }()

  let run: String
  /// Where standard errors go.
  private let logs: String
  private let place: Place
  let coordinator: ChildProcess
  let address: String
  private(set) var workers: [ChildProcess] = []

  /// Starts a coordinator and waits until it listens; the workers come by ``addWorker()``.
  ///
  /// - Parameter logs: Where standard errors go; nil: the run folder.
  init(
    run: String, plan: String = smoke, waitingFor workerCount: Int = 1, extra: [String] = [],
    logs: String? = nil, in place: Place = .here
  ) throws {
    self.run = run
    self.logs = logs ?? run
    self.place = place
    try Files.createDirectory(run)
    coordinator = try ChildProcess(
      place.command(
        ["\(Self.programs)/coordinator", plan, "--run", run, "--listen", place.listen,
          "--min-workers", "\(workerCount)"] + extra + place.options),
      output: .pipe, errors: .file("\(self.logs)/coordinator.err"), environment: place.environment)
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
    var environment = place.environment
    environment["COX_FAILPOINT"] = failpoint
    let worker = try ChildProcess(
      place.command(
        ["\(Self.programs)/worker", "--coordinator", address, "--threads", "\(threads)"]
          + options + place.options,
        worker: workers.count),
      errors: .file(errorPath(ofWorker: workers.count)), environment: environment)
    workers.append(worker)
    return worker
  }

  private func errorPath(ofWorker index: Int) -> String { "\(logs)/worker\(index).err" }

  /// Waits until the coordinator has said `text`; false when that takes longer than 60 s.
  func waitForText(_ text: String) -> Bool {
    let deadline = Clock.monotonicSeconds + 60
    while Clock.monotonicSeconds < deadline {
      if errors.contains(text) { return true }
      pauseThread(milliseconds: 20)
    }
    return false
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
      if fileText("\(run)/events.jsonl").contains("\"event\":\"\(kind)\"") { return true }
      pauseThread(milliseconds: 20)
    }
    return false
  }

  /// The coordinator's exit code; 124 when it has not ended after `seconds`.
  func wait(atMost seconds: Double = 120) -> Int32 { exitCode(of: coordinator, atMost: seconds) }

  /// Of steps, and of validations that no step comes before.
  func records() -> [StepRecord] {
    guard let reader = try? RunReader(runDirectory: run) else { return [] }
    _ = try? reader.update()
    return reader.log.records
  }

  func steps() -> [StepRecord] { records().filter { !$0.isEvaluation } }

  var errors: String { fileText("\(logs)/coordinator.err") }
  func errors(ofWorker index: Int) -> String { fileText(errorPath(ofWorker: index)) }

  var outcome: Outcome {
    Outcome(
      digest: command(["cox", "digest", run]).output,
      losses: steps().map(\.loss), norms: steps().map(\.gradNorm),
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

/// The process's exit code; 124 when it has not ended after `seconds`.
func exitCode(of process: ChildProcess, atMost seconds: Double = 60) -> Int32 {
  let deadline = Clock.monotonicSeconds + seconds
  while Clock.monotonicSeconds < deadline {
    if let code = process.exitCode(waiting: false) { return code }
    pauseThread(milliseconds: 20)
  }
  return 124
}

/// Where a cluster's processes run.
enum Place {
  case here
  /// Coordinator and workers in three network namespaces, the workers as another user in an empty
  /// directory (cluster/namespaces).
  case namespaces

  private static let script = "\(RealCluster.root)/cluster/namespaces"

  /// The command that runs `arguments` there; the script becomes them, so signals reach them.
  func command(_ arguments: [String], worker: Int? = nil) -> [String] {
    switch self {
    case .here: arguments
    case .namespaces:
      [Self.script, worker == nil ? "exec" : "guest", "\((worker ?? 0) % 3)"] + arguments
    }
  }

  var listen: String { self == .here ? "127.0.0.1:0" : "10.77.0.1:7070" }
  var options: [String] { self == .here ? [] : ["--plaintext"] }
  /// A set of its own, beside that of launch/soak.
  var environment: [String: String] { self == .here ? [:] : ["NAMESPACES": "coxtest"] }

  /// Runs `check`, `up` or `down` of the script.
  static func namespaces(_ verb: String) -> Bool {
    let process = try? ChildProcess(
      [script, verb], errors: .file("/dev/null"), environment: Place.namespaces.environment)
    return process?.exitCode(waiting: true) == 0
  }
}

func fileText(_ path: String) -> String {
  String(decoding: (try? Files.read(path)) ?? [], as: UTF8.self)
}

/// Runs one of the programs to its end, or for 170 s: then it is killed, and its code is 137.
func command(
  _ arguments: [String], environment: [String: String] = [:]
) -> (code: Int32, output: String, errors: String) {
  let folder = (try? Files.createTemporaryDirectory(prefix: "cox-command")) ?? "/tmp"
  defer { try? Files.removeTree(folder) }
  let log = "\(folder)/err"
  guard
    let process = try? ChildProcess(
      ["\(RealCluster.programs)/\(arguments[0])"] + arguments.dropFirst(), output: .pipe,
      errors: .file(log), environment: environment)
  else { return (-1, "", "") }
  let hasEnded = Monitor(false)
  defer { hasEnded.update { $0 = true } }
  startDetachedThread {
    let ended = hasEnded.wait(atMost: 170) { $0 ? true : nil }
    if ended == nil { process.signal(9) }
  }
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
