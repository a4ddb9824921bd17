internal import Checkpoints
internal import ControlProtocol
internal import Planning
internal import Scheduling
internal import Settings
internal import System
internal import Telemetry
internal import Tensors
internal import Transport

/// Where sockets, files and clocks meet the scheduling core: one thread takes what happened, asks
/// the core, and does what it says.
final class CoordinatorDriver {
  private let folder: RunFolder
  private let options: CoordinatorOptions
  private var program: PhaseProgram { folder.program }
  private let recorder: RunRecorder
  private let source: TrainingSource
  private let queue: EventQueue
  private let intake: CheckpointIntake
  private var schedule: ClusterSchedule
  private var connections: [Int: WorkerConnection] = [:]
  /// What the workers that are here compute with: one profile, one self-test.
  private var identity: KernelOffer?
  private var nextWorker = 0
  private var end: CoordinatorEnd?
  /// Where state comes from when no worker holds it: the newest checkpoint and its position.
  private var newest: (position: Int, reader: CheckpointReader)?
  private let startedSeconds = Clock.monotonicSeconds
  private var watch = ProgressWatch()
  private var lastCommitSeconds = Clock.monotonicSeconds
  private var pending: [Scheduling.Command] = []
  private var isPerforming = false
  /// The position of the save that everybody waits for, and since when.
  private var hold: (position: Int, sinceSeconds: Double)?

  /// A worker that says nothing for this long is taken for dead, seconds. Heartbeats come twice a
  /// second from a thread of their own, so it must be stopped or cut off.
  private static let silenceSeconds = 5.0
  /// A disk that takes less holds nobody up.
  private static let slowestDiskBytesPerSecond = 4e6
  /// How long members of the last view are waited for after a restart, seconds.
  private static let gatherSeconds = 10.0

  init(
    folder: RunFolder, options: CoordinatorOptions, recorder: RunRecorder,
    source: TrainingSource, queue: EventQueue, intake: CheckpointIntake
  ) {
    self.folder = folder
    self.options = options
    self.recorder = recorder
    self.source = source
    self.queue = queue
    self.intake = intake
    let start = folder.start
    nextWorker = start.nextWorker
    if let position = start.checkpointPosition, let reader = folder.checkpoint {
      newest = (position, reader)
    }
    schedule = ClusterSchedule(
      outline: Scheduling.RunOutline(
        tree: SliceTree(sliceCount: folder.plan.batch.slices),
        operationCount: folder.program.operationCount,
        checkpointPositions: folder.program.checkpointPositions,
        phaseEnds: folder.program.phaseEnds,
        workerCountMin: options.workerCountMin),
      view: start.view, committedPosition: start.committedPosition,
      checkpointPosition: start.checkpointPosition, expectedWorkerCount: start.workerCount)
  }

  var runNumber: UInt64 { folder.runNumber }

  /// Runs until the run is over.
  func run() -> CoordinatorEnd {
    if schedule.committedPosition == program.operationCount,
      folder.start.checkpointPosition == program.operationCount
    {
      return CoordinatorEnd(kind: .completed, message: "this run is complete already")
    }
    while end == nil {
      if let event = queue.next(atMost: 1) { handle(event) }
      // Workers say something twice a second, so that the queue need never be empty.
      checkTime()
    }
    return end ?? CoordinatorEnd(kind: .failed, message: "")
  }

  private func checkTime() {
    let now = Clock.monotonicSeconds
    checkHold(now)
    if schedule.isGathering, now - startedSeconds >= Self.gatherSeconds { apply(.gatherDeadline) }
    for worker in watch.standing(among: schedule.awaitedWorkers, at: now) {
      let reason = "no progress for \(Int(watch.limit)) s"
      part(from: worker, .workerLost, "cut off: \(reason)", telling: reason, code: 1)
      apply(.lost(worker: worker, cause: reason))
    }
  }

  /// A checkpoint that does not come does not hold up for ever what follows it.
  private func checkHold(_ now: Double) {
    guard let position = schedule.awaitedSave else { return hold = nil }
    guard let hold, hold.position == position else { return hold = (position, now) }
    let (phase, _) = program.progress(at: position)
    let byteCount = folder.plan.stateLayout(inPhase: phase).byteCount
    let limit = 60 + Double(byteCount) / Self.slowestDiskBytesPerSecond
    guard now - hold.sinceSeconds > limit else { return }
    _ = intake.abandon(position: position)
    noteFailedSave(position, "not written within \(Int(limit)) s")
  }

  // MARK: What happened

  private func handle(_ event: RuntimeEvent) {
    switch event {
    case .arrived(let hello, let control): welcome(hello, control)
    case .bulkArrived(let worker, let bulk):
      if let connection = connections[worker] { connection.attach(bulk) } else { bulk.close() }
    case .bulkGone(let worker, let bulk):
      // Without tokens a worker cannot go on. It answers with an end of its own, after all it had
      // to say, and makes both connections anew.
      guard let connection = connections[worker], connection.isFed(over: bulk) else { return }
      connection.control.connection.finishWriting()
    case .message(let worker, let message): hear(worker, message)
    case .gone(let worker, let cause, let control):
      guard let connection = connections[worker],
        ObjectIdentifier(connection.control) == control
      else { return }
      lose(worker, cause)
    case .log(let worker, let text):
      if let connection = connections[worker] { folder.appendLog(connection.name, text) }
    case .checkpointed(let position, let reader):
      intake.settle(position: position)
      noteCheckpoint(position, reader)
    case .checkpointFailed(let position, let reason): noteFailedSave(position, reason)
    case .stopRequested: stop()
    case .sourceLost(let reason):
      fail(
        "\(reason). Checkpoints stand; run the same command again, which makes damaged tokens "
          + "anew from the source and passes over a damaged checkpoint")
    }
  }

  private func hear(_ worker: Int, _ message: WorkerMessage) {
    guard let connection = connections[worker] else { return }
    var progress: Int?
    if case .alive(let count) = message { progress = count }
    watch.note(worker: worker, progress: progress, at: Clock.monotonicSeconds)
    switch message {
    case .suspended(let view, let position, let nodes):
      apply(.suspended(worker: worker, view: view, position: position, nodes: nodes))
    case .measuredPeak(let gigaflops, let cores):
      recorder.notePeak(
        worker: worker, hello: connection.hello,
        peakNominalGigaflops: connection.offer.peakNominalGigaflops, gigaflops: gigaflops,
        cores: cores)
      apply(.measuredPeak(worker: worker))
    case .completed(let report):
      recorder.take(report, from: worker, name: connection.name)
      let before = schedule.committedPosition
      guard noteGate(report) else { return }
      apply(
        .completed(
          worker: worker, view: report.view, position: report.position,
          next: report.nextPosition))
      guard schedule.committedPosition > before else { return }
      noteDuration()
      // Losing this record costs nothing: workers know where they are. Hence no wait for the disk.
      try? folder.ledger.append(
        .committed(position: schedule.committedPosition), synchronizing: false)
      recorder.commit(upTo: schedule.committedPosition)
      if recorder.takeProbeWish() { send(.measurePeak, to: schedule.memberWorkers) }
    case .peerLost(let view, let rank, let cause):
      recorder.event(
        .warning, "\(connection.name) reports rank \(rank) of view \(view): \(cause)")
      apply(.peerLost(reporter: worker, view: view, rank: rank, cause: cause))
    case .alive: break
    case .saveRefused(let position):
      guard intake.abandon(position: position) else { return }
      recorder.event(
        .checkpointFailed, "position \(position): \(connection.name) has moved on")
      apply(.checkpointFailed(position: position))
    case .leaving:
      apply(.leaving(worker: worker))
    }
  }

  /// A phase that a gate closes is journaled before anybody hears of what follows.
  ///
  /// - Returns: false where the run has ended for it.
  private func noteGate(_ report: OperationReport) -> Bool {
    let (from, to) = (report.position + 1, report.nextPosition)
    guard to > from, program.gaps[to] != from else { return true }
    let operation = program.operation(at: report.position)
    let reason = folder.plan.gate(
      after: operation,
      SliceStatistics(
        tokenCount: report.tokenCount, lossSum: report.lossSum, measures: report.measures))
    do {
      try folder.closeGate(from: from, to: to, reason: reason ?? "a worker says so")
    } catch {
      fail("the ledger cannot be written: \(error)")
      return false
    }
    recorder.event(
      .gate, "\(reason ?? "a worker says so"): the phase ends here",
      phase: program.phase(at: report.position).map { folder.plan.phases[$0].name })
    return true
  }

  private func noteDuration() {
    let now = Clock.monotonicSeconds
    watch.noteOperation(duration: now - lastCommitSeconds)
    lastCommitSeconds = now
  }

  private func welcome(_ hello: WorkerHello, _ control: MessageChannel) {
    let offer: KernelOffer
    do throws(Refusal) {
      offer = try choose(from: hello)
    } catch {
      recorder.event(.warning, "\(control.peer): \(error.reason)")
      let message = CoordinatorMessage.refused(
        reason: error.reason, code: ExitCode.badPlan.rawValue)
      try? control.send(MessageCoding.encode(message), deadline: .after(.seconds(2)))
      return control.close()
    }
    identity = offer
    let worker = returningNumber(hello) ?? nextWorker
    nextWorker = max(nextWorker, worker + 1)
    if connections[worker] != nil { lose(worker, "it connected again") }
    let name = hello.name.isEmpty ? "w\(worker)" : hello.name
    let connection = WorkerConnection(
      worker: worker, name: name, hello: hello, offer: offer, control: control, source: source,
      onLost: { [queue] in queue.post(.sourceLost(reason: $0)) })
    connections[worker] = connection
    guard journal(.joined(worker: worker, name: name)) else { return }
    connection.send(
      .welcome(
        run: folder.runNumber, worker: worker, name: name, profile: offer.profile,
        plan: folder.planText, tokenizer: folder.tokenizerText))
    Reception.listen(
      to: worker, over: control, silenceSeconds: Self.silenceSeconds,
      post: { [queue] in queue.post($0) })
    recorder.event(
      .workerJoined,
      "\(name) from \(control.peer), \(hello.threadCount) threads, \(offer.kernels)")
    apply(
      .joined(Member(worker: worker, name: name, dataAddress: hello.dataAddress)))
  }

  /// The number of a worker that comes back, if this run has given that number out.
  private func returningNumber(_ hello: WorkerHello) -> Int? {
    guard let returning = hello.returning, returning.run == folder.runNumber,
      (0..<nextWorker).contains(returning.worker)
    else { return nil }
    return returning.worker
  }

  private struct Refusal: Error { let reason: String }

  /// The kernels a worker is to use: those of the run's profile, or its fastest when the run has
  /// none yet.
  private func choose(from hello: WorkerHello) throws(Refusal) -> KernelOffer {
    guard hello.version == protocolVersion else {
      throw Refusal(reason: otherVersion(hello.version))
    }
    let profile = identity?.profile ?? (folder.profile.isEmpty ? nil : folder.profile)
    guard
      let offer = profile == nil
        ? hello.offers.first : hello.offers.first(where: { $0.profile == profile })
    else {
      throw Refusal(
        reason: "the run follows the numeric profile \(profile ?? "none"), the worker has "
          + "\(hello.offers.map(\.profile).joined(separator: ", ")); results would differ. Run "
          + "all workers with --kernels of a profile that each of them has")
    }
    let selfTest = identity?.selfTest ?? folder.selfTest
    guard selfTest == nil || selfTest == offer.selfTest else {
      throw Refusal(
        reason: "the worker's kernels fail the self-test of profile \(offer.profile): "
          + "\(offer.selfTest.prefix(12)) instead of the run's \(selfTest?.prefix(12) ?? "")")
    }
    return offer
  }

  private func lose(_ worker: Int, _ cause: String) {
    guard let connection = connections.removeValue(forKey: worker) else { return }
    connection.close()
    recorder.forget(worker: worker)
    watch.forget(worker: worker)
    if connections.isEmpty { identity = nil }
    recorder.event(.workerLost, "\(connection.name): \(cause)", node: connection.name)
    apply(.lost(worker: worker, cause: cause))
  }

  private func part(
    from worker: Int, _ kind: RunEvent.Kind, _ text: String, telling reason: String, code: Int32
  ) {
    guard let connection = connections.removeValue(forKey: worker) else { return }
    recorder.forget(worker: worker)
    watch.forget(worker: worker)
    recorder.event(kind, "\(connection.name) \(text)", node: connection.name)
    connection.send(.leave(reason: reason, code: code))
    connection.close()
  }

  private func stop() {
    recorder.event(.warning, "asked to stop; saving a checkpoint (again to leave at once)")
    apply(.stopRequested)
  }

  // MARK: What to do

  /// Commands of an event that comes while others are carried out (a save that fails at once) wait
  /// for these: they are meant to follow them.
  private func apply(_ event: ClusterEvent) {
    pending += schedule.apply(event)
    guard !isPerforming else { return }
    isPerforming = true
    defer { isPerforming = false }
    while end == nil, !pending.isEmpty { perform(pending.removeFirst()) }
  }

  private func perform(_ command: Scheduling.Command) {
    switch command {
    case .suspend(let workers, let view): send(.suspend(view: view), to: workers)
    case .measurePeak(let workers): send(.measurePeak, to: workers)
    case .resume(let resumption): resume(resumption)
    case .grant(let workers, let view, let position):
      guard beginPhase(before: position) else { return }
      for worker in workers { connections[worker]?.extendFeed(view: view, limit: position) }
      send(.grant(view: view, position: position), to: workers)
    case .save(let position, let workers): save(position, workers)
    case .abandonSave(let position):
      guard intake.abandon(position: position) else { return }
      recorder.event(.checkpointFailed, "position \(position): a worker left while saving")
    case .release(let worker):
      part(from: worker, .workerLeft, "left, as it asked", telling: "you asked to leave", code: 0)
    case .dismiss(let worker, let reason):
      // Not 0: whoever started it may start another in its place.
      part(from: worker, .workerLost, "cut off: \(reason)", telling: reason, code: 1)
    case .rewound(let from, let to):
      guard journal(.rewound(from: from, to: to)) else { return }
      recorder.rewind(from: from, to: to)
    case .finish(let how): finish(how)
    }
  }

  private func resume(_ plain: Resumption) {
    folder.resume(at: plain.position)
    var resumption = plain
    resumption.gaps = program.gaps
    guard
      journal(
        .view(
          number: resumption.view, workers: resumption.members.map(\.name),
          position: resumption.position, profile: identity?.profile,
          selfTest: identity?.selfTest)),
      beginPhase(before: resumption.grantedPosition), let state = state(for: resumption)
    else { return }
    if let identity { folder.noteKernels(identity) }
    // Some operations were completed while everybody was being suspended.
    recorder.commit(upTo: resumption.position)
    recorder.beginView(resumption)
    lastCommitSeconds = Clock.monotonicSeconds
    for (rank, member) in resumption.members.enumerated() {
      connections[member.worker]?.feed(
        view: resumption.view, position: resumption.position, limit: resumption.grantedPosition,
        state: state[rank])
    }
    send(.resume(resumption), to: resumption.members.map(\.worker))
  }

  /// The checkpoint that each rank takes its state from, if it does; nil where there is none at
  /// that position any more, and the run has ended for it.
  private func state(for resumption: Resumption) -> [CheckpointReader?]? {
    let isNeeded = resumption.sources.contains(.checkpoint)
    guard isNeeded, newest?.position != resumption.position else {
      return resumption.sources.map { $0 == .checkpoint ? newest?.reader : nil }
    }
    fail("no checkpoint holds the state at position \(resumption.position)")
    return nil
  }

  /// A phase begins only after its transition is in the ledger. A phase's end is a place for a
  /// checkpoint and ends the grant, so operations granted together are of one phase.
  ///
  /// - Parameter position: Operations before it are to be granted.
  /// - Returns: false where the run has ended for it.
  private func beginPhase(before position: Int) -> Bool {
    guard let phase = program.phase(at: position - 1), phase != folder.phaseBegun else {
      return true
    }
    let name = folder.plan.phases[phase].name
    guard journal(.phaseBegan(index: phase, name: name)) else { return false }
    folder.phaseBegun = phase
    recorder.event(.phaseBegan, "phase \(name) begins", phase: name)
    return true
  }

  private func send(_ message: CoordinatorMessage, to workers: [Int]) {
    for worker in workers { connections[worker]?.send(message) }
  }

  /// On disk before it is announced. Without its ledger the coordinator must not go on.
  ///
  /// - Returns: false where the run has ended for it; then nothing may be announced.
  private func journal(_ record: LedgerRecord) -> Bool {
    do {
      try folder.ledger.append(record, synchronizing: true)
      return true
    } catch {
      fail("the ledger cannot be written: \(error)")
      return false
    }
  }

  private func save(_ position: Int, _ workers: [Int]) {
    // All of it came before the view changed: what comes of it is known shortly.
    if intake.isCommitting(position: position) { return }
    // The checkpoint counts the tokens of every step before it.
    recorder.commit(upTo: position)
    Failpoint.enter(phase: folder.plan.phases[program.progress(at: position).phase].name)
    do {
      let tokensTotal = try recorder.tokensTotal(at: position)
      let writer = try folder.makeWriter(at: position, tokensTotal: tokensTotal)
      intake.begin(position: position, writer: writer)
      for (rank, worker) in workers.enumerated() {
        let share = writer.chunks.share(ofRank: rank, of: workers.count)
        connections[worker]?.send(.save(position: position, chunks: share))
      }
    } catch {
      noteFailedSave(position, "\(error)")
    }
  }

  private func noteCheckpoint(_ position: Int, _ reader: CheckpointReader) {
    guard journal(.checkpointed(position: position, name: reader.name)) else { return }
    recorder.event(.checkpointSaved, reader.name)
    folder.removeOldCheckpoints(verified: reader.name)
    if position >= newest?.position ?? 0 { newest = (position, reader) }
    apply(.checkpointed(position: position))
  }

  /// Training goes on after a checkpoint that failed; a run that has nothing left to do cannot.
  private func noteFailedSave(_ position: Int, _ reason: String) {
    recorder.event(.checkpointFailed, "position \(position): \(reason)")
    if position == program.operationCount || schedule.isEnding {
      return fail(
        "the last checkpoint cannot be written: \(reason). Older checkpoints stand; make room and "
          + "run the same command again")
    }
    apply(.checkpointFailed(position: position))
  }

  /// Ends the run where it stands because of a file, and sends everybody off.
  private func fail(_ message: String) {
    end = CoordinatorEnd(kind: .failed, message: message, code: 74)
    let reason = "the coordinator stops: \(message)"
    send(.leave(reason: reason, code: 74), to: Array(connections.keys))
  }

  private func finish(_ how: RunEnd) {
    recorder.commit(upTo: schedule.committedPosition)
    let position = schedule.committedPosition
    switch how {
    case .completed:
      guard journal(.ended(reason: "completed", position: position)) else { return }
      recorder.finish(.finished, "complete after \(position) operations")
      send(.leave(reason: "the run is complete", code: 0), to: Array(connections.keys))
      end = CoordinatorEnd(kind: .completed, message: folder.closingMessage)
    case .stopped:
      guard journal(.ended(reason: "stopped", position: position)) else { return }
      recorder.finish(.stopped, "stopped at position \(position)")
      send(.leave(reason: "the run was stopped", code: 75), to: Array(connections.keys))
      end = CoordinatorEnd(kind: .stopped, message: folder.stoppedMessage(whatStands(position)))
    }
    pauseThread(milliseconds: 100)
    for connection in connections.values { connection.close() }
  }

  /// What of the operations before `position` outlives a stop.
  private func whatStands(_ position: Int) -> String {
    guard let newest else { return "nothing was trained yet" }
    let lost = program.stepCount(from: newest.position, to: position)
    let repeated = lost == 0 ? "" : ", \(lost) \(lost == 1 ? "step" : "steps") will be repeated"
    return "checkpoint \(newest.reader.name) stands\(repeated)"
  }
}

/// What reached the coordinator, in order, for its one thread.
final class EventQueue: Sendable {
  private let events = Monitor<[RuntimeEvent]>([])
  func post(_ event: RuntimeEvent) { events.update { $0.append(event) } }
  func next(atMost seconds: Double) -> RuntimeEvent? {
    events.wait(atMost: seconds) { $0.isEmpty ? nil : $0.removeFirst() }
  }
}
