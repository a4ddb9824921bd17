package import Checkpoints
internal import ControlProtocol
package import Corpus
package import Planning
package import Settings
internal import System
internal import Telemetry
internal import Tensors
internal import Tokenization

/// Where a run stands when a coordinator takes it up.
package struct RunStart: Equatable {
  package var isResumed = false
  package var view = 0
  package var workerCount = 0
  package var nextWorker = 0
  package var committedPosition = 0
  package var checkpointPosition: Int?
  package var tokensTotal: UInt64 = 0
}

/// The folder of a run: `runs/<name>/` with plan, ledger, tokenizer, tokens, checkpoints, records.
package final class RunFolder {
  let path: String
  package let plan: ResolvedPlan
  let planText: String
  let runNumber: UInt64
  package let ledger: Ledger
  package let start: RunStart
  let checkpoint: CheckpointReader?
  /// Checkpoints that are newer than ``checkpoint``, and why they are not used.
  let passedOver: [CheckpointReader.PassedOver]
  /// The numeric profile and its kernels' self-test, fixed by the first view.
  private(set) var profile: String
  private(set) var selfTest: String?
  /// Index of the phase that began last, as the ledger has it.
  var phaseBegun: Int?
  /// With the gaps that gates have left so far.
  package private(set) var program: PhaseProgram
  /// SHA-256 of the text of each phase, by its index, as far as they are known.
  private var textDigests: [Int: String]
  private let lock: FileLock
  private let tokenizerJSON: [UInt8]
  /// Examples that were read to count the steps of their phases, by phase index.
  private let examplesRead: [Int: ExampleCorpus]
  /// What to type to go on with the run.
  private let resumeCommand: String
  /// What was asked for, to say where the plan names what is wrong.
  private let resolution: PlanResolution

  /// Opens the folder of `resolution`'s run, or creates it.
  ///
  /// What the run goes on with is on disk when this returns: first in the ledger, then in the plan.
  ///
  /// - Throws: ``CoordinatorEnd`` with what is wrong, how to mend it, and the exit code.
  package init(
    _ options: CoordinatorOptions, _ resolution: PlanResolution,
    tell: @escaping (String) -> Void
  ) throws(CoordinatorEnd) {
    let path = options.runDirectory ?? "runs/\(resolution.plan.name)"
    self.path = path
    self.resolution = resolution
    resumeCommand = options.resumeCommand
    do {
      try Files.createDirectory("\(path)/logs")
      guard let lock = try FileLock("\(path)/.lock") else {
        throw CoordinatorEnd(
          kind: .failed, message: "another coordinator is running \(path); stop it first", code: 1)
      }
      self.lock = lock
      ledger = try Ledger("\(path)/ledger.log")
      let summary = LedgerSummary(ledger.history)
      var opening = try RunOpening(path, summary, resolution, tell: tell)
      passedOver = opening.passedOver
      let tokenizer = try opening.tokenizer()
      tokenizerJSON = tokenizer.json()
      examplesRead = try opening.countSteps(tokenizer)
      let (plan, changes) = try opening.plan(tokenizer, isAmending: options.isAmending)
      self.plan = plan
      planText = plan.planJSON()
      let reader = try opening.checkpoint(plan, tokenizerJSON)
      checkpoint = reader
      textDigests = opening.textDigests
      profile = reader.map(\.state.profile).flatMap { $0.isEmpty ? nil : $0 }
        ?? summary.profile ?? ""
      selfTest = summary.selfTest
      phaseBegun = summary.phase
      program = opening.program(plan, reader, isAmended: !changes.isEmpty)
      start = opening.start(
        program, reader, isAmended: !changes.isEmpty, nextWorker: ledger.workerCountEver)

      runNumber = summary.run ?? Self.freshRunNumber()
      try ledger.append(
        .opened(
          run: runNumber, incarnation: summary.incarnation + 1,
          planDigest: SHA256.hex(of: Array(planText.utf8)),
          tokenizerDigest: SHA256.hex(of: tokenizerJSON)),
        synchronizing: true)
      if !changes.isEmpty {
        try ledger.append(
          .amended(changes: changes, position: start.committedPosition), synchronizing: true)
        // Gaps count the operations of the plan that stands before them.
        for (to, from) in program.gaps {
          try ledger.append(
            .gateClosed(from: from, to: to, reason: "before the plan was amended"),
            synchronizing: true)
        }
        tell("plan amended: \(changes.joined(separator: ", "))")
      }
      try Files.write(
        opening.resolution.resolvedJSON(of: plan), to: "\(path)/plan.resolved.json")
      try Files.write(tokenizerJSON, to: "\(path)/tokenizer.json")
    } catch {
      throw CoordinatorEnd(error, inRun: path, of: resolution)
    }
  }

  private static func freshRunNumber() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    // Below 2^53, so that a JSON reader which takes numbers for doubles keeps it.
    return generator.next() >> 11
  }

  /// What every phase that trains or evaluates reads, by phase index; phases that read the same
  /// text share its tokens. A text that changed since the run began is refused.
  package func corpora(tell: (String) -> Void) throws(CoordinatorEnd) -> [Int: PhaseCorpus] {
    var corpora: [Int: PhaseCorpus] = [:]
    for (index, phase) in plan.phases.enumerated() where phase.kind != .tokenizer {
      if let known = corpora[plan.phaseWithTokens(of: index)] {
        corpora[index] = known
        continue
      }
      do {
        let tokenizer = try Tokenizer.load(json: tokenizerJSON)
        let corpus = phase.kind.readsExamples
          ? try .examples(examples(index, tokenizer, tell: tell))
          : try text(index, tokenizer, tell: tell)
        if textDigests[index] == nil, let digest = corpus.textDigest {
          try ledger.append(.text(phase: index, digest: digest), synchronizing: true)
          textDigests[index] = digest
        }
        corpora[index] = corpus
      } catch {
        throw CoordinatorEnd(error, inRun: path, of: resolution)
      }
    }
    return corpora
  }

  private func text(
    _ index: Int, _ tokenizer: Tokenizer, tell: (String) -> Void
  ) throws(CorpusError) -> PhaseCorpus {
    let line = ProgressLine("data: text made tokens")
    defer { line.end() }
    let corpus = try Corpus(
      data: plan.phases[index].data, tokenizer: tokenizer,
      cacheDirectories: plan.tokenFolders(ofPhase: index, in: path),
      sequenceLength: plan.model.sequenceLength, expectedTextDigest: textDigests[index],
      event: {
        line.end()
        tell("\($0)")
      }, progress: line.update)
    let shares = MixtureShare.shares(
      plan, phase: index, sourceTokenCounts: corpus.sourceTokenCounts)
    for share in shares { tell("\(plan.phases[index].name): \(share.text)") }
    return .text(corpus)
  }

  private func examples(
    _ index: Int, _ tokenizer: Tokenizer, tell: (String) -> Void
  ) throws(CorpusError) -> ExampleCorpus {
    if let known = examplesRead[index] { return known }
    return try ExampleCorpus.read(
      plan, phase: index, tokenizer, textDigest: textDigests[index], tell: tell)
  }

  // MARK: While it runs

  /// Profile and self-test are fixed by the first view.
  func noteKernels(_ offer: KernelOffer) {
    if profile.isEmpty { profile = offer.profile }
    selfTest = selfTest ?? offer.selfTest
  }

  /// A gate closed a phase; on disk before anything follows from it.
  func closeGate(from: Int, to: Int, reason: String) throws(SystemError) {
    try ledger.append(.gateClosed(from: from, to: to, reason: reason), synchronizing: true)
    program.gaps[to] = from
  }

  /// The run goes on at `position`: a gate that closed later closes again, or does not.
  func resume(at position: Int) { program.forgetGaps(after: position) }

  func appendLog(_ worker: String, _ text: String) {
    let name = worker.filter { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" || $0 == "." }
    guard let file = try? File("\(path)/logs/\(name).log", .append) else { return }
    try? file.append(Array(text.utf8))
  }

  /// - Parameter tokensTotal: Real tokens of the steps before `position`.
  package func makeWriter(
    at position: Int, tokensTotal: UInt64
  ) throws(CheckpointError) -> CheckpointWriter {
    let (phase, step) = program.progress(at: position)
    let state = CheckpointState(
      run: plan.name, phaseIndex: phase, phaseName: plan.phases[phase].name, step: step,
      position: position, schedulePosition: step, tokensTotal: tokensTotal,
      dataCursor: UInt64(step * plan.batch.sequences), profile: profile,
      layout: plan.stateLayout(inPhase: phase), textDigests: textDigests,
      stepsTaken: program.stepsTaken,
      startsTuned: checkpoint?.state.hasTunedStart ?? false)
    return try CheckpointWriter(
      runDirectory: path, state: state, tokenizer: tokenizerJSON,
      plan: Array(planText.utf8))
  }

  /// - Parameter verified: The checkpoint that was verified just now.
  func removeOldCheckpoints(verified: String) {
    _ = try? CheckpointFolder.keep(
      newest: max(plan.checkpoints.keep, 1), inRun: path, verified: verified)
  }

  /// What workers read answers with; empty where no phase makes any.
  var tokenizerText: String {
    plan.phases.contains { $0.samples } ? String(decoding: tokenizerJSON, as: UTF8.self) : ""
  }

  var closingMessage: String { Self.closingMessage(path) }

  /// What to do with a run that is complete.
  static func closingMessage(_ path: String) -> String {
    """
    \(completePrefix)\(path)
      cox tail \(path) --once                       the report
      cox generate \(path) --prompt "The"           text from the model
      cox digest \(path)                            what came out, as one number
    """
  }

  /// - Parameter whatStands: What of the run outlives the stop.
  package func stoppedMessage(_ whatStands: String) -> String {
    "\(Self.stoppedPrefix)\(whatStands)\(Self.resumeSeparator)\(resumeCommand)"
  }

  /// The part of a ``stoppedMessage(_:)`` that does not depend on how the coordinator was started.
  static func whatStands(_ message: String) -> String? {
    guard let range = message.firstRange(of: resumeSeparator) else { return nil }
    return String(message[..<range.lowerBound].dropFirst(stoppedPrefix.count))
  }

  /// How the last message of a coordinator is made up; whoever started it may have a better
  /// command to go on with.
  static let completePrefix = "complete: "
  static let stoppedPrefix = "stopped: "
  static let resumeSeparator = "; go on with: "
}
