internal import ControlProtocol
public import Planning

/// What the core must know of a run before it starts.
public struct RunOutline: Equatable, Sendable {
  public var tree: SliceTree
  /// Operations of all phases, one after the other.
  public var operationCount: Int
  /// Positions at which a checkpoint is due, ascending; the last is ``operationCount``.
  public var checkpointPositions: [Int]
  /// Those of them that nobody passes before the checkpoint stands, or has failed.
  public var phaseEnds: [Int]
  /// Workers to wait for before the first view.
  public var workerCountMin: Int

  public init(
    tree: SliceTree, operationCount: Int, checkpointPositions: [Int], phaseEnds: [Int],
    workerCountMin: Int
  ) {
    self.tree = tree
    self.operationCount = operationCount
    self.checkpointPositions = checkpointPositions
    self.phaseEnds = phaseEnds
    self.workerCountMin = workerCountMin
  }
}

/// The coordinator's decisions as a value: `(state, event) -> (state, [command])`.
///
/// No socket, no clock, no file: production, simulation and tests drive the same machine. There
/// is one mechanism for every change of membership (join, death, leave, restart of the
/// coordinator): suspend all, hear where each stands, form the next view, resume. Because a
/// step's result does not depend on who computed it, any survivor's state is as good as another.
public struct ClusterSchedule: Sendable {
  enum Stage: Equatable, Sendable {
    /// Too few workers.
    case gathering
    case suspending(awaiting: Set<Int>)
    case measuring(awaiting: Set<Int>)
    case running
    case finished
  }

  struct Worker: Equatable, Sendable {
    var member: Member
    /// Operations whose effect its state holds; nil without state.
    var position: Int?
    var nodes: [SliceNode] = []
    var isMeasured = false
    var isLeaving = false
  }

  /// Operations a worker may run ahead of the slowest: it goes on this long without coordinator.
  static let windowCount = 64

  let outline: RunOutline
  public private(set) var view: Int
  /// Operations done by every member; what the run has reached.
  public private(set) var committedPosition: Int
  var stage = Stage.gathering
  var workers: [Int: Worker] = [:]
  /// Workers of the view in force, by rank.
  var members: [Int] = []
  var workerCountNeeded: Int
  var grantedPosition: Int
  var checkpointPosition: Int?
  var savingPosition: Int?
  /// Where a save came to nothing in this view: it is not tried again, unless the run ends there.
  var unsavedPosition: Int?
  var isStopping = false
  var last: Resumption?
  var suspicion = Suspicion()

  /// - Parameters:
  ///   - view: The last view of the ledger; 0 for a new run.
  ///   - checkpointPosition: Where the newest checkpoint stands, if there is one.
  ///   - expectedWorkerCount: Members of the last view, which may come back after a restart.
  public init(
    outline: RunOutline, view: Int = 0, committedPosition: Int = 0, checkpointPosition: Int? = nil,
    expectedWorkerCount: Int = 0
  ) {
    self.outline = outline
    self.view = view
    self.committedPosition = committedPosition
    self.checkpointPosition = checkpointPosition
    grantedPosition = committedPosition
    workerCountNeeded = max(outline.workerCountMin, expectedWorkerCount)
  }

  public var isGathering: Bool { stage == .gathering }
  /// Whether the next checkpoint is the run's last.
  public var isEnding: Bool { isStopping || committedPosition == outline.operationCount }
  public var memberWorkers: [Int] { members }
  /// The position of the save that everybody waits for; nil at the end of the run, where nothing
  /// else is left to do.
  public var awaitedSave: Int? {
    stage == .running && isHeld && !isEnding ? savingPosition : nil
  }
  /// Workers without whose next message nobody goes on.
  public var awaitedWorkers: [Int] {
    switch stage {
    case .suspending(let awaiting), .measuring(let awaiting): awaiting.sorted()
    case .running where committedPosition < grantedPosition:
      members.filter { workers[$0]?.position == committedPosition }
    case .gathering, .running, .finished: []
    }
  }

  public mutating func apply(_ event: ClusterEvent) -> [Command] {
    if stage == .finished { return [] }
    switch event {
    case .joined(let member): return join(member)
    case .lost(let worker, _): return lose(worker)
    case .suspended(let worker, let view, let position, let nodes):
      return noteSuspended(worker, view, position, nodes)
    case .measuredPeak(let worker): return noteMeasured(worker)
    case .completed(let worker, let view, let position, let next):
      return noteCompleted(worker, view, position, next)
    case .peerLost(let reporter, let view, let rank, _):
      return accuse(reporter: reporter, view: view, rank: rank)
    case .leaving(let worker): return release(worker)
    case .gatherDeadline:
      workerCountNeeded = outline.workerCountMin
      return gather()
    case .checkpointed(let position): return noteCheckpoint(position)
    case .checkpointFailed(let position):
      guard savingPosition == position else { return [] }
      savingPosition = nil
      unsavedPosition = position
      return advance()
    case .stopRequested: return stop()
    }
  }

  // MARK: Membership

  private mutating func join(_ member: Member) -> [Command] {
    workers[member.worker] = Worker(member: member)
    switch stage {
    case .gathering: return gather()
    case .suspending(let awaiting):
      stage = .suspending(awaiting: awaiting.union([member.worker]))
      return [.suspend(workers: [member.worker], view: view + 1)]
    case .measuring, .running: return suspendAll()
    case .finished: return []
    }
  }

  private mutating func lose(_ worker: Int) -> [Command] {
    guard workers[worker] != nil else { return [] }
    let commands = remove([worker])
    switch stage {
    case .suspending(var awaiting):
      awaiting.remove(worker)
      return commands + proceed(awaiting)
    case .measuring(var awaiting):
      awaiting.remove(worker)
      return commands + measure(awaiting)
    case .running where members.contains(worker): return commands + suspendAll()
    default: return commands
    }
  }

  /// Forgets workers; a save that some of them had a share of comes to nothing.
  private mutating func remove(_ leavers: [Int]) -> [Command] {
    for worker in leavers {
      workers[worker] = nil
      suspicion.forget(worker)
    }
    guard let saving = savingPosition, leavers.contains(where: members.contains) else { return [] }
    savingPosition = nil
    return [.abandonSave(position: saving)]
  }

  private mutating func release(_ worker: Int) -> [Command] {
    guard workers[worker] != nil else { return [] }
    workers[worker]?.isLeaving = true
    // The last one may hold the only copy of what was done: the run is saved before it goes.
    if workers.values.allSatisfy(\.isLeaving) { return stop() }
    switch stage {
    case .gathering: return remove([worker]) + [.release(worker: worker)]
    case .running: return suspendAll()
    default: return []
    }
  }

  /// One accusation suspends, which breaks every connection of the old view and shows who still
  /// answers. Others of the same view may follow until then; ``dismissCulprit()`` weighs them.
  private mutating func accuse(reporter: Int, view: Int, rank: Int) -> [Command] {
    guard view == self.view, members.indices.contains(rank), workers[reporter] != nil,
      workers[members[rank]] != nil
    else { return [] }
    suspicion.note(reporter, cannotReach: members[rank])
    return stage == .running ? suspendAll() : []
  }

  /// Whoever cannot be reached by peers in several views, although the coordinator can, leaves:
  /// of two that do not reach each other the one that others do not reach either, else one
  /// without the newest state, else the younger. The only holder of that state stays.
  private mutating func dismissCulprit() -> [Command] {
    suspicion.endView()
    let holders = newestHolders
    let suspects = suspicion.suspects.filter { holders != [$0.key] }
    let culprit = suspects.max { one, other in
      (one.value, holders.contains(one.key) ? 0 : 1, one.key)
        < (other.value, holders.contains(other.key) ? 0 : 1, other.key)
    }
    guard let culprit, workers.count > 1 else { return [] }
    let reason = "no connection between it and \(culprit.value) of the others, in several views in "
      + "a row; is its data port open?"
    return remove([culprit.key]) + [.dismiss(worker: culprit.key, reason: reason)]
  }

  /// Workers that hold the newest state there is; empty when nobody holds one.
  private var newestHolders: [Int] {
    guard let newest = workers.values.compactMap(\.position).max() else { return [] }
    return workers.filter { $0.value.position == newest }.keys.sorted()
  }

  private mutating func gather() -> [Command] {
    guard stage == .gathering, !workers.isEmpty, workers.count >= workerCountNeeded else {
      return []
    }
    return suspendAll()
  }

  // MARK: Changing the view

  private mutating func suspendAll() -> [Command] {
    for worker in workers.keys { workers[worker]?.nodes = [] }
    stage = .suspending(awaiting: Set(workers.keys))
    return [.suspend(workers: workers.keys.sorted(), view: view + 1)]
  }

  private mutating func noteSuspended(
    _ worker: Int, _ view: Int, _ position: Int?, _ nodes: [SliceNode]
  ) -> [Command] {
    guard case .suspending(var awaiting) = stage, view == self.view + 1,
      awaiting.remove(worker) != nil
    else { return [] }
    // A position that the run does not have is no state to go on from.
    let isPossible = position.map { (0...outline.operationCount).contains($0) } ?? false
    workers[worker]?.position = isPossible ? position : nil
    workers[worker]?.nodes = isPossible ? nodes : []
    return proceed(awaiting)
  }

  private mutating func proceed(_ awaiting: Set<Int>) -> [Command] {
    stage = .suspending(awaiting: awaiting)
    guard awaiting.isEmpty else { return [] }
    guard !workers.isEmpty else { return loseAll() }
    let commands = dismissCulprit()
    guard workers.values.allSatisfy(\.isMeasured) else {
      // Everybody probes at the same moment: workers of one host share its cores.
      stage = .measuring(awaiting: Set(workers.keys))
      return commands + [.measurePeak(workers: workers.keys.sorted())]
    }
    return commands + formView()
  }

  private mutating func noteMeasured(_ worker: Int) -> [Command] {
    guard case .measuring(var awaiting) = stage, awaiting.remove(worker) != nil else { return [] }
    workers[worker]?.isMeasured = true
    return measure(awaiting)
  }

  private mutating func measure(_ awaiting: Set<Int>) -> [Command] {
    stage = .measuring(awaiting: awaiting)
    guard awaiting.isEmpty else { return [] }
    return workers.isEmpty ? loseAll() : formView()
  }

  private mutating func loseAll() -> [Command] {
    stage = .gathering
    members = []
    workerCountNeeded = outline.workerCountMin
    return isStopping ? finish(.stopped) : []
  }

  private mutating func formView() -> [Command] {
    var commands = dismissLeavers()
    let candidates = workers.keys.sorted { rankOrder($0) < rankOrder($1) }
    let held = candidates.compactMap { workers[$0]?.position }.max()
    // Whoever was away for long may come back with less than the checkpoint has.
    let position = max(held ?? 0, checkpointPosition ?? 0)
    if position < committedPosition {
      commands.append(.rewound(from: committedPosition, to: position))
    }
    committedPosition = position
    unsavedPosition = nil
    let resumption = Resumption(
      view: view + 1,
      members: candidates.compactMap { workers[$0]?.member },
      position: position,
      slices: deal(candidates, at: position),
      sources: sources(candidates, at: position),
      grantedPosition: grantLimit)
    view = resumption.view
    members = candidates
    for worker in candidates {
      workers[worker]?.position = position
      workers[worker]?.nodes = []
    }
    grantedPosition = resumption.grantedPosition
    last = resumption
    stage = .running
    // A save stands before the resumption: its state is at rest until then.
    commands += saveIfDue()
    return stage == .finished ? commands : commands + [.resume(resumption)]
  }

  /// Old members keep their order, newcomers follow by number.
  private func rankOrder(_ worker: Int) -> (Int, Int) {
    (members.firstIndex(of: worker) ?? members.count, worker)
  }

  private mutating func dismissLeavers() -> [Command] {
    let leavers = workers.filter(\.value.isLeaving).keys.sorted()
    guard leavers.count < workers.count else { return [] }
    // Whoever holds the newest state stays until another holds it too.
    let holders = newestHolders
    guard holders.isEmpty || !Set(holders).isSubset(of: leavers) else { return [] }
    return remove(leavers) + leavers.map { .release(worker: $0) }
  }

  private func deal(_ candidates: [Int], at position: Int) -> [[Int]] {
    let regular = outline.tree.deal(workerCount: max(members.count, 1))
    return SliceDealing(tree: outline.tree).deal(
      candidates.map { number in
        let isCurrent = workers[number]?.position == position
        var dealt: Set<Int> = []
        if let rank = members.firstIndex(of: number) {
          dealt = last?.position == position ? Set(last?.slices[rank] ?? []) : Set(regular[rank])
        }
        return SliceDealing.Candidate(
          nodes: isCurrent ? workers[number]?.nodes ?? [] : [], dealt: dealt,
          holdsState: isCurrent)
      })
  }

  private func sources(_ candidates: [Int], at position: Int) -> [StateSource] {
    let holders = candidates.indices.filter { workers[candidates[$0]]?.position == position }
    var served = 0
    return candidates.indices.map { rank in
      if holders.contains(rank) { return .own }
      if !holders.isEmpty {
        served += 1
        return .member(rank: holders[(served - 1) % holders.count])
      }
      return checkpointPosition == nil ? .seed : .checkpoint
    }
  }

  // MARK: Progress

  private func limit(after position: Int) -> Int {
    let due = outline.checkpointPositions.first { $0 > position } ?? outline.operationCount
    return min(due, position + Self.windowCount, outline.operationCount)
  }

  private mutating func noteCompleted(
    _ worker: Int, _ view: Int, _ position: Int, _ next: Int?
  ) -> [Command] {
    // A report may come from anybody: nothing is computed of a position that the run has not.
    guard let known = workers[worker]?.position, position >= known,
      position < outline.operationCount, members.contains(worker)
    else { return [] }
    let following = next ?? position + 1
    guard following > position, following <= outline.operationCount else { return [] }
    workers[worker]?.position = following
    suspicion = Suspicion()
    guard stage == .running, view == self.view else { return [] }
    let slowest = members.compactMap { workers[$0]?.position }.min() ?? committedPosition
    guard slowest > committedPosition else { return [] }
    committedPosition = slowest
    // Everybody holds the same state now, also those for whom a leaver had to wait.
    return workers.values.contains(where: \.isLeaving) ? suspendAll() : advance()
  }

  /// Saves what is due and grants what may follow.
  private mutating func advance() -> [Command] {
    guard stage == .running else { return [] }
    var commands = saveIfDue()
    if stage == .running, grantLimit > grantedPosition {
      grantedPosition = grantLimit
      commands.append(.grant(workers: members, view: view, position: grantedPosition))
    }
    return commands
  }

  /// Operations before this may run.
  private var grantLimit: Int {
    isStopping || isHeld ? committedPosition : limit(after: committedPosition)
  }

  private var isSaveDue: Bool {
    isEnding
      || outline.checkpointPositions.contains(committedPosition)
        && unsavedPosition != committedPosition
  }

  /// Whether everybody waits for a checkpoint. State is saved at rest, so a save that is due waits
  /// for the one under way. And whoever went on from a phase's end could not save it any more, if
  /// the coordinator or another member died meanwhile.
  private var isHeld: Bool {
    guard isSaveDue, checkpointPosition != committedPosition else { return false }
    let isWaiting = savingPosition != nil && savingPosition != committedPosition
    return isWaiting || outline.phaseEnds.contains(committedPosition)
  }

  private mutating func saveIfDue() -> [Command] {
    let isEnd = committedPosition == outline.operationCount
    guard isSaveDue, committedPosition > 0 || isEnd, savingPosition == nil else {
      return isStopping && committedPosition == 0 ? finish(.stopped) : []
    }
    if checkpointPosition == committedPosition { return finishIfOver() }
    let holders = members.indices.filter { !isFetching(rank: $0) }
    savingPosition = committedPosition
    return [.save(position: committedPosition, workers: holders.map { members[$0] })]
  }

  /// Whether the member may still be taking its state from elsewhere.
  private func isFetching(rank: Int) -> Bool {
    guard let last, last.position == committedPosition else { return false }
    return last.sources[rank] != .own
  }

  private mutating func noteCheckpoint(_ position: Int) -> [Command] {
    if savingPosition == position { savingPosition = nil }
    checkpointPosition = max(position, checkpointPosition ?? 0)
    return position == outline.operationCount ? finish(.completed) : advance()
  }

  /// Where the newest checkpoint holds all that was done.
  private mutating func finishIfOver() -> [Command] {
    if committedPosition == outline.operationCount { return finish(.completed) }
    return isStopping && stage == .running ? finish(.stopped) : []
  }

  private mutating func stop() -> [Command] {
    guard !isStopping else { return [] }
    isStopping = true
    switch stage {
    // Those who are here may hold more than the newest checkpoint.
    case .gathering: return workers.isEmpty ? finish(.stopped) : suspendAll()
    case .running: return suspendAll()
    default: return []
    }
  }

  private mutating func finish(_ end: RunEnd) -> [Command] {
    stage = .finished
    return [.finish(end)]
  }
}
