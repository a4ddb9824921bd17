import System
import Testing

@Suite struct `A monitor` {
  @Test func `a wait ends with the update that it waits for`() throws {
    let count = Monitor(0)
    startDetachedThread {
      for _ in 0..<100 { count.update { $0 += 1 } }
    }
    #expect(count.wait(atMost: 60) { $0 == 100 ? $0 : nil } == 100)
  }

  @Test func `a wait for what never comes ends with nil, and asks once more`() {
    let flag = Monitor(false)
    var asked = 0
    let result: Int? = flag.wait(atMost: 0.01) { _ in
      asked += 1
      return nil
    }
    #expect(result == nil)
    #expect(asked >= 2)
    #expect(flag.wait(atMost: 0) { _ in 3 } == 3)
  }

  @Test func `an error out of an update leaves the lock free`() {
    struct Refusal: Error {}
    let count = Monitor(1)
    #expect(throws: Refusal.self) {
      try count.update { (value) throws(Refusal) in
        value = 2
        throw Refusal()
      }
    }
    #expect(count.update { $0 } == 2)
  }
}

@Suite struct `A deadline` {
  @Test func `has passed when its moment is over`() {
    #expect(Deadline.after(.seconds(-1)).hasPassed)
    #expect(Deadline.after(.zero).hasPassed)
    #expect(Deadline.after(.seconds(-1)).remainingNanoseconds == 0)
    let later = Deadline.after(.seconds(3600))
    #expect(!later.hasPassed && later.remainingNanoseconds > 0)
  }

  @Test func `never passes where it is out of reach`() {
    #expect(!Deadline.never.hasPassed)
    #expect(Deadline.never.remainingNanoseconds == -1)
    #expect(Deadline.after(.seconds(Int64.max)) == .never)
    #expect(Deadline.after(.seconds(9_200_000_000)) < .never)
  }

  @Test func `an earlier one is less`() {
    #expect(Deadline.after(.seconds(1)) < .after(.seconds(3600)))
    #expect(Deadline.after(.seconds(1)) < .never)
  }
}
