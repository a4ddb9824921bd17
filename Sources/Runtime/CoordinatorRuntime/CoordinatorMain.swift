internal import ControlProtocol
internal import Planning
internal import Settings
internal import System
internal import Transport

/// Runs a coordinator until its run is over; returns the exit code.
public func runCoordinator(_ options: CoordinatorOptions) -> Int32 {
  do {
    let end = try coordinate(options)
    writeText(end.message + "\n", to: 2)
    return end.code
  } catch let error as any ProgramError {
    writeText(error.message + "\n", to: 2)
    return error.exitCode.rawValue
  } catch let error as CoordinatorEnd {
    writeText("Error: \(error.message)\n", to: 2)
    return error.code
  } catch {
    writeText("Error: \(error)\n", to: 2)
    return 1
  }
}

private func coordinate(_ options: CoordinatorOptions) throws -> CoordinatorEnd {
  let queue = EventQueue()
  let isPreparing = Monitor(true)
  stopOnSignals(queue, isPreparing)
  let text: String
  do {
    text = String(decoding: try Files.read(options.plan, byteCountMax: 16 << 20), as: UTF8.self)
  } catch {
    throw PlainError("the plan cannot be read: \(error)", .noInput)
  }
  let resolution = try PlanResolver.resolve(
    text: text, path: options.plan, sets: options.sets, dataOverride: options.data)
  let listener = try listen(options)
  defer { listener.close() }
  writeText("listening on \(listener.address)\n", to: 1)

  let intake = CheckpointIntake(post: { queue.post(.init($0)) })
  let reception = Reception(listener, intake: intake, post: { queue.post($0) })
  reception.start()
  let end: CoordinatorEnd
  do throws(CoordinatorEnd) {
    let driver = try prepare(options, resolution, queue, intake)
    reception.open(run: driver.runNumber)
    isPreparing.update { $0 = false }
    end = driver.run()
  } catch {
    end = error
  }
  turnAway(queue, end)
  return end
}

/// Opens the run's folder and makes what it needs: tokenizer, tokens, records.
private func prepare(
  _ options: CoordinatorOptions, _ resolution: PlanResolution, _ queue: EventQueue,
  _ intake: CheckpointIntake
) throws(CoordinatorEnd) -> CoordinatorDriver {
  func tell(_ line: String) { writeText(line + "\n", to: 2) }
  let folder = try RunFolder(options, resolution, tell: tell)
  let corpora = try folder.corpora(tell: tell)
  let source = TrainingSource(plan: folder.plan, program: folder.program, corpora: corpora)
  let recorder = try RunRecorder(folder: folder, source: source)
  return CoordinatorDriver(
    folder: folder, options: options, recorder: recorder, source: source, queue: queue,
    intake: intake)
}

/// Answers the workers that said hello and were not heard: nobody will serve them.
private func turnAway(_ queue: EventQueue, _ end: CoordinatorEnd) {
  let answer = CoordinatorMessage.leave(
    reason: end.kind == .completed
      ? "the run is complete" : "the coordinator stops: \(end.message)",
    code: end.code)
  while let event = queue.next(atMost: 0) {
    guard case .arrived(_, let control) = event else { continue }
    try? control.send(MessageCoding.encode(answer), deadline: .after(.seconds(2)))
    control.close()
  }
}

/// Ctrl-C once: save and leave, as soon as there is a run. Twice: now, even while text is read.
private func stopOnSignals(_ queue: EventQueue, _ isPreparing: Monitor<Bool>) {
  let requestCount = Monitor(0)
  onSignals([.hangup, .interrupt, .terminate]) { signal in
    let earlier = requestCount.update { count in
      defer { count += 1 }
      return count
    }
    // The end of a terminal, or of the process that started this one, may be told more than once.
    if earlier > 0, signal != .hangup { leaveProcess(code: 130) }
    guard earlier == 0 else { return }
    if isPreparing.update({ $0 }) {
      writeText("stopping as soon as the text is read (again to leave at once)\n", to: 2)
    }
    queue.post(.stopRequested)
  }
  signalWhenStarterEnds(.hangup)
}

private func listen(_ options: CoordinatorOptions) throws -> Listener {
  guard options.listen.isLoopback || options.isPlaintext else {
    throw PlainError(
      "--listen \(options.listen) serves other machines, and encryption has not landed yet. On a "
        + "network you trust, add --plaintext here and on the workers.", .notAuthorized)
  }
  if !options.listen.isLoopback {
    writeText("warning: serving \(options.listen) without encryption (--plaintext)\n", to: 2)
  }
  do {
    return try Listener(options.listen, congestion: options.congestion)
  } catch {
    throw PlainError(
      "cannot listen on \(options.listen): \(error). Another program may hold the port: choose "
        + "another with --listen, or port 0 for a free one.", .failure)
  }
}
