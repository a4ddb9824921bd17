import Planning
import Scheduling
import ControlProtocol
import Testing

@Suite struct `The scheduling core` {
  private func running() -> ClusterSchedule {
    var schedule = ClusterSchedule(
      outline: RunOutline(
        tree: SliceTree(sliceCount: 2), operationCount: 10, checkpointPositions: [10],
        phaseEnds: [10], workerCountMin: 1))
    _ = schedule.apply(.joined(Member(worker: 0, name: "w0", dataAddress: "h:1")))
    _ = schedule.apply(.suspended(worker: 0, view: 1, position: nil, nodes: []))
    _ = schedule.apply(.measuredPeak(worker: 0))
    return schedule
  }

  @Test(arguments: [10, Int.max, -1])
  func `ignores a report of an operation that the run does not have`(position: Int) {
    var schedule = running()
    #expect(schedule.apply(.completed(worker: 0, view: 1, position: position)) == [])
    #expect(schedule.committedPosition == 0)
    _ = schedule.apply(.completed(worker: 0, view: 1, position: 0))
    #expect(schedule.committedPosition == 1)
  }

  @Test(arguments: [11, Int.max, -1])
  func `does not go on from a state that the run does not have`(position: Int) throws {
    var schedule = running()
    _ = schedule.apply(.peerLost(reporter: 0, view: 1, rank: 0, cause: ""))
    let commands = schedule.apply(.suspended(worker: 0, view: 2, position: position, nodes: []))
    let resumed = commands.compactMap { if case .resume(let view) = $0 { view } else { nil } }
    #expect(resumed.map(\.position) == [0])
    #expect(resumed.map(\.sources) == [[.seed]])
  }
}
