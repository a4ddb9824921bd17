import ControlProtocol
import Planning
import Scheduling
import Testing

@Suite struct `Cluster schedule` {
  static let outline = RunOutline(
    tree: SliceTree(sliceCount: 8), operationCount: 30, checkpointPositions: [5, 10, 20, 30],
    phaseEnds: [10, 30], workerCountMin: 1)

  static func member(_ number: Int) -> Member {
    Member(worker: number, name: "w\(number)", dataAddress: "h:\(number)")
  }

  /// Runs to the end; `disturb` may change the cluster before each event. Somebody is sent only
  /// where nobody is left: a cluster that stands still with workers in it is a violation.
  func run(
    workerCount: Int, seed: UInt64, disturb: (inout SimulatedCluster) -> Void = { _ in }
  ) -> SimulatedCluster {
    var cluster = SimulatedCluster(outline: Self.outline, seed: seed)
    for _ in 0..<workerCount { cluster.addWorker() }
    for _ in 0..<200_000 {
      disturb(&cluster)
      if cluster.end != nil { break }
      if cluster.advance() { continue }
      guard cluster.workers.isEmpty else {
        cluster.violations.append("nothing happens any more")
        break
      }
      cluster.addWorker()
    }
    return cluster
  }

  @Test(arguments: [1, 2, 3, 5, 8, 11])
  func `a run without faults completes in one view when all join before it starts`(count: Int) {
    let cluster = run(workerCount: count, seed: 7)
    #expect(cluster.end == .completed)
    #expect(cluster.violations == [])
    #expect(cluster.rewinds == 0)
    #expect(cluster.newestCheckpoint == 30)
  }

  @Test(arguments: 0..<100)
  func `deaths and arrivals at any moment never stop the run or sum a slice twice`(seed: Int) {
    let cluster = run(workerCount: 1 + seed % 5, seed: UInt64(seed)) { cluster in
      guard cluster.draw(below: 40) == 0 else { return }
      let alive = cluster.workers.keys.sorted()
      if alive.count > 1 && cluster.draw(below: 2) == 0 {
        cluster.kill(alive[cluster.draw(below: alive.count)])
      } else if alive.count < 10 {
        cluster.addWorker()
      }
    }
    #expect(cluster.end == .completed)
    #expect(cluster.violations == [])
  }

  /// Everything that can happen to a run, one thing after the other at random moments.
  private func strike(_ cluster: inout SimulatedCluster) {
    let alive = cluster.workers.keys.sorted()
    guard !alive.isEmpty else { return cluster.addWorker() }
    let one = alive[cluster.draw(below: alive.count)]
    let other = alive[cluster.draw(below: alive.count)]
    switch cluster.draw(below: 8) {
    case 0 where alive.count > 1: cluster.kill(one)
    case 1 where alive.count < 10: cluster.addWorker()
    case 2: cluster.reconnect(one)
    case 3: cluster.leave(one)
    case 4: cluster.failuresLeft += 1
    case 5 where one != other: cluster.cutPairs.insert([one, other])
    case 6: cluster.restartCoordinator()
    case 7 where cluster.draw(below: 8) == 0: cluster.deliver(.stopRequested)
    default: break
    }
  }

  @Test(arguments: 0..<400)
  func `whatever happens to a run, it completes from where it was stopped`(seed: Int) {
    var strikesLeft = 20
    var stopsLeft = 10
    let cluster = run(workerCount: 1 + seed % 5, seed: UInt64(seed)) { cluster in
      if strikesLeft > 0, cluster.draw(below: 60) == 0 {
        strikesLeft -= 1
        strike(&cluster)
      }
      guard cluster.end == .stopped, stopsLeft > 0 else { return }
      stopsLeft -= 1
      for number in cluster.workers.keys.sorted() { cluster.kill(number) }
      cluster.restartCoordinator()
      cluster.addWorker()
    }
    #expect(cluster.end == .completed)
    #expect(cluster.violations == [])
  }

  @Test(arguments: 0..<50)
  func `losing every worker goes back to the newest checkpoint and completes`(seed: Int) {
    var isKilled = false
    let cluster = run(workerCount: 3, seed: UInt64(seed)) { cluster in
      guard !isKilled, cluster.schedule.committedPosition >= 12 else { return }
      isKilled = true
      for number in cluster.workers.keys.sorted() { cluster.kill(number) }
    }
    #expect(cluster.end == .completed)
    #expect(cluster.rewinds == 1)
    #expect(cluster.violations == [])
  }

  @Test func `a survivor keeps the slices it holds and only lost ones are dealt again`() {
    var schedule = ClusterSchedule(outline: Self.outline)
    _ = schedule.apply(.joined(Self.member(0)))
    _ = schedule.apply(.joined(Self.member(1)))
    for worker in 0...1 {
      _ = schedule.apply(.suspended(worker: worker, view: 1, position: nil, nodes: []))
    }
    for worker in 0...1 { _ = schedule.apply(.measuredPeak(worker: worker)) }
    #expect(
      schedule.apply(.lost(worker: 1, cause: "killed")) == [.suspend(workers: [0], view: 2)])
    let held = [SliceNode(level: 1, index: 0), SliceNode(level: 0, index: 2)]
    let commands = schedule.apply(.suspended(worker: 0, view: 2, position: 0, nodes: held))
    guard case .resume(let resumption) = commands.first else {
      Issue.record("no view was formed: \(commands)")
      return
    }
    #expect(resumption.sources == [.own])
    #expect(resumption.slices == [Array(0..<8)])
    #expect(resumption.position == 0)
  }

  @Test func `a joiner copies its state and gets no slice of the operation under way`() {
    var schedule = ClusterSchedule(outline: Self.outline)
    _ = schedule.apply(.joined(Self.member(0)))
    _ = schedule.apply(.suspended(worker: 0, view: 1, position: nil, nodes: []))
    _ = schedule.apply(.measuredPeak(worker: 0))
    _ = schedule.apply(.completed(worker: 0, view: 1, position: 0))
    #expect(schedule.apply(.joined(Self.member(1))) == [.suspend(workers: [0, 1], view: 2)])
    let held = [SliceNode(level: 0, index: 0)]
    _ = schedule.apply(.suspended(worker: 0, view: 2, position: 1, nodes: held))
    #expect(
      schedule.apply(.suspended(worker: 1, view: 2, position: nil, nodes: []))
        == [.measurePeak(workers: [0, 1])])
    _ = schedule.apply(.measuredPeak(worker: 0))
    let commands = schedule.apply(.measuredPeak(worker: 1))
    guard case .resume(let resumption) = commands.first else {
      Issue.record("no view was formed: \(commands)")
      return
    }
    #expect(resumption.sources == [.own, .member(rank: 0)])
    #expect(resumption.slices == [Array(0..<8), []])
  }

  @Test func `a save that is due waits for the one under way, and everybody with it`() {
    var schedule = ClusterSchedule(
      outline: RunOutline(
        tree: SliceTree(sliceCount: 8), operationCount: 4, checkpointPositions: [1, 2, 4],
        phaseEnds: [4], workerCountMin: 1))
    _ = schedule.apply(.joined(Self.member(0)))
    _ = schedule.apply(.suspended(worker: 0, view: 1, position: nil, nodes: []))
    _ = schedule.apply(.measuredPeak(worker: 0))
    func save(_ position: Int) -> Command {
      .save(position: position, workers: [0])
    }
    func grant(_ position: Int) -> Command { .grant(workers: [0], view: 1, position: position) }
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: 0)) == [save(1), grant(2)])
    #expect(schedule.awaitedSave == nil)
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: 1)) == [])
    #expect(schedule.awaitedSave == 1)
    #expect(schedule.apply(.checkpointed(position: 1)) == [save(2), grant(4)])
    _ = schedule.apply(.completed(worker: 0, view: 1, position: 2))
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: 3)) == [])
    // One that failed gives way as well.
    #expect(schedule.apply(.checkpointFailed(position: 2)) == [save(4)])
    #expect(schedule.apply(.checkpointed(position: 4)) == [.finish(.completed)])
  }

  @Test func `nobody goes on from a phase's end before its checkpoint stands, or has failed`() {
    let outline = RunOutline(
      tree: SliceTree(sliceCount: 8), operationCount: 9, checkpointPositions: [2, 9],
      phaseEnds: [2, 9], workerCountMin: 1)
    /// A coordinator of two workers, which say that they stand at `position`.
    func schedule(_ position: Int?) -> (ClusterSchedule, [Command]) {
      var schedule = ClusterSchedule(
        outline: outline, committedPosition: position ?? 0, expectedWorkerCount: 2)
      for worker in 0..<2 { _ = schedule.apply(.joined(Self.member(worker))) }
      for worker in 0..<2 {
        _ = schedule.apply(.suspended(worker: worker, view: 1, position: position, nodes: []))
      }
      _ = schedule.apply(.measuredPeak(worker: 0))
      let commands = schedule.apply(.measuredPeak(worker: 1))
      return (schedule, commands)
    }
    var (first, _) = schedule(nil)
    for position in 0..<2 {
      _ = first.apply(.completed(worker: 0, view: 1, position: position))
    }
    _ = first.apply(.completed(worker: 1, view: 1, position: 0))
    let save = Command.save(position: 2, workers: [0, 1])
    #expect(first.apply(.completed(worker: 1, view: 1, position: 1)) == [save])
    let grant = Command.grant(workers: [0, 1], view: 1, position: 9)
    // Dead while it was being written, another coordinator finds everybody where they were.
    var (second, commands) = schedule(2)
    #expect(commands.first == save)
    guard case .resume(let resumption)? = commands.last else {
      Issue.record("nobody resumes: \(commands)")
      return
    }
    #expect(resumption.grantedPosition == 2)
    #expect(first.awaitedSave == 2 && second.awaitedSave == 2)
    #expect(second.apply(.checkpointFailed(position: 2)) == [grant])
    #expect(first.apply(.checkpointed(position: 2)) == [grant])
    #expect(first.awaitedSave == nil && second.awaitedSave == nil)
  }

  @Test func `a stop saves where everybody stands and ends the run`() {
    var schedule = ClusterSchedule(outline: Self.outline)
    _ = schedule.apply(.joined(Self.member(0)))
    _ = schedule.apply(.suspended(worker: 0, view: 1, position: nil, nodes: []))
    _ = schedule.apply(.measuredPeak(worker: 0))
    for position in 0..<3 {
      _ = schedule.apply(.completed(worker: 0, view: 1, position: position))
    }
    #expect(schedule.apply(.stopRequested) == [.suspend(workers: [0], view: 2)])
    let commands = schedule.apply(.suspended(worker: 0, view: 2, position: 3, nodes: []))
    #expect(commands.first == .save(position: 3, workers: [0]))
    #expect(schedule.apply(.checkpointed(position: 3)) == [.finish(.stopped)])
  }

  /// Workers that join together; in each view `accuse` names pairs of reporter and accused.
  private func dismissals(
    workerCount: Int, viewCount: Int, positions: [Int?],
    accuse: (_ view: Int) -> [(reporter: Int, accused: Int)]
  ) -> [Int] {
    var schedule = ClusterSchedule(outline: Self.outline, checkpointPosition: nil)
    var gone: [Int] = []
    func note(_ commands: [Command]) {
      for case .dismiss(let worker, _) in commands { gone.append(worker) }
    }
    for worker in 0..<workerCount { note(schedule.apply(.joined(Self.member(worker)))) }
    for view in 1...viewCount {
      for worker in 0..<workerCount where !gone.contains(worker) {
        note(
          schedule.apply(
            .suspended(worker: worker, view: view, position: positions[worker], nodes: [])))
      }
      for worker in 0..<workerCount { note(schedule.apply(.measuredPeak(worker: worker))) }
      let ranks = schedule.memberWorkers
      for (reporter, accused) in accuse(view) {
        guard let rank = ranks.firstIndex(of: accused) else { continue }
        note(
          schedule.apply(.peerLost(reporter: reporter, view: view, rank: rank, cause: "silent")))
      }
    }
    return gone
  }

  @Test func `a worker that nobody reaches in three views is dismissed, whoever says so`() {
    for reporters in [[0, 1, 3], [2, 2, 2], [2, 0, 2], [3, 2, 1]] {
      let gone = dismissals(workerCount: 4, viewCount: 4, positions: [5, 5, 5, 5]) { view in
        guard view <= 3 else { return [] }
        // Worker 2 is cut off: it accuses all, or one of them accuses it and others follow.
        let reporter = reporters[view - 1]
        return reporter == 2
          ? [(2, 0), (2, 1), (2, 3)] : [(reporter, 2)] + [0, 1, 3].map { ($0, 2) }
      }
      #expect(gone == [2], "\(reporters)")
    }
  }

  @Test func `two views without a connection dismiss nobody`() {
    let gone = dismissals(workerCount: 3, viewCount: 3, positions: [5, 5, 5]) { view in
      view <= 2 ? [(0, 2), (1, 2)] : []
    }
    #expect(gone == [])
  }

  @Test(arguments: [[0, 0, 0], [1, 1, 1], [1, 0, 1]])
  func `of two that do not reach each other the one without state goes`(reporters: [Int]) {
    let gone = dismissals(workerCount: 2, viewCount: 4, positions: [nil, 5]) { view in
      view <= 3 ? [(reporters[view - 1], 1 - reporters[view - 1])] : []
    }
    #expect(gone == [0])
  }

  @Test func `the only holder of the newest state stays, though no newcomer reaches it`() {
    let gone = dismissals(workerCount: 3, viewCount: 6, positions: [5, nil, nil]) { _ in
      [(0, 1), (0, 2)]
    }
    #expect(gone.sorted() == [1, 2])
  }

  @Test func `a stale worker does not pull the run behind its checkpoint`() {
    var schedule = ClusterSchedule(
      outline: Self.outline, view: 4, committedPosition: 20, checkpointPosition: 20)
    _ = schedule.apply(.joined(Self.member(3)))
    _ = schedule.apply(.suspended(worker: 3, view: 5, position: 7, nodes: []))
    let commands = schedule.apply(.measuredPeak(worker: 3))
    guard case .resume(let resumption) = commands.last else {
      Issue.record("no view was formed: \(commands)")
      return
    }
    #expect(resumption.position == 20)
    #expect(resumption.sources == [.checkpoint])
  }

  @Test func `a stop while workers are waited for saves what those who are here hold`() {
    var schedule = ClusterSchedule(
      outline: Self.outline, view: 4, committedPosition: 5, expectedWorkerCount: 2)
    _ = schedule.apply(.joined(Self.member(0)))
    #expect(schedule.apply(.stopRequested) == [.suspend(workers: [0], view: 5)])
    _ = schedule.apply(.suspended(worker: 0, view: 5, position: 6, nodes: []))
    let commands = schedule.apply(.measuredPeak(worker: 0))
    #expect(commands.first == .save(position: 6, workers: [0]))
    #expect(schedule.apply(.checkpointed(position: 6)) == [.finish(.stopped)])
  }

  @Test func `a worker may leave while others are waited for`() {
    var schedule = ClusterSchedule(outline: Self.outline, expectedWorkerCount: 3)
    for worker in 0...1 { #expect(schedule.apply(.joined(Self.member(worker))) == []) }
    #expect(schedule.apply(.leaving(worker: 0)) == [.release(worker: 0)])
  }

  @Test func `a joiner gets no slice of an operation that nobody has begun either`() {
    var schedule = ClusterSchedule(outline: Self.outline)
    _ = schedule.apply(.joined(Self.member(0)))
    _ = schedule.apply(.suspended(worker: 0, view: 1, position: nil, nodes: []))
    _ = schedule.apply(.measuredPeak(worker: 0))
    _ = schedule.apply(.completed(worker: 0, view: 1, position: 0))
    _ = schedule.apply(.joined(Self.member(1)))
    _ = schedule.apply(.suspended(worker: 0, view: 2, position: 1, nodes: []))
    _ = schedule.apply(.suspended(worker: 1, view: 2, position: nil, nodes: []))
    for worker in 0...1 {
      let commands = schedule.apply(.measuredPeak(worker: worker))
      guard case .resume(let resumption) = commands.last else { continue }
      #expect(resumption.slices == [Array(0..<8), []])
      return
    }
    Issue.record("no view was formed")
  }
}
