import Synchronization
import System
import Testing

/// Counts how often each member did its part.
private final class Tally: Sendable {
  let counts: Mutex<[Int: Int]> = Mutex([:])

  struct Job: TeamJob {
    let tally: Tally
    func run(member: Int, memberCount: Int) {
      tally.counts.withLock { $0[member, default: 0] += memberCount }
    }
  }
}

@Suite struct `Thread team` {
  @Test func `every member does its part once, and run waits for all`() {
    let team = ThreadTeam(memberCount: 3)
    defer { team.stop() }
    let tally = Tally()
    for round in 1...200 {
      team.run(Tally.Job(tally: tally))
      #expect(tally.counts.withLock { $0 } == [0: 3 * round, 1: 3 * round, 2: 3 * round])
    }
  }

  @Test func `members that fell asleep wake up for work`() {
    let team = ThreadTeam(memberCount: 3)
    defer { team.stop() }
    let tally = Tally()
    for round in 1...5 {
      // Members look for work for about a millisecond, then they sleep.
      pauseThread(milliseconds: 30)
      team.run(Tally.Job(tally: tally))
      #expect(tally.counts.withLock { $0 } == [0: 3 * round, 1: 3 * round, 2: 3 * round])
    }
  }

  @Test func `its threads end when it stops, asleep or not`() {
    for pause in [0, 30] {
      weak var ended: ThreadTeam?
      do {
        let team = ThreadTeam(memberCount: 3)
        ended = team
        pauseThread(milliseconds: pause)
        // Returns when all threads have; each of them held the team.
        team.stop()
      }
      #expect(ended == nil)
    }
  }

  @Test func `goes on after 2^32 dispatches`() {
    let team = ThreadTeam(memberCount: 3, generation: .max - 2)
    defer { team.stop() }
    let tally = Tally()
    for _ in 0..<6 { team.run(Tally.Job(tally: tally)) }
    #expect(tally.counts.withLock { $0 } == [0: 18, 1: 18, 2: 18])
  }

  @Test func `one member is the caller alone`() {
    let team = ThreadTeam(memberCount: 1, pinned: true)
    let tally = Tally()
    team.run(Tally.Job(tally: tally))
    #expect(tally.counts.withLock { $0 } == [0: 1])
    team.stop()
  }
}
