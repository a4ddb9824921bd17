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
  stopOnSignals(queue)
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

  let intake = CheckpointIntake(post: { queue.post($0) })
  let reception = Reception(listener, intake: intake, post: { queue.post($0) })
  reception.start()

  func tell(_ line: String) { writeText(line + "\n", to: 2) }
  let folder = try RunFolder(options, resolution, tell: tell)
  let corpora = try folder.corpora(tell: tell)
  let program = PhaseProgram(folder.plan)
  let source = TrainingSource(
    plan: folder.plan, program: program, corpora: corpora, runDirectory: folder.path,
    checkpoint: folder.checkpoint, checkpointPosition: folder.start.checkpointPosition)
  let recorder = try RunRecorder(folder: folder, program: program, source: source)
  let driver = CoordinatorDriver(
    folder: folder, options: options, program: program, recorder: recorder, source: source,
    queue: queue, intake: intake)
  reception.open(run: folder.runNumber)
  return driver.run()
}

/// Ctrl-C once: save and leave, as soon as there is a run. Twice: now, even while text is read.
private func stopOnSignals(_ queue: EventQueue) {
  let requestCount = Monitor(0)
  onSignals([.hangup, .interrupt, .terminate]) { signal in
    let earlier = requestCount.update { count in
      defer { count += 1 }
      return count
    }
    if earlier == 0 { return queue.post(.stopRequested) }
    // The end of a terminal, or of the process that started this one, may be told more than once.
    if signal != .hangup { leaveProcess(code: 130) }
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
