import ControlProtocol
import Planning
import Scheduling
import Testing

@Suite struct `Cluster schedule` {
  static let outline = RunOutline(
    tree: SliceTree(sliceCount: 8), operationCount: 30, checkpointPositions: [10, 20, 30],
    chunkCount: 5, workerCountMin: 1)

  static func member(_ number: Int) -> Member {
    Member(worker: number, name: "w\(number)", dataAddress: "h:\(number)")
  }

  /// Runs to the end; `disturb` may kill and add workers before each event.
  func run(
    workerCount: Int, seed: UInt64, disturb: (inout SimulatedCluster) -> Void = { _ in }
  ) -> SimulatedCluster {
    var cluster = SimulatedCluster(outline: Self.outline, seed: seed)
    for _ in 0..<workerCount { cluster.addWorker() }
    for _ in 0..<200_000 where cluster.end == nil {
      disturb(&cluster)
      if !cluster.advance() { cluster.addWorker() }
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
        chunkCount: 5, workerCountMin: 1))
    _ = schedule.apply(.joined(Self.member(0)))
    _ = schedule.apply(.suspended(worker: 0, view: 1, position: nil, nodes: []))
    _ = schedule.apply(.measuredPeak(worker: 0))
    func save(_ position: Int) -> Command {
      .save(position: position, shares: [SaveShare(worker: 0, chunks: 0..<5)])
    }
    func grant(_ position: Int) -> Command { .grant(workers: [0], view: 1, position: position) }
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: 0)) == [save(1), grant(2)])
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: 1)) == [])
    #expect(schedule.apply(.checkpointed(position: 1)) == [save(2), grant(4)])
    _ = schedule.apply(.completed(worker: 0, view: 1, position: 2))
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: 3)) == [])
    // One that failed gives way as well.
    #expect(schedule.apply(.checkpointFailed(position: 2)) == [save(4)])
    #expect(schedule.apply(.checkpointed(position: 4)) == [.finish(.completed)])
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
    #expect(commands.first == .save(position: 3, shares: [SaveShare(worker: 0, chunks: 0..<5)]))
    #expect(schedule.apply(.checkpointed(position: 3)) == [.finish(.stopped)])
  }

  @Test func `a worker that peers cannot reach three times in a row is dismissed`() {
    var schedule = ClusterSchedule(outline: Self.outline)
    for worker in 0...2 { _ = schedule.apply(.joined(Self.member(worker))) }
    var dismissed: [Command] = []
    for round in 1...3 {
      for worker in 0...2 {
        _ = schedule.apply(.suspended(worker: worker, view: round, position: nil, nodes: []))
      }
      for worker in 0...2 { _ = schedule.apply(.measuredPeak(worker: worker)) }
      dismissed = schedule.apply(.peerLost(reporter: 0, view: round, rank: 2, cause: "silent"))
    }
    guard case .dismiss(worker: 2, _) = dismissed.first else {
      Issue.record("not dismissed: \(dismissed)")
      return
    }
  }
}
