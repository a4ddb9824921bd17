import Scheduling
import Testing

@Suite struct `Progress watch` {
  @Test func `finds the worker that stands still, not those who wait for it`() {
    var watch = ProgressWatch()
    watch.noteOperation(duration: 1)
    for second in 0...31 {
      watch.note(worker: 0, progress: second, at: Double(second))
      watch.note(worker: 1, progress: 7, at: Double(second))
      #expect(watch.standing(among: [0, 1], at: Double(second)) == (second > 30 ? [1] : []))
    }
    watch.note(worker: 1, progress: 8, at: 32)
    #expect(watch.standing(among: [0, 1], at: 32) == [])
  }

  @Test func `gives slow operations the more time`() {
    var watch = ProgressWatch()
    watch.note(worker: 0, progress: 1, at: 0)
    #expect(watch.limit == 600)
    #expect(watch.standing(among: [0], at: 600) == [])
    #expect(watch.standing(among: [0], at: 601) == [0])
    for _ in 0..<32 { watch.noteOperation(duration: 0.1) }
    #expect(watch.limit == 30)
    // One long operation among short ones changes little, a run of them all.
    watch.noteOperation(duration: 100)
    #expect(watch.limit == 30)
    for _ in 0..<32 { watch.noteOperation(duration: 100) }
    #expect(watch.limit == 2000)
  }

  @Test func `takes any message for a sign, and forgets who has left`() {
    var watch = ProgressWatch()
    watch.noteOperation(duration: 1)
    watch.note(worker: 0, progress: 1, at: 0)
    watch.note(worker: 0, progress: nil, at: 20)
    watch.note(worker: 0, progress: 1, at: 40)
    #expect(watch.standing(among: [0], at: 45) == [])
    #expect(watch.standing(among: [0], at: 51) == [0])
    watch.forget(worker: 0)
    #expect(watch.standing(among: [0], at: 100) == [])
  }
}
