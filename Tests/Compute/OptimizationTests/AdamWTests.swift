import Operators
import Optimization
import Settings
import System
import Tensors
import Testing

@Suite struct `AdamW driver` {
  private func rows(_ values: [Float]) -> SharedRows<Float> {
    let rows = AlignedStorage<Float>(count: values.count, filledWith: 0).rows
    rows.copy(from: values)
    return rows
  }

  /// Algorithm 2 of Loshchilov & Hutter in f64.
  private func reference(
    _ x: inout (w: Double, m: Double, v: Double), gradient: Double, rate: Double, decay: Double,
    count: Int, _ settings: ResolvedPlan.Optimizer
  ) {
    x.m = settings.beta1 * x.m + (1 - settings.beta1) * gradient
    x.v = settings.beta2 * x.v + (1 - settings.beta2) * gradient * gradient
    let mean = x.m / (1 - power(settings.beta1, count))
    let square = x.v / (1 - power(settings.beta2, count))
    x.w -= rate * (mean / (square.squareRoot() + settings.epsilon) + decay * x.w)
  }

  @Test func `three updates are those of the paper, decay on matrices only`() {
    let team = ThreadTeam(memberCount: 2)
    defer { team.stop() }
    let engine = Engine(team: team, precision: .f32)
    let settings = ResolvedPlan.Optimizer(weightDecay: 0.1, gradientClip: 1)
    let count = 200
    let stream = RandomStream(seed: 1, purpose: 1)
    let start = (0..<count).map { stream.uniform(at: UInt64($0)) - 0.5 }
    let state = OptimizerState(
      master: rows(start), firstMoment: rows(Array(repeating: 0, count: count)),
      secondMoment: rows(Array(repeating: 0, count: count)))
    let optimizer = AdamW(
      settings: settings,
      groups: [
        UpdateGroup(ranges: [0..<100], isDecayed: true),
        UpdateGroup(ranges: [100..<150, 150..<200], isDecayed: false),
      ])
    var expected = start.map { (w: Double($0), m: 0.0, v: 0.0) }
    for update in 1...3 {
      let gradient = (0..<count).map {
        (stream.uniform(at: UInt64(1000 * update + $0)) - 0.5) * 20
      }
      let squareSum = gradient.reduce(0) { $0 + Double($1) * Double($1) }
      let scale = AdamW.Scale(squareSum: squareSum, tokenCount: 7, limit: settings.gradientClip)
      #expect(abs(scale.norm - squareSum.squareRoot() / 7) < 1e-12)
      #expect(abs(scale.clip * (scale.norm + 1e-6) - 1) < 1e-12)
      optimizer.update(
        state, gradient: rows(gradient), scale: scale, learningRate: 0.01, count: update,
        engine: engine)
      for index in 0..<count {
        reference(
          &expected[index], gradient: Double(gradient[index]) * scale.mean * scale.clip,
          rate: 0.01, decay: index < 100 ? 0.1 : 0, count: update, settings)
      }
    }
    for index in 0..<count {
      // Each update moves a weight by at most about 0.01 with f32 rounding of 6e-8 of it.
      #expect(abs(Double(state.master[index]) - expected[index].w) < 1e-6)
    }
  }

  @Test func `no tokens or a norm that is not finite skips`() {
    #expect(AdamW.Scale(squareSum: 4, tokenCount: 0, limit: 1).isSkipped)
    #expect(AdamW.Scale(squareSum: .infinity, tokenCount: 3, limit: 1).isSkipped)
    #expect(AdamW.Scale(squareSum: .nan, tokenCount: 3, limit: 1).isSkipped)
    let fine = AdamW.Scale(squareSum: 4, tokenCount: 4, limit: 1)
    #expect(!fine.isSkipped && fine.norm == 0.5 && fine.clip == 1)
  }
}
