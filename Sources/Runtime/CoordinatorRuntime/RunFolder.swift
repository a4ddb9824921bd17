internal import Checkpoints
internal import Corpus
internal import Planning
internal import Settings
internal import System
internal import Tensors
internal import Tokenization

/// Where a run stands when a coordinator takes it up.
struct RunStart: Equatable {
  var isResumed = false
  var view = 0
  var workerCount = 0
  var nextWorker = 0
  var committedPosition = 0
  var checkpointPosition: Int?
  var tokensTotal: UInt64 = 0
}

/// The folder of a run: `runs/<name>/` with plan, ledger, tokenizer, tokens, checkpoints, records.
final class RunFolder {
  let path: String
  let plan: ResolvedPlan
  let planText: String
  let runNumber: UInt64
  let ledger: Ledger
  /// Of the phases whose text the ledger knows.
  private let textDigests: [Int: String]
  let start: RunStart
  let checkpoint: CheckpointReader?
  private(set) var profile: String
  private let lock: FileLock
  private let tokenizerJSON: [UInt8]
  private let layout: ParameterLayout
  private let planPath: String

  /// Opens the folder of `resolution`'s run, or creates it.
  ///
  /// - Throws: ``CoordinatorEnd`` with what is wrong, how to mend it, and the exit code.
  init(
    _ options: CoordinatorOptions, _ resolution: PlanResolution, tell: (String) -> Void
  ) throws(CoordinatorEnd) {
    let path = options.runDirectory ?? "runs/\(resolution.plan.name)"
    self.path = path
    planPath = options.plan
    do {
      try Files.createDirectory("\(path)/logs")
      guard let lock = try FileLock("\(path)/.lock") else {
        throw CoordinatorEnd(
          kind: .failed, message: "another coordinator is running \(path); stop it first", code: 1)
      }
      self.lock = lock
      let ledger = try Ledger("\(path)/ledger.log")
      self.ledger = ledger
      let summary = LedgerSummary(ledger.history)
      textDigests = summary.textDigests
      try CheckpointFolder.removeLeftovers(inRun: path)

      let tokenizer = try Self.tokenizer(resolution.plan, path, tell)
      tokenizerJSON = tokenizer.json()
      let tokenizerDigest = SHA256.hex(of: tokenizerJSON)
      try Self.check(tokenizer, tokenizerDigest, against: summary, path)
      var plan = resolution.plan
      if plan.initialization.from != nil {
        plan = try InitialModel.completed(resolution, with: tokenizer)
      }
      plan.model.vocabularySize = max(plan.model.vocabularySize, tokenizer.vocabularySize)
      plan.tokenizer.vocabularySize = tokenizer.vocabularySize
      layout = ParameterLayout(plan.model)

      let isResumed = Files.exists("\(path)/plan.resolved.json")
      var changes: [String] = []
      if isResumed {
        let phase = PhaseProgram(plan).progress(at: summary.committedPosition).phase
        (plan, changes) = try Self.resume(
          plan, resolution, path, currentPhase: phase, isAmending: options.isAmending)
      }
      let reader = try Self.checkpoint(plan, tokenizerJSON, path, tell)
      self.plan = plan
      planText = plan.planJSON()
      try Files.write(
        resolution.resolvedJSON(of: plan), to: "\(path)/plan.resolved.json")
      try Files.write(tokenizerJSON, to: "\(path)/tokenizer.json")

      checkpoint = reader
      profile = reader?.state.profile ?? ""
      let program = PhaseProgram(plan)
      var start = RunStart(isResumed: isResumed)
      start.view = summary.view
      start.workerCount = summary.isEnded ? 0 : summary.workerCount
      start.nextWorker = ledger.workerCountEver
      start.checkpointPosition = reader.map { Self.position(of: $0.state, in: program) }
      // Positions of the ledger count the operations of the plan before an amendment.
      let reached = changes.isEmpty ? summary.committedPosition : 0
      start.committedPosition = max(reached, start.checkpointPosition ?? 0)
      start.tokensTotal = reader?.state.tokensTotal ?? 0
      self.start = start

      runNumber = summary.run ?? Self.freshRunNumber()
      try ledger.append(
        .opened(
          run: runNumber, incarnation: summary.incarnation + 1,
          planDigest: SHA256.hex(of: Array(planText.utf8)), tokenizerDigest: tokenizerDigest),
        synchronizing: true)
      if !changes.isEmpty {
        try ledger.append(
          .amended(changes: changes, position: start.committedPosition), synchronizing: true)
        tell("plan amended: \(changes.joined(separator: ", "))")
      }
    } catch let end as CoordinatorEnd {
      throw end
    } catch let error as SystemError {
      throw CoordinatorEnd(kind: .failed, message: "run folder \(path): \(error)", code: 74)
    } catch let error as LedgerError {
      throw CoordinatorEnd(kind: .failed, message: "\(error)", code: 65)
    } catch let error as CheckpointError {
      throw CoordinatorEnd(kind: .failed, message: "\(error)", code: 65)
    } catch {
      throw CoordinatorEnd(kind: .failed, message: "\(error)", code: 1)
    }
  }

  /// Tokens of every phase that trains or evaluates, by phase index; phases that read the same
  /// text share them. A text that changed since the run was started is refused.
  func corpora(tell: (String) -> Void) throws(CoordinatorEnd) -> [Int: Corpus] {
    var corpora: [Int: Corpus] = [:]
    for (index, phase) in plan.phases.enumerated() where phase.kind != .tokenizer {
      if let known = corpora[plan.phaseWithTokens(of: index)] {
        corpora[index] = known
        continue
      }
      do {
        let tokenizer = try Tokenizer.load(json: tokenizerJSON)
        let corpus = try Corpus(
          data: phase.data, tokenizer: tokenizer, cacheDirectory: "\(path)/data/\(index)",
          sequenceLength: plan.model.sequenceLength, expectedTextDigest: textDigests[index],
          event: { tell("\($0)") })
        if textDigests[index] == nil, let digest = corpus.textDigest {
          try ledger.append(.text(phase: index, digest: digest), synchronizing: true)
        }
        corpora[index] = corpus
      } catch let error as CorpusError {
        throw Self.end(of: error)
      } catch let error as SystemError {
        throw CoordinatorEnd(kind: .failed, message: "run folder \(path): \(error)", code: 74)
      } catch {
        throw CoordinatorEnd(kind: .failed, message: "\(error)", code: 65)
      }
    }
    return corpora
  }

  private static func end(of error: CorpusError) -> CoordinatorEnd {
    switch error {
    case .missing, .noTextFiles: CoordinatorEnd(kind: .failed, message: "\(error)", code: 66)
    case .system: CoordinatorEnd(kind: .failed, message: "\(error)", code: 74)
    default: CoordinatorEnd(kind: .failed, message: "\(error)", code: 65)
    }
  }

  /// The newest checkpoint that verifies; where there is none, the one that the plan's initial
  /// model makes.
  private static func checkpoint(
    _ plan: ResolvedPlan, _ tokenizer: [UInt8], _ path: String, _ tell: (String) -> Void
  ) throws -> CheckpointReader? {
    let found = try CheckpointReader.newest(inRun: path)
    for passed in found.passedOver {
      tell("checkpoint \(passed.name) passed over: \(passed.reason)")
    }
    guard let from = plan.initialization.from, found.reader == nil else { return found.reader }
    try InitialModel(from).write(for: plan, tokenizer: tokenizer, inRun: path)
    tell("initial weights: \(from)")
    return try CheckpointReader.newest(inRun: path).reader
  }

  /// The tokenizer the run has, the one of the model it starts from, or one trained on the training
  /// part of its first phase's text.
  private static func tokenizer(
    _ plan: ResolvedPlan, _ path: String, _ tell: (String) -> Void
  ) throws -> Tokenizer {
    let file = "\(path)/tokenizer.json"
    if Files.exists(file) {
      let bytes = try Files.read(file)
      do throws(TokenizerError) {
        return try Tokenizer.load(json: bytes)
      } catch {
        throw CoordinatorEnd(
          kind: .failed, message: "\(file): \(error); \(tokenizerRemedy)", code: 65)
      }
    }
    if let from = plan.initialization.from { return try InitialModel(from).tokenizer() }
    guard let first = plan.phases.first else { return .bytes }
    let started = Clock.monotonicSeconds
    do {
      let tokenizer = try Corpus.trainTokenizer(plan.tokenizer, on: first.data)
      let seconds = ((Clock.monotonicSeconds - started) * 10).rounded() / 10
      tell(
        "tokenizer: \(tokenizer.kind.rawValue), \(tokenizer.vocabularySize) ids, \(seconds) s")
      return tokenizer
    } catch {
      throw end(of: error)
    }
  }

  private static let tokenizerRemedy =
    "put back the one that the run's checkpoints hold, or use another --run folder"

  /// Every token the model has seen came from one tokenizer; another one's ids mean other text.
  private static func check(
    _ tokenizer: Tokenizer, _ digest: String, against summary: LedgerSummary, _ path: String
  ) throws(CoordinatorEnd) {
    guard let known = summary.tokenizerDigest, known != digest else { return }
    throw CoordinatorEnd(
      kind: .failed,
      message: "\(path)/tokenizer.json is not the tokenizer that the run was started with: "
        + "\(tokenizer.vocabularySize) ids, SHA-256 \(digest.prefix(12)) instead of "
        + "\(known.prefix(12)); \(tokenizerRemedy)", code: 65)
  }

  /// The plan a run goes on with: the one it was started with, and amendments where allowed.
  private static func resume(
    _ plan: ResolvedPlan, _ resolution: PlanResolution, _ path: String, currentPhase: Int,
    isAmending: Bool
  ) throws -> (plan: ResolvedPlan, changes: [String]) {
    let bytes = try Files.read("\(path)/plan.resolved.json")
    let old: ResolvedPlan
    do {
      old = try ResolvedPlan(planJSON: String(decoding: bytes, as: UTF8.self))
    } catch {
      throw CoordinatorEnd(kind: .failed, message: error.message, code: 65)
    }
    let difference = PlanDifference(
      from: old, to: plan, derivations: resolution.derivations, currentPhase: currentPhase)
    if difference.isEmpty { return (old, []) }
    let list = difference.lines.map { "  \($0)" }.joined(separator: "\n")
    guard difference.canAmend else {
      throw CoordinatorEnd(
        kind: .failed,
        message: "the plan differs from the one that \(path) was started with:\n\(list)\n"
          + "Use the old plan, or another --run folder.", code: 78)
    }
    guard isAmending else {
      throw CoordinatorEnd(
        kind: .failed,
        message: "the plan differs from the one that \(path) was started with:\n\(list)\n"
          + "None of these alters steps already taken: add --amend to go on with them.", code: 78)
    }
    return (difference.amended(old), difference.lines)
  }

  private static func position(of state: CheckpointState, in program: PhaseProgram) -> Int {
    let progress = program.progress(at: state.position)
    if progress == (state.phaseIndex, state.step) { return state.position }
    return program.position(afterStep: state.step - 1, ofPhase: state.phaseIndex)
      ?? program.operationCount
  }

  private static func freshRunNumber() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    // Below 2^53, so that a JSON reader which takes numbers for doubles keeps it.
    return generator.next() >> 11
  }

  // MARK: While it runs

  /// The profile is fixed by the first view.
  func noteProfile(_ name: String) { if profile.isEmpty { profile = name } }

  func appendLog(_ worker: String, _ text: String) {
    let name = worker.filter { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" || $0 == "." }
    guard let file = try? File("\(path)/logs/\(name).log", .append) else { return }
    try? file.append(Array(text.utf8))
  }

  func makeWriter(
    at position: Int, _ program: PhaseProgram, _ recorder: RunRecorder
  ) throws(CheckpointError) -> CheckpointWriter {
    let (phase, step) = program.progress(at: position)
    let state = CheckpointState(
      run: plan.name, phaseIndex: phase, phaseName: plan.phases[phase].name, step: step,
      position: position, schedulePosition: step, tokensTotal: recorder.tokensTotal(at: position),
      dataCursor: UInt64(step * plan.batch.sequences), profile: profile, model: plan.model)
    return try CheckpointWriter(
      runDirectory: path, layout: layout, state: state, tokenizer: tokenizerJSON,
      plan: Array(planText.utf8))
  }

  func removeOldCheckpoints() {
    _ = try? CheckpointFolder.keep(newest: max(plan.checkpoints.keep, 1), inRun: path)
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

  var resumeMessage: String {
    "\(Self.stoppedPrefix)\(path); go on with: coordinator \(planPath) --run \(path)"
  }

  /// How the last message of a coordinator begins; whoever started it may have a better one.
  static let completePrefix = "complete: "
  static let stoppedPrefix = "stopped with a checkpoint in "
}
