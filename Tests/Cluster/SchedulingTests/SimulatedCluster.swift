import ControlProtocol
import Planning
import Scheduling
import Tensors

/// Workers without arithmetic around the real scheduling core: one thread, a seeded order of
/// events; deaths, arrivals, returns, partings and cut connections at any moment. A state is the
/// number of operations it contains.
struct SimulatedCluster {
  struct SimulatedWorker {
    var position: Int?
    var view = 0
    var resumption: Resumption?
    var isFetching = false
    var granted = 0
    /// Slices of the operation at `position` it has complete.
    var computed: Set<Int> = []
    var isSuspended = true
    /// From the coordinator, oldest first.
    var inbox: [CoordinatorMessage] = []
    var number: Int
    /// Whether the coordinator has welcomed it.
    var isWelcomed = false
    /// Whether it has told which members it cannot reach in this view.
    var hasAccused = false
  }

  let outline: RunOutline
  var schedule: ClusterSchedule
  var workers: [Int: SimulatedWorker] = [:]
  /// To the coordinator; one queue per worker, because a connection keeps its order.
  var outbox: [Int: [ClusterEvent]] = [:]
  var saved: [Int: Set<Int>] = [:]
  var savingPosition: Int?
  var newestCheckpoint: Int?
  /// Where saves succeeded, and where the last one failed.
  private var checkpoints: Set<Int> = []
  private var failed: Set<Int> = []
  var end: RunEnd?
  var rewinds = 0
  var dismissed: [Int] = []
  var violations: [String] = []
  /// Pairs of workers without a way between them.
  var cutPairs: Set<Set<Int>> = []
  /// How many saves are still to fail, half of them at once.
  var failuresLeft = 0
  private var pending: [Command] = []
  private var isPerforming = false
  private var nextWorker = 0
  private var draws: UInt64 = 0
  private let random: RandomStream
  /// Of the state.
  private static let chunkCount = 5
  /// The regular shares of 1, 2, ... workers.
  private let deals: [[[Int]]]

  init(outline: RunOutline, seed: UInt64) {
    self.outline = outline
    schedule = ClusterSchedule(outline: outline)
    random = RandomStream(seed: seed, purpose: 1)
    deals = (1...20).map { outline.tree.deal(workerCount: $0).map(Array.init) }
  }

  mutating func draw(below bound: Int) -> Int {
    draws += 1
    return random.integer(below: bound, at: draws)
  }

  mutating func addWorker() {
    let number = nextWorker
    nextWorker += 1
    workers[number] = SimulatedWorker(number: number)
    outbox[number] = [.joined(member(number))]
  }

  private func member(_ number: Int) -> Member {
    Member(worker: number, name: "w\(number)", dataAddress: "h:1")
  }

  mutating func kill(_ number: Int) {
    guard workers.removeValue(forKey: number) != nil else { return }
    // What it had sent still arrives, then the connection ends.
    outbox[number, default: []].append(.lost(worker: number, cause: "killed"))
  }

  /// Its control connection ends and it makes another, with all it holds; between its peers and
  /// it nothing changes.
  mutating func reconnect(_ number: Int) {
    guard workers[number] != nil else { return }
    outbox[number, default: []].append(.lost(worker: number, cause: "cut off"))
    greetAgain(number)
  }

  private mutating func greetAgain(_ number: Int) {
    workers[number]?.inbox = []
    outbox[number, default: []].append(.joined(member(number)))
    // The newest report goes out again: nobody knows whether it came.
    if let worker = workers[number], let position = worker.position, position > 0 {
      outbox[number, default: []].append(
        .completed(worker: number, view: worker.view, position: position - 1))
    }
  }

  /// The coordinator dies with all it had not written down, and another takes its place.
  mutating func restartCoordinator() {
    schedule = ClusterSchedule(
      outline: outline, view: schedule.view,
      committedPosition: max(newestCheckpoint ?? 0, schedule.committedPosition - draw(below: 3)),
      checkpointPosition: newestCheckpoint, expectedWorkerCount: schedule.memberWorkers.count)
    savingPosition = nil
    pending = []
    outbox = [:]
    end = nil
    for number in workers.keys.sorted() {
      workers[number]?.isWelcomed = false
      greetAgain(number)
    }
  }

  /// The worker asks to leave.
  mutating func leave(_ number: Int) {
    guard workers[number] != nil else { return }
    outbox[number, default: []].append(.leaving(worker: number))
  }

  /// Takes one random step. Returns false when nothing can happen.
  mutating func advance() -> Bool {
    var moves: [(inout SimulatedCluster) -> Void] = []
    for number in outbox.keys.sorted() where !(outbox[number]?.isEmpty ?? true) {
      moves.append { cluster in
        if let event = cluster.outbox[number]?.removeFirst() { cluster.deliver(event) }
      }
    }
    for number in workers.keys.sorted() {
      guard let worker = workers[number] else { continue }
      if !worker.inbox.isEmpty { moves.append { $0.receive(number) } }
      if canFetch(worker) { moves.append { $0.workers[number]?.isFetching = false } }
      if canCompute(worker) { moves.append { $0.computeSlice(number) } }
      if canFinish(worker) { moves.append { $0.finishOperation(number) } }
      let unreached = unreachedRanks(worker)
      if !unreached.isEmpty, !worker.isSuspended, !worker.hasAccused {
        moves.append { $0.accuse(number, unreached) }
      }
    }
    if schedule.isGathering, workers.values.contains(where: \.isWelcomed) {
      moves.append { $0.deliver(.gatherDeadline) }
    }
    if let position = savingPosition, saved[position]?.count == Self.chunkCount {
      moves.append { $0.endSave(position) }
    }
    guard !moves.isEmpty else { return false }
    moves[draw(below: moves.count)](&self)
    return true
  }

  private mutating func endSave(_ position: Int) {
    savingPosition = nil
    if failuresLeft > 0 { return failSave(position) }
    newestCheckpoint = position
    checkpoints.insert(position)
    deliver(.checkpointed(position: position))
  }

  private mutating func failSave(_ position: Int) {
    failuresLeft -= 1
    failed.insert(position)
    deliver(.checkpointFailed(position: position))
  }

  // MARK: A worker

  /// Ranks of its view that it has no connection with, so that its exchange never begins.
  private func unreachedRanks(_ worker: SimulatedWorker) -> [Int] {
    guard let members = worker.resumption?.members else { return [] }
    return members.indices.filter { cutPairs.contains([worker.number, members[$0].worker]) }
  }

  private mutating func accuse(_ number: Int, _ ranks: [Int]) {
    guard let view = workers[number]?.view else { return }
    workers[number]?.hasAccused = true
    for rank in ranks {
      outbox[number, default: []].append(
        .peerLost(reporter: number, view: view, rank: rank, cause: "no connection"))
    }
  }

  private func slices(_ worker: SimulatedWorker) -> [Int] {
    guard let resumption = worker.resumption, let position = worker.position,
      let rank = resumption.members.firstIndex(where: { $0.worker == worker.number })
    else { return [] }
    if position == resumption.position { return resumption.slices[rank] }
    return deals[resumption.members.count - 1][rank]
  }

  private func isActive(_ worker: SimulatedWorker) -> Bool {
    !worker.isSuspended && (worker.position ?? .max) < worker.granted
      && unreachedRanks(worker).isEmpty
  }

  private func canFetch(_ worker: SimulatedWorker) -> Bool {
    guard worker.isFetching, !worker.isSuspended, unreachedRanks(worker).isEmpty,
      let resumption = worker.resumption,
      let rank = resumption.members.firstIndex(where: { $0.worker == worker.number }),
      case .member(let donor) = resumption.sources[rank]
    else { return false }
    let number = resumption.members[donor].worker
    return workers[number]?.position == resumption.position && workers[number]?.view == worker.view
  }

  private func canCompute(_ worker: SimulatedWorker) -> Bool {
    isActive(worker) && !worker.isFetching && !Set(slices(worker)).isSubset(of: worker.computed)
  }

  /// The exchange needs every member of the view at the same operation with its slices complete,
  /// except that a member that is through already has sent its sums. One without slices has a part
  /// in it too: it adds up others' parts, and does so once it has its state.
  private func canFinish(_ worker: SimulatedWorker) -> Bool {
    guard isActive(worker), !worker.isFetching, let resumption = worker.resumption,
      let position = worker.position
    else { return false }
    return resumption.members.allSatisfy { member in
      guard let peer = workers[member.worker], peer.view == worker.view, !peer.isSuspended,
        !peer.isFetching, unreachedRanks(peer).isEmpty, let theirs = peer.position
      else { return false }
      if theirs > position { return true }
      return theirs == position && Set(slices(peer)).isSubset(of: peer.computed)
    }
  }

  private mutating func computeSlice(_ number: Int) {
    guard let worker = workers[number] else { return }
    if let next = slices(worker).first(where: { !worker.computed.contains($0) }) {
      workers[number]?.computed.insert(next)
    }
  }

  private mutating func finishOperation(_ number: Int) {
    guard let worker = workers[number], let position = worker.position,
      let resumption = worker.resumption
    else { return }
    checkPartition(resumption, position)
    let dealt = slices(worker)
    if worker.computed != Set(dealt) {
      violations.append("worker \(number) sums \(worker.computed.sorted()), dealt \(dealt)")
    }
    workers[number]?.position = position + 1
    workers[number]?.computed = []
    outbox[number, default: []].append(
      .completed(worker: number, view: worker.view, position: position))
  }

  /// Each slice is summed exactly once.
  private mutating func checkPartition(_ resumption: Resumption, _ position: Int) {
    let shares =
      position == resumption.position
      ? resumption.slices : deals[resumption.members.count - 1]
    if shares.flatMap({ $0 }).sorted() != Array(0..<outline.tree.sliceCount) {
      violations.append("position \(position) sums slices \(shares)")
    }
  }

  private mutating func receive(_ number: Int) {
    guard let message = workers[number]?.inbox.removeFirst() else { return }
    switch message {
    case .suspend(let view):
      workers[number]?.isSuspended = true
      let nodes = outline.tree.nodes(covering: workers[number]?.computed ?? [])
      outbox[number, default: []].append(
        .suspended(
          worker: number, view: view,
          position: workers[number]?.isFetching == true ? nil : workers[number]?.position,
          nodes: nodes))
    case .measurePeak:
      outbox[number, default: []].append(.measuredPeak(worker: number))
    case .resume(let resumption): resume(number, resumption)
    case .grant(let view, let position):
      if workers[number]?.view == view { workers[number]?.granted = position }
    case .save(let position, let chunks):
      if workers[number]?.position == position {
        saved[position, default: []].formUnion(chunks)
      } else {
        violations.append("worker \(number) is asked to save \(position), which it lacks")
      }
    case .welcome, .refused, .leave, .alive: break
    }
  }

  private mutating func resume(_ number: Int, _ resumption: Resumption) {
    guard let rank = resumption.members.firstIndex(where: { $0.worker == number }) else { return }
    workers[number]?.resumption = resumption
    workers[number]?.view = resumption.view
    workers[number]?.granted = resumption.grantedPosition
    workers[number]?.isSuspended = false
    workers[number]?.hasAccused = false
    workers[number]?.isFetching = false
    switch resumption.sources[rank] {
    case .own:
      if workers[number]?.position != resumption.position {
        violations.append("worker \(number) does not own \(resumption.position)")
      }
      // As GradientStore.keep(only:) does.
      let kept = outline.tree.nodes(covering: workers[number]?.computed ?? [])
        .filter { $0.slices.allSatisfy(resumption.slices[rank].contains) }
      workers[number]?.computed = Set(kept.flatMap(\.slices))
    case .seed:
      if resumption.position != 0 { violations.append("seed gives no \(resumption.position)") }
      workers[number]?.computed = []
    case .checkpoint:
      if newestCheckpoint != resumption.position {
        violations.append("no checkpoint \(resumption.position)")
      }
      workers[number]?.computed = []
    case .member:
      workers[number]?.isFetching = true
      workers[number]?.computed = []
    }
    workers[number]?.position = resumption.position
  }

  // MARK: The coordinator

  mutating func deliver(_ event: ClusterEvent) {
    switch event {
    case .joined(let member): workers[member.worker]?.isWelcomed = true
    case .lost(let number, _): workers[number]?.isWelcomed = false
    default: break
    }
    pending += schedule.apply(event)
    guard !isPerforming else { return }
    isPerforming = true
    while !pending.isEmpty { perform(pending.removeFirst()) }
    isPerforming = false
  }

  private mutating func perform(_ command: Command) {
    switch command {
    case .suspend(let numbers, let view): send(.suspend(view: view), to: numbers)
    case .measurePeak(let numbers): send(.measurePeak, to: numbers)
    case .resume(let resumption):
      send(.resume(resumption), to: resumption.members.map(\.worker))
    case .grant(let numbers, let view, let position):
      send(.grant(view: view, position: position), to: numbers)
    case .save(let position, let savers):
      failed.remove(position)
      if failuresLeft > 0, draw(below: 2) == 0 { return failSave(position) }
      savingPosition = position
      saved[position] = []
      let chunks = StateChunks(counts: [Self.chunkCount * StateChunks.chunkElementCount])
      for (rank, saver) in savers.enumerated() {
        let share = chunks.share(ofRank: rank, of: savers.count)
        send(.save(position: position, chunks: share), to: [saver])
      }
    case .abandonSave: savingPosition = nil
    case .release(let number): part(number)
    case .dismiss(let number, _):
      dismissed.append(number)
      part(number)
    case .rewound: rewinds += 1
    case .finish(let how): finish(how)
    }
  }

  private mutating func part(_ number: Int) {
    workers[number] = nil
    outbox[number] = nil
  }

  /// What anybody who is here has done is in a checkpoint, and so is the end of each phase.
  private mutating func finish(_ how: RunEnd) {
    end = how
    for worker in workers.values where worker.isWelcomed && !worker.isFetching {
      guard let position = worker.position, position > newestCheckpoint ?? 0 else { continue }
      violations.append(
        "\(how): worker \(worker.number) holds \(position), saved is \(newestCheckpoint ?? 0)")
    }
    guard how == .completed else { return }
    for position in outline.phaseEnds where !checkpoints.union(failed).contains(position) {
      violations.append("no checkpoint of the phase that ends at \(position)")
    }
  }

  private mutating func send(_ message: CoordinatorMessage, to numbers: [Int]) {
    for number in numbers { workers[number]?.inbox.append(message) }
  }
}
