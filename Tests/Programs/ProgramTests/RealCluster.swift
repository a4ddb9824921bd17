import System
import Telemetry
import Testing

/// Real processes on real sockets: a coordinator, its workers, and what they leave behind.
final class RealCluster {
  /// Where the launch scripts built the programs; nil where `swift test` built them.
  static let releasedPrograms = environmentValue("COX_PROGRAMS")
  /// The folder of the built programs: the released ones, or those beside the test bundle.
  static let programs = releasedPrograms ?? Files.parent(of: programPath())
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
  /// - Parameters:
  ///   - logs: Where standard errors go; nil: the run folder.
  ///   - listen: Where it listens; nil: where the place has it, on a port of its own.
  ///   - failpoint: Of the coordinator.
  init(
    run: String, plan: String = smoke, waitingFor workerCount: Int = 1, extra: [String] = [],
    logs: String? = nil, listen: String? = nil, failpoint: String? = nil, in place: Place = .here
  ) throws {
    self.run = run
    self.logs = logs ?? run
    self.place = place
    try Files.createDirectory(run)
    var environment = place.environment
    environment["COX_FAILPOINT"] = failpoint
    coordinator = try ChildProcess(
      place.command(
        ["\(Self.programs)/coordinator", plan, "--run", run, "--listen",
          listen ?? place.listen,
          "--min-workers", "\(workerCount)"] + extra + place.options),
      output: .pipe, errors: .file("\(self.logs)/coordinator.err"), environment: environment)
    let watchdog = Watchdog(over: coordinator, seconds: 60)
    let line = coordinator.readLine() ?? ""
    watchdog.leave()
    address = line.hasPrefix("listening on ") ? String(line.dropFirst(13)) : ""
  }

  deinit {
    for process in workers + [coordinator] {
      process.signal(9)
      _ = process.exitCode(waiting: true)
    }
  }

  /// - Parameter address: Where it looks for the coordinator; nil: where that one listens.
  @discardableResult
  func addWorker(
    threads: Int = 1, failpoint: String? = nil, options: [String] = [], at address: String? = nil
  ) throws -> ChildProcess {
    var environment = place.environment
    environment["COX_FAILPOINT"] = failpoint
    let worker = try ChildProcess(
      place.command(
        ["\(Self.programs)/worker", "--coordinator", address ?? self.address, "--threads",
          "\(threads)"]
          + options + place.options,
        worker: workers.count),
      errors: .file(errorPath(ofWorker: workers.count)), environment: environment)
    workers.append(worker)
    return worker
  }

  private func errorPath(ofWorker index: Int) -> String { "\(logs)/worker\(index).err" }

  /// Waits until the coordinator has said `text` so often; false when that takes longer than 60 s.
  func waitForText(_ text: String, times: Int = 1) -> Bool {
    eventually { errors.split(separator: text, omittingEmptySubsequences: false).count > times }
  }

  /// Waits until a worker has come to its failpoint; false when that takes longer than 60 s.
  func waitForFailpoint(ofWorker index: Int) -> Bool {
    eventually { errors(ofWorker: index).contains("failpoint ") }
  }

  /// Waits until the run's records reach `step`; false when that takes longer than 60 s.
  func waitForStep(_ step: Int) -> Bool {
    eventually { records().last.map { $0.step >= step } ?? false }
  }

  /// Waits until an event of this kind is recorded; false when that takes longer than 60 s.
  func waitForEvent(_ kind: String) -> Bool {
    eventually { fileText("\(run)/events.jsonl").contains("\"event\":\"\(kind)\"") }
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

  /// What one worker with one thread makes of a plan.
  static func outcome(run: String, plan: String) throws -> Outcome {
    let cluster = try RealCluster(run: run, plan: plan)
    try cluster.addWorker()
    try #require(cluster.wait() == 0, "\(cluster.errors)")
    return cluster.outcome
  }

  /// Waits for the run's end, which must be that of `reference` to the last bit.
  ///
  /// - Parameter lossCount: Steps that the plan has.
  func expectEnd(of reference: Outcome?, lossCount: Int? = nil) throws {
    #expect(wait() == 0, "\(errors)")
    let reference = try #require(reference)
    #expect(reference.digest.count == 64)
    #expect(reference.losses.count == lossCount ?? reference.losses.count)
    #expect(outcome == reference)
  }

  /// What a run came to, to the last bit.
  struct Outcome: Equatable {
    var digest: String
    var losses: [Double]
    var norms: [Double]
    var validations: [Double?]
  }
}

extension ChildProcess {
  /// Lets a process go on that stands still at a failpoint.
  func release() { signal(18) }
}

/// The process's exit code; 124 when it has not ended after `seconds`.
func exitCode(of process: ChildProcess, atMost seconds: Double = 60) -> Int32 {
  var code: Int32?
  _ = eventually(atMost: seconds) {
    code = process.exitCode(waiting: false)
    return code != nil
  }
  return code ?? 124
}

/// Whether `condition` comes to hold; false when that takes longer than `seconds`.
func eventually(atMost seconds: Double = 60, _ condition: () -> Bool) -> Bool {
  let deadline = Deadline.after(.seconds(seconds))
  while !condition() {
    if deadline.hasPassed { return false }
    pauseThread(milliseconds: 20)
  }
  return true
}

/// Kills a process that runs for too long, so that nobody waits without end for it or its output.
final class Watchdog: Sendable {
  private let hasLeft = Monitor(false)

  init(over process: ChildProcess, seconds: Double) {
    startDetachedThread { [hasLeft] in
      if hasLeft.wait(atMost: seconds, { $0 ? true : nil }) == nil { process.signal(9) }
    }
  }

  /// The process may run on, or has ended.
  func leave() { hasLeft.update { $0 = true } }
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
    return process.map { exitCode(of: $0) } == 0
  }
}

func fileText(_ path: String) -> String {
  String(decoding: (try? Files.read(path)) ?? [], as: UTF8.self)
}

/// Runs one of the programs, or what lies at an absolute path, to its end, or for 170 s: then it is
/// killed, and its code is 137.
func command(
  _ arguments: [String], environment: [String: String] = [:]
) -> (code: Int32, output: String, errors: String) {
  let folder = (try? Files.createTemporaryDirectory(prefix: "cox-command")) ?? "/tmp"
  defer { try? Files.removeTree(folder) }
  let log = "\(folder)/err"
  guard
    let process = try? ChildProcess(
      [arguments[0].hasPrefix("/") ? arguments[0] : "\(RealCluster.programs)/\(arguments[0])"]
        + arguments.dropFirst(),
      output: .pipe, errors: .file(log), environment: environment)
  else { return (-1, "", "") }
  let watchdog = Watchdog(over: process, seconds: 170)
  defer { watchdog.leave() }
  var lines: [String] = []
  while let line = process.readLine() { lines.append(line) }
  let code = process.exitCode(waiting: true) ?? -1
  let text = String(decoding: (try? Files.read(log)) ?? [], as: UTF8.self)
  return (code, lines.joined(separator: "\n"), text)
}

func withRunFolder<Value>(_ body: (String) throws -> Value) throws -> Value {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-run")
  defer { try? Files.removeTree(folder) }
  return try body("\(folder)/run")
}

/// A plan's file, and the run's folder beside it.
func withPlan<Value>(
  _ text: String, _ body: (_ run: String, _ plan: String) throws -> Value
) throws -> Value {
  try withRunFolder { run in
    let plan = "\(Files.parent(of: run))/plan.json"
    try Files.write(text, to: plan)
    return try body(run, plan)
  }
}
