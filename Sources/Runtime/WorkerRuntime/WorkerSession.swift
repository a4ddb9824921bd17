internal import Collectives
internal import ControlProtocol
internal import Corpus
internal import Operators
internal import Phases
internal import Planning
internal import Settings
internal import Synchronization
internal import System
internal import Telemetry
internal import Tensors
internal import Tokenization
internal import Transport

/// A worker's part in a run: what it holds, where it stands, and what it does next.
///
/// One thread (member 0 of the team) runs it. It hears the coordinator between operations; a
/// `suspend` reaches it at once through ``Interruption``.
final class WorkerSession {
  let link: CoordinatorLink
  let log: WorkerLog
  let tokens: TokenStore
  let interruption: Interruption
  let run: UInt64
  /// The number the coordinator gave it.
  let worker: Int
  let plan: ResolvedPlan
  private let planText: String
  private(set) var program: PhaseProgram {
    didSet { replica.stepsTaken = program.stepsTaken }
  }
  let engine: Engine
  private let listener: Listener
  private let congestion: String
  private let isLending: Bool
  let replica: Replica
  /// Reads answers for a rule; nil where no phase makes any.
  private let tokenizer: Tokenizer?
  /// The sums of training steps and of rollouts; made anew by every phase.
  private(set) var gradients: PhaseSums
  private var madeRollouts: PhaseSums?
  /// Those that hold the slices of the operation at ``gradientPosition``.
  private var begun: PhaseSums
  let saver: StateSaver
  let tree: SliceTree

  /// Operations whose effect the state holds; nil without state.
  private(set) var position: Int?
  var view: ViewInForce?
  /// Position whose slices ``gradients`` holds.
  var gradientPosition: Int?
  /// Slices of the operation at ``gradientPosition`` that were this worker's in any view.
  var dealtSlices: Set<Int> = []
  /// The longest operation so far, seconds.
  private var longestSeconds: Double?

  /// How long an exchange may take while every member lives. The coordinator finds a member that
  /// stands still; this is for sums that all wait for. A slow member is no fault: the limit follows
  /// from the run's own speed, and before that is known from patience.
  var exchangeLimit: Duration { .seconds(longestSeconds.map { max(600, 20 * $0) } ?? 3600) }

  init(
    welcome: CoordinatorLink.Welcome, plan: ResolvedPlan, tokenizer: Tokenizer?,
    engine: Engine, link: CoordinatorLink,
    log: WorkerLog, tokens: TokenStore, interruption: Interruption, listener: Listener,
    congestion: String, isLending: Bool
  ) {
    run = welcome.run
    worker = welcome.worker
    self.plan = plan
    self.tokenizer = tokenizer
    planText = welcome.plan
    self.link = link
    self.log = log
    self.tokens = tokens
    self.interruption = interruption
    self.engine = engine
    self.listener = listener
    self.congestion = congestion
    self.isLending = isLending
    program = PhaseProgram(plan)
    tree = SliceTree(sliceCount: plan.batch.slices)
    replica = Replica(plan: plan, engine: engine, phaseIndex: program.firstPhaseIndex)
    gradients = PhaseSums(GradientWork(replica), sliceCount: plan.batch.slices)
    begun = gradients
    saver = StateSaver(
      send: { [link] bytes, position, chunk in
        link.sendChunk(bytes, position: position, chunk: chunk)
      })
    Failpoint.enter(phase: replica.phase.name)
  }

  /// Runs until the coordinator lets the worker go.
  ///
  /// - Throws: ``WorkerEnd``, for an orderly end too.
  func serve() throws(WorkerEnd) {
    while true {
      guard let message = try link.next(atMost: nil) else { continue }
      try handle(message)
      try runGranted()
    }
  }

  private func handle(_ message: CoordinatorMessage) throws(WorkerEnd) {
    switch message {
    case .welcome(_, _, _, _, let planText, _):
      // Again, from a coordinator that came back.
      guard planText == self.planText else {
        throw WorkerEnd(
          reason: "the run's plan was amended while the coordinator was away; start this worker "
            + "again", code: 75)
      }
    case .refused(let reason, let code): throw WorkerEnd(reason: reason, code: code)
    case .suspend(let number): suspend(number)
    case .measurePeak:
      link.send(
        .measuredPeak(
          gigaflops: engine.teamPeakGigaflops(), cores: CoreList.text(Processor.allowedCores())))
    case .resume(let resumption):
      guard
        resumption.fits(
          operationCount: program.operationCount, sliceCount: plan.batch.slices)
      else {
        throw WorkerEnd(
          reason: "the coordinator sent a view that does not fit the plan", code: 1)
      }
      resume(resumption)
    case .grant(let number, let position):
      if view?.number == number {
        view?.grantedPosition = min(position, program.operationCount)
      }
    case .save(let position, let chunks):
      if position == self.position {
        saver.start(
          position: position, chunks: chunks, layout: replica.stateLayout.chunks,
          parts: replica.parts)
      } else {
        link.send(.saveRefused(position: position))
      }
    case .alive: break
    case .leave(let reason, let code):
      saver.waitIdle()
      view?.exchange?.close()
      throw WorkerEnd(reason: reason, code: code)
    }
  }

  // MARK: Views

  private func suspend(_ number: Int) {
    dropView()
    let nodes = position != nil && gradientPosition == position
      ? begun.store.nodes.keys.sorted() : []
    link.send(.suspended(view: number, position: position, nodes: nodes))
    interruption.lower()
    tokens.allow()
    link.chunks.allow()
  }

  private func resume(_ resumption: Resumption) {
    guard let rank = resumption.members.firstIndex(where: { $0.worker == worker }) else { return }
    dropView()
    program.gaps = resumption.gaps
    let entered = Clock.monotonicSeconds
    var inForce = ViewInForce(resumption, rank: rank)
    do {
      if resumption.members.count > 1 {
        let exchange = try link.waiting { () throws(ExchangeError) in try connect(inForce) }
        interruption.watch(exchange)
        inForce.exchange = exchange
      }
      view = inForce
      try takeState(inForce)
      log.write(
        "view \(resumption.view): rank \(rank) of \(resumption.members.count), position "
          + "\(resumption.position), ready after "
          + "\(Int((Clock.monotonicSeconds - entered) * 1000)) ms")
    } catch {
      report(error, inForce)
    }
  }

  /// Connects to every other member. A peer that cannot be reached is reported like one that died.
  private func connect(_ inForce: ViewInForce) throws(ExchangeError) -> GradientExchange {
    let number = inForce.number
    var addresses: [Address] = []
    let mesh: Mesh
    do {
      for member in inForce.members { addresses.append(try Address(parsing: member.dataAddress)) }
      mesh = try Mesh.build(
        run: run, view: number, rank: inForce.rank, addresses: addresses, listener: listener,
        congestion: congestion, isLending: isLending, deadline: .after(.seconds(10)),
        cancel: interruption.wake)
    } catch {
      accuse(error, inForce)
      throw .aborted
    }
    log.write(
      "view \(number): connected to \(addresses.count - 1), of whom it can read the memory of "
        + "\(mesh.memories.count { $0 != nil }), congestion control "
        + (mesh.congestion ?? "unknown"))
    return try GradientExchange(
      mesh: mesh, tree: tree,
      onFailure: { [link, interruption] error in
        guard !interruption.isRaised, let rank = error.suspect else { return }
        link.send(.peerLost(view: number, rank: rank, cause: "\(error)"))
      })
  }

  /// Says whom this worker has no connection to. They may say the same of it: the coordinator
  /// weighs what it hears from all.
  private func accuse(_ error: any Error, _ inForce: ViewInForce) {
    if case MeshError.cancelled = error { return }
    log.write("view \(inForce.number): no connection to every member: \(error)")
    guard case MeshError.incomplete(let ranks, _) = error else { return }
    for rank in ranks {
      let cause = "no connection to \(inForce.members[rank].dataAddress)"
      link.send(.peerLost(view: inForce.number, rank: rank, cause: cause))
    }
  }

  /// Takes weights and moments from where the view says, and serves those who take them from here.
  private func takeState(_ inForce: ViewInForce) throws(ExchangeError) {
    link.waiting { saver.waitIdle() }
    if inForce.sources[inForce.rank] != .own {
      position = nil
      arrange(program.progress(at: inForce.position).phase)
    }
    let parts = replica.parts
    switch inForce.sources[inForce.rank] {
    case .own: break
    case .seed: replica.initialize()
    case .member(let donor):
      try link.waiting { () throws(ExchangeError) in
        try inForce.exchange?.receiveState(from: donor, into: parts)
      }
      replica.repack()
    case .checkpoint:
      let layout = replica.stateLayout.chunks
      for _ in 0..<layout.chunkCount {
        let next = link.waiting { link.chunks.next(view: inForce.number) }
        guard let (chunk, bytes) = next else { throw ExchangeError.aborted }
        guard chunk < layout.chunkCount, bytes.count == layout.byteCount(of: chunk) else {
          throw ExchangeError.aborted
        }
        layout.setBytes(bytes, of: chunk, in: parts)
      }
      replica.repack()
    }
    if position != inForce.position {
      begun.store.release()
      gradientPosition = nil
    }
    position = inForce.position
    for (rank, source) in inForce.sources.enumerated() where source == .member(rank: inForce.rank) {
      inForce.exchange?.sendState(to: rank, windows: parts)
    }
  }

  /// A broken exchange: says who is to blame, and waits for the next view.
  func report(_ error: ExchangeError, _ inForce: ViewInForce) {
    dropView()
    if interruption.isRaised { return }
    log.write("view \(inForce.number) given up: \(error)")
  }

  private func dropView() {
    view?.exchange?.abort()
    // Peers have heard of it when this returns, so what was lent to them may change.
    view?.exchange?.close()
    view = nil
    interruption.watch(nil)
  }

  // MARK: Operations

  private func runGranted() throws(WorkerEnd) {
    while let inForce = view, let position, position < inForce.grantedPosition,
      !interruption.isRaised
    {
      do {
        let operation = OperationRun(session: self, inForce: inForce, position: position)
        guard var report = try operation.run() else { return }
        report.nextPosition = next(after: report)
        self.position = report.nextPosition
        longestSeconds = max(longestSeconds ?? 0, report.time.total)
        link.noteProgress()
        Failpoint.beforeReport.pass(step: position)
        link.send(.completed(report))
        tokens.discard(before: report.nextPosition)
      } catch {
        report(error, inForce)
      }
      while let message = try link.next(atMost: 0) { try handle(message) }
    }
  }

  /// The operation behind, or the phase's last where a gate closes it: then what is between them is
  /// left out.
  private func next(after report: OperationReport) -> Int {
    let sums = SliceStatistics(
      tokenCount: report.tokenCount, lossSum: report.lossSum, measures: report.measures)
    let operation = program.operation(at: report.position)
    let following = report.position + 1
    guard plan.gate(after: operation, sums) != nil else { return following }
    let last = max(following, program.lastPosition(ofPhaseAt: report.position))
    if following < last { program.gaps[last] = following }
    return last
  }

  // MARK: Phases

  /// Turns the state into that of phase `index`.
  func enter(_ index: Int) {
    replica.enter(index)
    renewSums()
  }

  /// Makes room for a state of phase `index`.
  private func arrange(_ index: Int) {
    guard index != replica.phaseIndex else { return }
    replica.arrange(index)
    renewSums()
  }

  /// The sums of one phase fit no other: it may train other models.
  private func renewSums() {
    Failpoint.enter(phase: replica.phase.name)
    gradients = PhaseSums(GradientWork(replica), sliceCount: plan.batch.slices)
    madeRollouts = nil
    begun = gradients
    gradientPosition = nil
  }

  /// The operation at ``position`` begins, and its slices are `sums`'.
  func begin(_ sums: PhaseSums) {
    begun = sums
    gradientPosition = position
  }

  /// What the policy's answers are made with, in a phase that learns from them.
  func rollouts() -> (sums: PhaseSums, work: RolloutWork)? {
    if let made = madeRollouts, let work = made.work as? RolloutWork { return (made, work) }
    guard replica.phase.reinforcement != nil, let tokenizer,
      let stopToken = tokenizer.id(of: .assistantEnd)
    else { return nil }
    let judge = plan.answerRule(ofPhase: replica.phaseIndex).map {
      RuleJudge(rule: $0, tokenizer: tokenizer)
    }
    let work = RolloutWork(
      replica, judge: judge, stopToken: stopToken, idCount: tokenizer.vocabularySize)
    let made = PhaseSums(work, sliceCount: plan.batch.slices)
    madeRollouts = made
    return (made, work)
  }
}

/// The sums of one kind of operation, as long as a phase runs.
final class PhaseSums {
  let work: any SliceWork
  let store: NodeStore
  private var made: NodeSum?

  init(_ work: any SliceWork, sliceCount: Int) {
    self.work = work
    store = NodeStore(work, sliceCount: sliceCount)
  }

  /// Where the sum goes that an exchange makes: the nodes stay as they are. Made once, when the
  /// first exchange needs it.
  var total: NodeSum {
    if let made { return made }
    let sum = work.makeSum()
    made = sum
    return sum
  }
}

/// The view this worker is part of.
struct ViewInForce {
  let number: Int
  let rank: Int
  let members: [Member]
  /// Where the view started.
  let position: Int
  let slices: [[Int]]
  let sources: [StateSource]
  var grantedPosition: Int
  /// nil in a view of one.
  var exchange: GradientExchange?

  init(_ resumption: Resumption, rank: Int) {
    number = resumption.view
    self.rank = rank
    members = resumption.members
    position = resumption.position
    slices = resumption.slices
    sources = resumption.sources
    grantedPosition = resumption.grantedPosition
  }

  /// Slices of each rank in the operation at `position`.
  func shares(at position: Int, tree: SliceTree) -> [[Int]] {
    position == self.position
      ? slices : tree.deal(workerCount: members.count).map(Array.init)
  }
}

/// Raised by the link's thread when a `suspend` arrives; lowered when the session has answered.
///
/// A later suspension that arrives in between keeps it raised.
final class Interruption: Sendable {
  private let raised = Atomic<Int>(0)
  /// Ends waits that take a wake event.
  let wake: WakeEvent
  /// What the session may be waiting in.
  private let exchange = Monitor<GradientExchange?>(nil)

  init() throws(SystemError) { wake = try WakeEvent() }

  var isRaised: Bool { raised.load(ordering: .acquiring) > 0 }

  func raise() {
    raised.add(1, ordering: .acquiringAndReleasing)
    wake.set()
    exchange.update { $0 }?.abort()
  }

  /// From now on an interruption gives this exchange up.
  func watch(_ exchange: GradientExchange?) {
    self.exchange.update { $0 = exchange }
    // One that came before was too early to find it.
    if isRaised { exchange?.abort() }
  }

  func lower() {
    let left = raised.subtract(1, ordering: .acquiringAndReleasing).newValue
    if left == 0 { wake.clear() }
  }
}
