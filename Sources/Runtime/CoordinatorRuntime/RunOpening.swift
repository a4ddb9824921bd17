internal import Checkpoints
internal import Corpus
internal import Planning
internal import Settings
internal import System
internal import Telemetry
internal import Tensors
internal import Tokenization

/// What a coordinator finds in a run's folder, and what it makes of it, before it writes anything
/// there but data that can be made again.
struct RunOpening {
  private let path: String
  private let summary: LedgerSummary
  private(set) var resolution: PlanResolution
  private let tell: (String) -> Void
  private let found: CheckpointReader?
  let passedOver: [CheckpointReader.PassedOver]
  /// Whether anything depends on the run's tokenizer, texts and plan: a view was formed, or there
  /// are checkpoints. A run that failed earlier starts as if it never had: what is mended counts.
  private let hasBegun: Bool

  /// - Throws: ``SystemError``, ``CheckpointError`` if the folder cannot be read.
  init(
    _ path: String, _ summary: LedgerSummary, _ resolution: PlanResolution,
    tell: @escaping (String) -> Void
  ) throws {
    self.path = path
    self.summary = summary
    self.resolution = resolution
    self.tell = tell
    try CheckpointFolder.removeLeftovers(inRun: path)
    (found, passedOver) = try CheckpointReader.newest(inRun: path)
    hasBegun = summary.view > 0 || found != nil || !passedOver.isEmpty
  }

  /// SHA-256 of what the phases read: as the ledger has it, else as the newest checkpoint does.
  var textDigests: [Int: String] {
    guard hasBegun else { return [:] }
    return (found?.state.textDigests ?? [:]).merging(summary.textDigests) { _, ledger in ledger }
  }

  // MARK: Tokenizer

  /// The tokenizer the run has, the one of the model it starts from, or one trained on the training
  /// part of its first phase's text.
  func tokenizer() throws -> Tokenizer {
    let file = "\(path)/tokenizer.json"
    if hasBegun, Files.exists(file) {
      let tokenizer = try Self.load(file)
      try check(tokenizer)
      return tokenizer
    }
    let tokenizer = try makeTokenizer()
    if hasBegun {
      try check(tokenizer)
    } else if Files.exists(file), try Files.read(file) != tokenizer.json() {
      // Tokens of the tokenizer before, of a start that came to nothing.
      try Files.removeTree("\(path)/data")
    }
    return tokenizer
  }

  private static func load(_ file: String) throws -> Tokenizer {
    let bytes = try Files.read(file)
    do {
      return try Tokenizer.load(json: bytes)
    } catch {
      throw CoordinatorEnd(
        kind: .failed, message: "\(file): \(error); \(tokenizerRemedy)", code: 65)
    }
  }

  private func makeTokenizer() throws -> Tokenizer {
    let plan = resolution.plan
    if let model = try InitialModel(plan.initialization) { return try model.tokenizer() }
    guard let first = plan.phases.first else { return .bytes }
    let started = Clock.monotonicSeconds
    let line = ProgressLine("tokenizer: text read")
    let tokenizer = try Corpus.trainTokenizer(
      plan.tokenizer, on: first.data, progress: line.update)
    line.end()
    let seconds = ((Clock.monotonicSeconds - started) * 10).rounded() / 10
    tell("tokenizer: \(tokenizer.kind.rawValue), \(tokenizer.vocabularySize) ids, \(seconds) s")
    return tokenizer
  }

  private static let tokenizerRemedy =
    "put back the one that the run's checkpoints hold, or use another --run folder"

  /// Every token the model has seen came from one tokenizer; another one's ids mean other text.
  private func check(_ tokenizer: Tokenizer) throws {
    let saved = try found?.tokenizer().map { SHA256.hex(of: $0) }
    let digest = SHA256.hex(of: tokenizer.json())
    guard let known = summary.tokenizerDigest ?? saved, known != digest else { return }
    throw CoordinatorEnd(
      kind: .failed,
      message: "\(path)/tokenizer.json is not the tokenizer that the run was started with: "
        + "\(tokenizer.vocabularySize) ids, SHA-256 \(digest.prefix(12)) instead of "
        + "\(known.prefix(12)); \(Self.tokenizerRemedy)", code: 65)
  }

  // MARK: Examples

  /// Gives phases that read their examples a number of times the steps that these take. Returns the
  /// examples, by phase index, so that nobody reads them a second time.
  mutating func countSteps(_ tokenizer: Tokenizer) throws -> [Int: ExampleCorpus] {
    let plan = resolution.plan
    var corpora: [Int: ExampleCorpus] = [:]
    var counts: [Int: Int] = [:]
    for (index, phase) in plan.phases.enumerated() {
      guard let epochs = phase.examples?.epochs else { continue }
      let corpus = try ExampleCorpus.read(
        plan, phase: index, tokenizer, textDigest: textDigests[index], tell: tell)
      corpora[index] = corpus
      counts[index] = corpus.sequenceCount(ofEpochs: epochs)
    }
    guard !counts.isEmpty else { return [:] }
    resolution = try resolution.counted(counts)
    for index in counts.keys.sorted() {
      let phase = resolution.plan.phases[index]
      let rule = resolution.derivations.first { $0.key == "phases[\(index)].steps" }?.origin
      tell("\(phase.name): \(phase.steps) steps, \(rule?.text(path: resolution.path) ?? "")")
    }
    return corpora
  }

  // MARK: Plan

  /// The plan the run goes on with, and how it differs from the one it was started with.
  func plan(
    _ tokenizer: Tokenizer, isAmending: Bool
  ) throws -> (plan: ResolvedPlan, changes: [String]) {
    var plan = resolution.plan
    if plan.initialization.from != nil {
      plan = try InitialModel.completed(resolution, with: tokenizer)
    }
    plan.model.vocabularySize = max(plan.model.vocabularySize, tokenizer.vocabularySize)
    plan.tokenizer.vocabularySize = tokenizer.vocabularySize
    guard isResumed else { return (plan, []) }
    return try resumed(plan, isAmending: isAmending)
  }

  private var isResumed: Bool { hasBegun && Files.exists("\(path)/plan.resolved.json") }

  /// The plan the run was started with, and amendments where allowed.
  private func resumed(
    _ plan: ResolvedPlan, isAmending: Bool
  ) throws -> (plan: ResolvedPlan, changes: [String]) {
    let bytes = try Files.read("\(path)/plan.resolved.json")
    let old: ResolvedPlan
    do {
      old = try ResolvedPlan(planJSON: String(decoding: bytes, as: UTF8.self))
    } catch {
      throw CoordinatorEnd(kind: .failed, message: error.message, code: 65)
    }
    // The ledger's positions count the old plan's operations.
    var program = PhaseProgram(old)
    program.gaps = summary.gaps
    let (phase, _) = program.progress(at: summary.committedPosition)
    // A phase that a gate ended is over.
    let reached = program.stepsTaken[phase] == nil ? phase : phase + 1
    let difference = PlanDifference(
      from: old, to: plan, derivations: resolution.derivations,
      currentPhase: max(reached, found?.state.phaseIndex ?? 0))
    if difference.isEmpty { return (old, []) }
    let list = difference.lines.map { "  \($0)" }.joined(separator: "\n")
    guard difference.canAmend, isAmending else {
      let remedy = difference.canAmend
        ? "None of these alters steps already taken: add --amend to go on with them."
        : "Use the old plan, or another --run folder."
      throw CoordinatorEnd(
        kind: .failed,
        message: "the plan differs from the one that \(path) was started with:\n\(list)\n\(remedy)",
        code: 78)
    }
    return (difference.amended(old), difference.lines)
  }

  // MARK: Where it stands

  /// The newest checkpoint that verifies; where there is none, the one that the plan's initial
  /// model makes.
  func checkpoint(_ plan: ResolvedPlan, _ tokenizer: [UInt8]) throws -> CheckpointReader? {
    guard found == nil, let model = try InitialModel(plan.initialization) else { return found }
    try model.write(for: plan, tokenizer: tokenizer, inRun: path)
    tell("initial weights: \(model.names)")
    return try CheckpointReader.newest(inRun: path).reader
  }

  /// The operations of the run, with those that gates left out: as the ledger has them, or as the
  /// newest checkpoint does where the ledger counts another plan's operations, or is gone.
  func program(
    _ plan: ResolvedPlan, _ reader: CheckpointReader?, isAmended: Bool
  ) -> PhaseProgram {
    var program = PhaseProgram(plan)
    if isAmended || summary.view == 0 {
      for (phase, steps) in reader?.state.stepsTaken ?? [:] {
        program.end(phase: phase, afterSteps: steps)
      }
    } else {
      program.gaps = summary.gaps
    }
    return program
  }

  /// - Parameter isAmended: Whether the ledger's positions count another plan's operations.
  func start(
    _ program: PhaseProgram, _ reader: CheckpointReader?, isAmended: Bool, nextWorker: Int
  ) -> RunStart {
    var start = RunStart(isResumed: isResumed)
    start.view = summary.view
    start.workerCount = summary.workerCount
    start.nextWorker = nextWorker
    start.checkpointPosition = reader.map { Self.position(of: $0.state, in: program) }
    let reached = isAmended ? 0 : summary.committedPosition
    start.committedPosition = max(reached, start.checkpointPosition ?? 0)
    start.tokensTotal = reader?.state.tokensTotal ?? 0
    return start
  }

  private static func position(of state: CheckpointState, in program: PhaseProgram) -> Int {
    let progress = program.progress(at: state.position)
    // Among the operations of another plan, the position may be one that the gate left out.
    let isLeftOut = program.endOfGap(at: state.position) != nil
    if !isLeftOut, progress == (state.phaseIndex, state.step) { return state.position }
    if let steps = program.stepsTaken[state.phaseIndex], steps == state.step,
      let start = program.position(afterStep: steps - 1, ofPhase: state.phaseIndex)
    {
      return program.lastPosition(ofPhaseAt: start) + 1
    }
    return program.position(afterStep: state.step - 1, ofPhase: state.phaseIndex)
      ?? program.operationCount
  }
}

extension ExampleCorpus {
  /// The examples of a plan's phase, with a line of progress while they are read.
  static func read(
    _ plan: ResolvedPlan, phase index: Int, _ tokenizer: Tokenizer, textDigest: String?,
    tell: (String) -> Void
  ) throws(CorpusError) -> ExampleCorpus {
    let line = ProgressLine("data: examples of \(plan.phases[index].name) made tokens")
    defer { line.end() }
    return try ExampleCorpus(
      plan, phase: index, tokenizer: tokenizer, expectedTextDigest: textDigest,
      event: {
        line.end()
        tell("\($0)")
      }, progress: line.update)
  }
}

extension CoordinatorEnd {
  /// What a start that failed says, and the code it exits with.
  ///
  /// - Parameter resolution: The plan that names the sources.
  init(_ error: any Error, inRun path: String, of resolution: PlanResolution) {
    switch error {
    case let end as CoordinatorEnd: self = end
    case let error as SystemError:
      self.init(kind: .failed, message: "run folder \(path): \(error)", code: 74)
    case let error as LedgerError:
      self.init(kind: .failed, message: "\(error)", code: error.exitCode)
    case CheckpointError.system(let error):
      self.init(kind: .failed, message: "run folder \(path): \(error)", code: 74)
    case let error as CheckpointError: self.init(kind: .failed, message: "\(error)", code: 65)
    case let error as CorpusError:
      let place = error.source.flatMap(resolution.place(ofSource:)).map { " (\($0))" } ?? ""
      self.init(kind: .failed, message: "\(error)\(place)", code: Self.code(of: error))
    case let error as TokenizerError: self.init(kind: .failed, message: "\(error)", code: 65)
    case let error as PlanError:
      let message = error.message.dropFirst("Error: ".count)
      self.init(kind: .failed, message: String(message), code: error.exitCode.rawValue)
    default: self.init(kind: .failed, message: "\(error)", code: 1)
    }
  }

  private static func code(of error: CorpusError) -> Int32 {
    switch error {
    case .missing, .noTextFiles: 66
    case .system: 74
    default: 65
    }
  }
}
