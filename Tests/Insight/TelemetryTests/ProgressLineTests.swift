import Telemetry
import Testing

@Suite struct `A progress line` {
  /// What a line writes that is updated at these seconds with these shares.
  private func text(isTerminal: Bool, _ updates: [(seconds: Double, share: Double)]) -> [String] {
    var seconds = 0.0
    var written: [String] = []
    let progress = ProgressLine(
      "reading", isTerminal: isTerminal, now: { seconds }, write: { written.append($0) })
    for update in updates {
      seconds = update.seconds
      progress.update(update.share)
    }
    progress.end()
    return written
  }

  @Test func `rewrites itself at a terminal and leaves nothing behind`() {
    let found = text(isTerminal: true, [(0.1, 0.01), (0.5, 0.25), (0.6, 0.3), (90, 0.5)])
    let end = "\u{1B}[K"
    #expect(
      found == [
        "\rreading: 25 %, 2 s left\(end)", "\rreading: 50 %, 1 m 30 s left\(end)", "\r\(end)",
      ])
  }

  @Test func `is a line every ten seconds elsewhere`() {
    let found = text(isTerminal: false, [(9.9, 0.1), (10, 0), (19.9, 0.2), (20, 0.2), (40, 2)])
    #expect(
      found == [
        "reading: 0 %\n", "reading: 20 %, 1 m 20 s left\n", "reading: 100 %, 0 s left\n",
      ])
  }

  @Test(arguments: [true, false]) func `is silent about what ends soon`(isTerminal: Bool) {
    #expect(text(isTerminal: isTerminal, [(0.1, 0.2), (0.4, 1)]).isEmpty)
  }
}
