internal import ControlProtocol
internal import Synchronization
internal import System
internal import Tensors
internal import Transport

/// A worker's two connections to its coordinator, kept up by threads of their own.
///
/// When the coordinator goes away the worker goes on within its granted window, while this link
/// tries to reach it (or its successor) for a minute; reports that it missed are sent again.
final class CoordinatorLink: Sendable {
  struct Welcome: Equatable, Sendable {
    var run: UInt64
    var worker: Int
    var name: String
    /// The numeric profile of the run.
    var profile: String
    var plan: String
    /// Empty where workers need none.
    var tokenizer: String
  }

  private struct State {
    var inbox: [CoordinatorMessage] = []
    var control: MessageChannel?
    var bulk: BulkChannel?
    var welcome: Welcome?
    var end: WorkerEnd?
    var isLeaving = false
    /// The newest reports, for a coordinator that comes back: one window of them.
    var reports: [OperationReport] = []
  }

  private let options: WorkerOptions
  private let state = Monitor(State())
  private let log: WorkerLog
  private let tokens: TokenStore
  /// State chunks that come from the coordinator's checkpoint.
  let chunks: ChunkStore
  /// Ends what the main thread waits for or computes: `suspend`, `leave`, or the end.
  private let interrupt: @Sendable () -> Void
  /// Rises while the worker makes progress; told to the coordinator twice a second.
  private let progress = Atomic<Int>(0)
  /// Whether the main thread waits for others. Nobody can say that it stands still then.
  private let isWaiting = Atomic<Bool>(false)

  private static let reportCountMax = 128
  /// A coordinator that says nothing for this long is taken for gone, seconds. It says something
  /// every second, so its process must be stopped or its machine cut off.
  private static let silenceSeconds = 10

  init(
    _ options: WorkerOptions, log: WorkerLog, tokens: TokenStore, chunks: ChunkStore,
    interrupt: @escaping @Sendable () -> Void
  ) {
    self.options = options
    self.log = log
    self.tokens = tokens
    self.chunks = chunks
    self.interrupt = interrupt
  }

  /// Starts the threads. `hello` is asked for anew at each connection, with its local address.
  func start(hello: @escaping @Sendable (_ localHost: String) -> WorkerHello) {
    startDetachedThread { [self] in keepConnected(hello) }
    startDetachedThread { [self] in sendHeartbeats() }
    startDetachedThread { [self] in sendLog() }
  }

  // MARK: For the worker's main thread

  /// The next message of the coordinator, in order; nil when none comes within `seconds`.
  ///
  /// - Throws: ``WorkerEnd`` when the worker cannot go on without its coordinator.
  func next(atMost seconds: Double?) throws(WorkerEnd) -> CoordinatorMessage? {
    let result = waiting {
      state.wait(atMost: seconds) { state -> Result<CoordinatorMessage, WorkerEnd>? in
        if !state.inbox.isEmpty { return .success(state.inbox.removeFirst()) }
        return state.end.map { .failure($0) }
      }
    }
    guard let result else { return nil }
    return try result.get()
  }

  /// Sends now, or not at all: whoever reads a new connection asks again.
  func send(_ message: WorkerMessage) {
    let control = state.update { state -> MessageChannel? in
      if case .completed(let report) = message {
        state.reports = (state.reports + [report]).suffix(Self.reportCountMax)
      }
      return state.control
    }
    try? control?.send(MessageCoding.encode(message), deadline: .after(.seconds(5)))
  }

  /// Sends one chunk of the state over the bulk connection.
  func sendChunk(_ bytes: [UInt8], position: Int, chunk: Int) {
    let bulk = state.update { $0.bulk }
    let frame = BulkFrame(
      kind: UInt16(BulkKind.state.rawValue), a: UInt64(position), b: UInt64(chunk), c: 0, d: 0,
      payload: bytes)
    try? bulk?.send(frame, deadline: .after(.seconds(60)))
  }

  /// Whether a coordinator has ever made this worker part of a run.
  var isWelcomed: Bool { state.update { $0.welcome != nil } }

  /// Ends every wait of the main thread with this reason.
  func end(_ end: WorkerEnd) {
    state.update { if $0.end == nil { $0.end = end } }
    interrupt()
  }

  /// Closes both connections for good.
  func leave() {
    let channels = state.update { state in
      state.isLeaving = true
      return (state.control, state.bulk)
    }
    channels.0?.close()
    channels.1?.close()
  }

  // MARK: Connections

  private func keepConnected(_ hello: @Sendable (String) -> WorkerHello) {
    var lastHeard = Clock.monotonicSeconds
    var attempts = 0
    while true {
      var failure: TransportError?
      do throws(TransportError) {
        let connection = try Connection.connect(
          to: options.coordinator, congestion: options.congestion, deadline: .after(.seconds(5)))
        try converse(over: connection, hello) {
          lastHeard = Clock.monotonicSeconds
          attempts = 0
        }
      } catch {
        failure = error
      }
      let cause = failure.map { "\($0)" } ?? "it closed the connection"
      if case .malformed = failure, !isWelcomed {
        let reason = "\(options.coordinator) answers, but is no coordinator (\(cause)). "
          + "Check --coordinator"
        return end(WorkerEnd(reason: reason, code: 69))
      }
      if state.update({ $0.isLeaving || $0.end != nil }) { return }
      attempts += 1
      if attempts == 1 {
        log.write("no coordinator at \(options.coordinator): \(cause); going on, and trying again")
      }
      guard Clock.monotonicSeconds - lastHeard < options.connectSeconds else {
        let reason =
          "cannot reach the coordinator at \(options.coordinator) for "
          + "\(Int(options.connectSeconds)) s (\(attempts) tries; last: \(cause)). "
          + "Is it running there? Start it with: coordinator PLAN --listen \(options.coordinator)"
        return end(WorkerEnd(reason: reason, code: 69))
      }
      pauseThread(milliseconds: min(1000, 50 * attempts))
    }
  }

  /// Greets, then hands every message to the inbox until the connection ends.
  ///
  /// - Parameter heard: Called for each message.
  private func converse(
    over connection: Connection, _ hello: (String) -> WorkerHello, heard: () -> Void
  ) throws(TransportError) {
    let control = MessageChannel(connection)
    defer {
      let bulk = state.update { state in
        defer { (state.control, state.bulk) = (nil, nil) }
        return state.bulk
      }
      connection.close()
      bulk?.close()
    }
    var greeting = hello(connection.localAddress?.host ?? "127.0.0.1")
    if let known = state.update({ $0.welcome }) {
      greeting.returning = ReturningWorker(run: known.run, worker: known.worker)
      greeting.offers.removeAll { $0.profile != known.profile }
    }
    try control.send(
      MessageCoding.encode(Greeting.control(greeting)), deadline: .after(.seconds(5)))
    while let bytes = try control.receive(deadline: .after(.seconds(Self.silenceSeconds))) {
      guard let message = try? MessageCoding.decode(CoordinatorMessage.self, from: bytes) else {
        return end(WorkerEnd(reason: "the coordinator sent a message nobody can read", code: 1))
      }
      heard()
      switch message {
      case .alive: continue
      case .welcome(let run, let worker, let name, let profile, let plan, let tokenizer):
        let found = Welcome(
          run: run, worker: worker, name: name, profile: profile, plan: plan,
          tokenizer: tokenizer)
        guard isSame(found) else {
          let reason = "the coordinator at \(options.coordinator) does not know this worker any "
            + "more: another run has its place; start the worker again"
          return end(WorkerEnd(reason: reason, code: 75))
        }
        welcome(found, control)
      case .refused(let reason, let code):
        return end(WorkerEnd(reason: "the coordinator refused: \(reason)", code: code))
      case .suspend: interrupt()
      case .leave(_, let code):
        interrupt()
        endInTime(code)
      default: break
      }
      state.update { $0.inbox.append(message) }
    }
  }

  /// Leaves the process if the main thread has not done so in time: it is stuck then, and nobody
  /// will let this worker in again.
  private func endInTime(_ code: Int32) {
    state.update { $0.isLeaving = true }
    startDetachedThread {
      pauseThread(milliseconds: 10_000)
      leaveProcess(code: code)
    }
  }

  /// Whether it is the run that this worker is part of, and it has its number still: what it
  /// holds is of no use to another.
  private func isSame(_ found: Welcome) -> Bool {
    guard let known = state.update({ $0.welcome }) else { return true }
    return known.run == found.run && known.worker == found.worker
  }

  private func welcome(_ welcome: Welcome, _ control: MessageChannel) {
    log.setName(welcome.name)
    let reports = state.update { state in
      state.control = control
      state.welcome = welcome
      return state.reports
    }
    for report in reports { send(.completed(report)) }
    do throws(TransportError) {
      let bulk = try connectBulk(welcome)
      state.update { $0.bulk = bulk }
      startDetachedThread { [self] in
        receiveBulk(bulk)
        giveUp(control)
      }
    } catch {
      log.write("no second connection to the coordinator: \(error)")
      giveUp(control)
    }
  }

  /// Without a second connection there are no tokens: both are made anew. The coordinator answers
  /// with an end of its own, so that what it had said before is heard.
  private func giveUp(_ control: MessageChannel) { control.connection.finishWriting() }

  private func connectBulk(_ welcome: Welcome) throws(TransportError) -> BulkChannel {
    let connection = try Connection.connect(
      to: options.coordinator, congestion: options.congestion, deadline: .after(.seconds(5)))
    let greeting = Greeting.bulk(
      version: protocolVersion, run: welcome.run, worker: welcome.worker)
    try MessageChannel(connection).send(
      MessageCoding.encode(greeting), deadline: .after(.seconds(5)))
    return BulkChannel(connection)
  }

  private func receiveBulk(_ bulk: BulkChannel) {
    while let frame = try? bulk.receive(deadline: .never) {
      switch BulkKind(rawValue: UInt64(frame.kind)) {
      case .tokens:
        do {
          try tokens.receive(
            view: Int(clamping: frame.a), position: Int(clamping: frame.b),
            offset: Int(clamping: frame.c), total: Int(clamping: frame.d), part: frame.payload)
        } catch {
          end(WorkerEnd(reason: "the coordinator sent bad tokens: \(error)", code: 1))
        }
      case .state:
        chunks.receive(
          view: Int(clamping: frame.a), chunk: Int(clamping: frame.b), bytes: frame.payload)
      case .log, nil: break
      }
    }
    bulk.close()
  }

  func noteProgress() { progress.add(1, ordering: .relaxed) }

  /// Runs what waits for others: for the coordinator, for members.
  func waiting<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    isWaiting.store(true, ordering: .relaxed)
    defer {
      noteProgress()
      isWaiting.store(false, ordering: .relaxed)
    }
    return try body()
  }

  private func sendHeartbeats() {
    while !state.update({ $0.isLeaving }) {
      if isWaiting.load(ordering: .relaxed) { noteProgress() }
      send(.alive(progress: progress.load(ordering: .relaxed)))
      pauseThread(milliseconds: 500)
    }
  }

  private func sendLog() {
    while !state.update({ $0.isLeaving }) {
      let lines = log.takeUnsent(atMost: 1)
      guard !lines.isEmpty else { continue }
      let payload = Array(lines.map { $0 + "\n" }.joined().utf8)
      let frame = BulkFrame(
        kind: UInt16(BulkKind.log.rawValue), a: 0, b: 0, c: 0, d: 0, payload: payload)
      let bulk = state.update { $0.bulk }
      if (try? bulk?.send(frame, deadline: .after(.seconds(5)))) == nil || bulk == nil {
        log.returnUnsent(lines)
        pauseThread(milliseconds: 500)
      }
    }
  }
}

/// Chunks of a checkpoint on their way from the coordinator.
final class ChunkStore: Sendable {
  private struct State {
    var view = 0
    var chunks: [Int: [UInt8]] = [:]
    var isInterrupted = false
  }
  private let state = Monitor(State())

  func receive(view: Int, chunk: Int, bytes: [UInt8]) {
    state.update { state in
      if view > state.view {
        state.view = view
        state.chunks = [:]
      }
      if view == state.view { state.chunks[chunk] = bytes }
    }
  }

  /// The next chunk of the view's state; nil when `interrupt()` was called first.
  func next(view: Int) -> (chunk: Int, bytes: [UInt8])? {
    state.wait { state -> (chunk: Int, bytes: [UInt8])?? in
      if state.isInterrupted { return .some(nil) }
      guard state.view == view, let first = state.chunks.first else { return nil }
      state.chunks[first.key] = nil
      return .some((first.key, first.value))
    } ?? nil
  }

  func interrupt() { state.update { $0.isInterrupted = true } }
  func allow() { state.update { $0.isInterrupted = false } }
}
