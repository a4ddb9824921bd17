import Telemetry
import Testing

@Suite struct `The tail report` {
  private func record(step: Int, tokens: Int, recomputed: Int) throws -> String {
    """
    {"exchange_hidden":0,"flops_formula":"","flops_per_token":1,"goodput":1,"grad_norm":1,\
    "learning_rate":1,"loss":1,"nodes":[],"phase":"p","run":"r","seconds":1,\
    "seconds_by":{"backward":0,"checkpoint":0,"data":0,"exchange":0,"forward":0,"optimizer":0,\
    "other":0,"wait":0},"skipped":false,"slices_recomputed":\(recomputed),"step":\(step),\
    "time":"","tokens":\(tokens),"tokens_per_s":1,"tokens_total":1,"view":1,"workers":1}

    """
  }

  @Test func `holds sums that are larger than a number can be`() throws {
    let lines = try record(step: 1, tokens: .max, recomputed: .max)
      + record(step: 2, tokens: .max, recomputed: .max)
    let reader = RunReader(metrics: Array(lines.utf8), events: [])
    #expect(reader.unreadableCount == 0)
    let summary = try #require(TailReport(reader, nil).summary)
    #expect(summary.tokens == .max)
    #expect(summary.slicesRecomputed == .max)
  }

  @Test func `takes a plan that is not UTF-8 for none`() {
    // The lead byte of five, which UTF-8 no longer has, is where Foundation's JSON5 trapped.
    for byte in 0x80...0xFF as ClosedRange<UInt8> {
      let key = Array("{a".utf8) + [byte, 0x80, 0x80, 0x80, 0x80]
      #expect(RunOutline(json: key) == nil)
      #expect(RunOutline(json: key + Array(":1}".utf8)) == nil)
    }
  }

  @Test func `holds steps that are further away than a number can say`() {
    let outline = RunOutline(
      run: "r", phases: [.init(name: "p", stepCount: .max), .init(name: "q", stepCount: .max)])
    #expect(outline.remainingSteps(afterPhase: "p", step: .min) == .max)
    #expect(outline.remainingSteps(afterPhase: "p", step: 1) == .max)
    #expect(outline.remainingSteps(afterPhase: "q", step: .max) == 0)
  }
}
