public import System
internal import Telemetry

/// Runs a coordinator and its workers as processes of this machine, and tells how they fare.
///
/// Each has a process group of its own: Ctrl-C reaches only this process. Asked once to stop, it
/// asks the coordinator, which saves a checkpoint; asked twice, it kills them all. A worker that
/// dies is started again, a bounded number of times. Where this process is killed, the coordinator
/// saves a checkpoint and sends the workers away.
public final class LocalCluster {
  /// What another thread saw.
  private enum Happening {
    case listening(String)
    case coordinatorEnded(Int32)
    case workerEnded(slot: Int, code: Int32)
    case stopRequested
  }

  private struct Slot {
    var process: ChildProcess?
    var startCount = 0
    /// How the worker ended that is to be replaced, and when.
    var replacement: (cause: String, time: Deadline)?
  }

  private let options: LocalClusterOptions
  private let tell: (String) -> Void
  private let happenings = Monitor<[Happening]>([])
  private var coordinator: ChildProcess?
  private var address = ""
  private var slots: [Slot]
  private var stopCount = 0
  private var follower: TailFollower?
  private var coordinatorLog: GrowingFile
  private var hasTrained = false
  private var failure: String?
  /// What the coordinator said outlives the stop.
  private var whatStands: String?

  /// A worker that dies this often, counted over the whole run, has a reason that starting it once
  /// more does not remove.
  private static let startCountMax = 4
  /// How often the run's records are looked at, seconds.
  private static let lookSeconds = 0.2
  /// How long workers may take to leave after the coordinator, and the coordinator to stop when
  /// it has no worker left, before they are killed, seconds.
  private static let leaveSeconds = 10.0
  /// How long workers that the coordinator has told to leave need for it; one that came too late to
  /// be told is asked then, seconds.
  private static let partingSeconds = 1.0
  /// A worker that ends together with its coordinator is not replaced: seconds until that shows.
  private static let replacementSeconds = 0.5

  /// - Parameter tell: Gets each line of progress.
  public init(_ options: LocalClusterOptions, tell: @escaping (String) -> Void) {
    self.options = options
    self.tell = tell
    slots = Array(repeating: Slot(), count: options.workerCount)
    coordinatorLog = GrowingFile("\(options.runDirectory)/logs/coordinator.log")
  }

  /// Runs until the coordinator has ended; returns its exit code.
  ///
  /// Blocks signals for the whole process, so it is called before other threads start.
  public func run() throws(SystemError) -> Int32 {
    onSignals([.hangup, .interrupt, .terminate]) { [happenings] _ in
      happenings.update { $0.append(.stopRequested) }
    }
    try Files.createDirectory("\(options.runDirectory)/logs")
    coordinatorLog.skipToEnd()
    follower = try? makeFollower(skipsHistory: true)
    defer { killAll() }
    try startCoordinator()
    while true {
      let happening = happenings.wait(atMost: Self.lookSeconds) {
        $0.isEmpty ? nil : $0.removeFirst()
      }
      follow()
      try replaceWorkers()
      switch happening {
      case nil: break
      case .listening(let found):
        address = found
        for slot in slots.indices { try startWorker(slot) }
      case .workerEnded(let slot, let code): noteWorker(slot, code)
      case .stopRequested:
        stopCount += 1
        if stopCount > 1 { return 130 }
        tell("stopping, with a checkpoint of what was done (Ctrl-C again to leave at once)")
        coordinator?.signal(Signal.interrupt.rawValue)
      case .coordinatorEnded(let code):
        waitForWorkers()
        follow()
        return close(code)
      }
    }
  }

  private func close(_ code: Int32) -> Int32 {
    if let failure {
      tell("Error: \(failure)")
      return code == 0 ? 0 : 1
    }
    if code == 75 {
      tell("stopped\(whatStands.map { ": \($0)" } ?? ""); go on with: \(options.resumeCommand)")
    } else if code > 128 {
      tell(
        "Error: the coordinator was killed (signal \(code - 128)); go on with: "
          + options.resumeCommand)
    }
    return code
  }

  // MARK: Processes

  private func startCoordinator() throws(SystemError) {
    let process = try ChildProcess(
      options.coordinatorArguments, output: .pipe, errors: .file(coordinatorLog.path),
      environment: [starterVariable: "\(currentProcessIdentifier)"])
    coordinator = process
    startDetachedThread { [happenings] in
      while let line = process.readLine() {
        let prefix = "listening on "
        guard line.hasPrefix(prefix) else { continue }
        happenings.update { $0.append(.listening(String(line.dropFirst(prefix.count)))) }
      }
      let code = process.exitCode(waiting: true) ?? -1
      happenings.update { $0.append(.coordinatorEnded(code)) }
    }
  }

  private func startWorker(_ slot: Int) throws(SystemError) {
    let process = try ChildProcess(
      options.workerArguments(coordinator: address), errors: .file(logPath(slot)))
    slots[slot].process = process
    slots[slot].startCount += 1
    startDetachedThread { [happenings] in
      let code = process.exitCode(waiting: true) ?? -1
      happenings.update { $0.append(.workerEnded(slot: slot, code: code)) }
    }
  }

  /// A worker's own standard error. Its log, which the coordinator writes, lies beside it.
  private func logPath(_ slot: Int) -> String {
    "\(options.runDirectory)/logs/local-\(slot).stderr"
  }

  private func noteWorker(_ slot: Int, _ code: Int32) {
    slots[slot].process = nil
    // 0: the coordinator let it go. 75: the run stops.
    if code == 0 || code == 75 || stopCount > 0 || failure != nil { return }
    let cause = code > 128 ? "was killed (signal \(code - 128))" : "ended with code \(code)"
    // Another try cannot mend a wrong command line, plan or right.
    let isHopeless = [64, 77, 78].contains(code)
    if !isHopeless, slots[slot].startCount < Self.startCountMax {
      slots[slot].replacement = (cause, .after(.seconds(Self.replacementSeconds)))
      return
    }
    tell("local worker \(slot) \(cause) and is not started again; see \(logPath(slot))")
    let isAlone = slots.allSatisfy { $0.process == nil && $0.replacement == nil }
    guard isAlone || !hasTrained else { return }
    failure = "workers do not stay alive; see \(options.runDirectory)/logs"
    coordinator?.signal(Signal.interrupt.rawValue)
    startDetachedThread { [coordinator] in
      pauseThread(milliseconds: Int(Self.leaveSeconds * 1000))
      coordinator?.signal(9)
    }
  }

  private func replaceWorkers() throws(SystemError) {
    for slot in slots.indices {
      guard let (cause, time) = slots[slot].replacement, time.hasPassed else { continue }
      slots[slot].replacement = nil
      guard stopCount == 0, failure == nil else { continue }
      tell("local worker \(slot) \(cause); starting another in its place")
      try startWorker(slot)
    }
  }

  /// Lets the workers leave, which the coordinator told them to.
  private func waitForWorkers() {
    coordinator = nil
    let parting = Deadline.after(.seconds(Self.partingSeconds))
    let end = Deadline.after(.seconds(Self.leaveSeconds))
    var isAsked = false
    while slots.contains(where: { $0.process != nil }), !end.hasPassed, stopCount < 2 {
      if parting.hasPassed, !isAsked {
        for slot in slots { slot.process?.signal(Signal.interrupt.rawValue) }
        isAsked = true
      }
      let happening = happenings.wait(atMost: Self.lookSeconds) {
        $0.isEmpty ? nil : $0.removeFirst()
      }
      switch happening {
      case .workerEnded(let slot, _): slots[slot].process = nil
      case .stopRequested: stopCount += 1
      default: break
      }
    }
  }

  private func killAll() {
    coordinator?.signal(9)
    for slot in slots { slot.process?.signal(9) }
  }

  // MARK: Progress

  /// Tells what is new in the coordinator's log and in the run's records.
  private func follow() {
    var isClosing = false
    for line in coordinatorLog.newLines() {
      // Its last message is for people who started it alone.
      if line.hasPrefix(RunFolder.completePrefix) { isClosing = true }
      if line.hasPrefix(RunFolder.stoppedPrefix) {
        isClosing = true
        whatStands = RunFolder.whatStands(line)
      }
      // Events come from the run's records, in order with the steps.
      let isEvent = Timestamp.unixMilliseconds(String(line.prefix(24))) != nil
      if !isClosing, !isEvent { tell(line) }
    }
    if follower == nil { follower = try? makeFollower(skipsHistory: false) }
    guard let lines = try? follower?.poll() else { return }
    for line in lines {
      if line.contains(" | ") { hasTrained = true }
      tell(line)
    }
  }

  private func makeFollower(skipsHistory: Bool) throws(TelemetryError) -> TailFollower {
    try TailFollower(
      runDirectory: options.runDirectory, format: .text(withNodes: false),
      skipsHistory: skipsHistory, endsWithReport: false)
  }
}

/// A text file that another process appends to.
private struct GrowingFile {
  let path: String
  private var offset = 0

  init(_ path: String) { self.path = path }

  /// Whole lines that were added since the last call; none while the file is missing.
  mutating func newLines() -> [String] {
    guard let file = try? File(path, .read), let byteCount = try? file.byteCount(),
      byteCount > offset,
      let bytes = try? file.read(at: offset, byteCount: byteCount - offset),
      let last = bytes.lastIndex(of: 0x0A)
    else { return [] }
    offset += last + 1
    return bytes[..<last].split(separator: 0x0A, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }

  /// Leaves out what is there already.
  mutating func skipToEnd() { offset = (try? Files.info(path))??.byteCount ?? 0 }
}

/// What to do with a run that is complete, for the end of a program's output.
public func closingAdvice(run path: String) -> String { RunFolder.closingMessage(path) }
