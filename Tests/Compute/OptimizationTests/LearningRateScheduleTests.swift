import Optimization
import Settings
import Testing

@Suite struct `Learning rate schedule` {
  private func rates(
    _ kind: ResolvedPlan.Schedule.Kind, steps: Int, warmup: Int, decay: Int = 0
  ) -> [Double] {
    let schedule = LearningRateSchedule(
      .init(kind: kind, peak: 1, final: 0.1, warmupSteps: warmup, decaySteps: decay),
      stepCount: steps)
    return (0..<steps).map(schedule.rate)
  }

  @Test(arguments: ResolvedPlan.Schedule.Kind.allCases)
  func `it rises linearly to the peak`(kind: ResolvedPlan.Schedule.Kind) {
    let rates = rates(kind, steps: 20, warmup: 4, decay: 5)
    #expect(rates.prefix(5) == [0.2, 0.4, 0.6, 0.8, 1.0])
  }

  @Test func `cosine falls through the middle to near the final rate`() {
    let rates = rates(.cosine, steps: 104, warmup: 4)
    #expect(abs(rates[54] - 0.55) < 1e-12)
    // cos(0.99 pi) = -0.99951
    #expect(abs(rates[103] - (0.1 + 0.9 * 0.000_246_7)) < 1e-6)
    #expect(zip(rates[4...], rates[5...]).allSatisfy { $0 > $1 })
  }

  @Test func `linear falls by equal amounts`() {
    let rates = rates(.linear, steps: 10, warmup: 0)
    for (step, rate) in rates.enumerated() {
      #expect(abs(rate - (1 - 0.09 * Double(step))) < 1e-12)
    }
  }

  @Test func `wsd stays at the peak and falls over its last steps`() {
    let rates = rates(.wsd, steps: 20, warmup: 2, decay: 5)
    #expect(rates[2..<16].allSatisfy { $0 == 1 })
    #expect(abs(rates[19] - (1 - 0.9 * 0.8)) < 1e-12)
  }

  @Test func `a phase of nothing but warm-up has rates`() {
    #expect(rates(.cosine, steps: 2, warmup: 5).count == 2)
    let one = LearningRateSchedule(
      .init(kind: .cosine, peak: 1, final: 0.1, warmupSteps: 3), stepCount: 3)
    #expect(abs(one.rate(at: 3) - 0.1) < 1e-12)
  }

  @Test func `powers by squaring agree with repeated products`() {
    var expected = 1.0
    for exponent in 0..<200 {
      #expect(abs(power(0.95, exponent) / expected - 1) < 1e-13)
      expected *= 0.95
    }
  }
}
