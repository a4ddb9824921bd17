import System
import Testing

@Suite struct `A progress line` {
  /// Tells a share after each of `seconds`, and returns what was written.
  private func written(_ seconds: [Double], isTerminal: Bool) -> [String] {
    var time = 0.0
    var texts: [String] = []
    let line = ProgressLine(
      "data", isTerminal: isTerminal, now: { time }, write: { texts.append($0) })
    for moment in seconds {
      time = moment
      line.update(moment / 40)
    }
    line.finish()
    line.finish()
    return texts
  }

  @Test func `stands in place on a terminal, told once a second, and leaves nothing`() {
    #expect(
      written([0.5, 1.2, 1.9, 2.2], isTerminal: true)
        == ["\rdata: 3 %\u{1B}[K", "\rdata: 5 %\u{1B}[K", "\r\u{1B}[K"])
  }

  @Test func `is a line of its own elsewhere, once in ten seconds`() {
    #expect(written([5, 10, 19, 20, 80], isTerminal: false)
      == ["data: 25 %\n", "data: 50 %\n", "data: 100 %\n"])
  }

  @Test func `says nothing of work that is done at once`() {
    #expect(written([0.2, 0.9], isTerminal: true) == [])
  }
}
