import Operators
import Phases
import Planning
import Settings
import Tensors
import Testing

@Suite struct `A phase of adapters` {
  private static let choice = AdapterChoice(
    rank: 3, alpha: 4.5, targets: [.query, .value, .gate, .down])

  /// Phase 1 trains adapters, phase 2 either others or all weights.
  private func plan(then next: AdapterChoice? = nil) -> ResolvedPlan {
    var plan = tinyPlan().adapting(Self.choice)
    plan.phases.append(plan.phases[1])
    plan.phases[2].name = "next"
    plan.phases[2].lora = next
    return plan
  }

  private func step(_ index: Int, _ replica: Replica) -> UpdateOutcome {
    let gradients = Gradients(replica)
    let (root, sum) = gradients.whole(replica.plan.slices(step: index), step: index)
    return replica.update(gradients.work.windows(of: root), statistics: sum, step: index)
  }

  private func bits(_ values: SharedRows<Float>) -> [UInt32] { values.array.map(\.bitPattern) }

  @Test func `begins with the model as it was, and draws A anew in each`() {
    withReplica(plan(then: Self.choice)) { replica in
      let before = bits(replica.policy.master)
      var drawn: Set<[UInt32]> = []
      for phase in [1, 2] {
        replica.enter(phase)
        #expect(bits(replica.policy.master) == before)
        #expect(bits(replica[.reference].master) == before)
        let adapter = replica[.adapter]
        #expect(replica.trained.map(\.role) == [.adapter])
        for parameter in adapter.layout.parameters {
          let values = adapter.master[parameter.range]
          guard case .adapterA = parameter.role else {
            #expect(values.array.allSatisfy { $0 == 0 }, "\(parameter.name)")
            continue
          }
          #expect(drawn.insert(bits(values)).inserted, "\(parameter.name)")
          // Standard error of a deviation of n values: 1 / sqrt(2 n) of it; four of them.
          let square = values.array.reduce(0) { $0 + Double($1) * Double($1) }
          let deviation = (square / Double(values.count)).squareRoot()
          let expected = 1 / Double(parameter.shape[1]).squareRoot()
          #expect(abs(deviation / expected - 1) < 4 / Double(2 * values.count).squareRoot())
        }
      }
    }
  }

  /// `W0 + s B A` in f64 beside the f32 chain of `rank` products, a scale and a sum.
  @Test func `changes its targets by the product, and no bit of anything else`() {
    let plan = plan()
    withReplica(plan, threadCount: 2) { replica in
      replica.enter(1)
      let (policy, base, adapter) = (replica.policy, replica[.reference], replica[.adapter])
      let before = bits(base.master)
      for index in 0..<3 { #expect(!step(index, replica).skipped) }
      #expect(bits(base.master) == before)
      for parameter in policy.layout.parameters {
        let (now, was) = (policy.master[parameter.range], base.master[parameter.range])
        let target = parameter.role.layer.flatMap { layer in
          Self.choice.targets.first { $0.role(inLayer: layer) == parameter.role }
        }
        guard let layer = parameter.role.layer, let target else {
          #expect(bits(now) == bits(was), "\(parameter.name)")
          continue
        }
        let (rank, columns) = (Self.choice.rank, parameter.shape[1])
        let a = adapter.master[adapter.layout[.adapterA(target, layer: layer)].range].array
        let b = adapter.master[adapter.layout[.adapterB(target, layer: layer)].range].array
        var farthest = 0.0
        for element in 0..<parameter.count {
          let (n, k) = element.quotientAndRemainder(dividingBy: columns)
          let terms = (0..<rank).map { Double(b[n * rank + $0]) * Double(a[$0 * columns + k]) }
          let exact = Double(was[element]) + Self.choice.scale * terms.reduce(0, +)
          let size = Double(was[element].magnitude)
            + Self.choice.scale * terms.reduce(0) { $0 + $1.magnitude }
          #expect(abs(Double(now[element]) - exact) <= Double(rank + 2) * 0x1p-24 * size)
          farthest = max(farthest, abs(Double(now[element]) - Double(was[element])))
        }
        // Three steps of a rate near 1e-3 through A of deviation 1/6 and s = 1.5.
        #expect(farthest > 1e-4, "\(parameter.name)")
      }
    }
  }

  @Test func `gives the same bits with 1, 2 and 3 threads`() {
    func train(_ threadCount: Int) -> [UInt32] {
      withReplica(plan(), threadCount: threadCount) { replica in
        replica.enter(1)
        let outcomes = (0..<3).map { step($0, replica) }
        return outcomes.map { UInt32(truncatingIfNeeded: $0.gradNorm.bitPattern) }
          + replica.parts.flatMap(bits)
      }
    }
    let alone = train(1)
    #expect(train(2) == alone)
    #expect(train(3) == alone)
  }

  @Test func `goes on with the same bits where its state is loaded`() {
    let plan = plan()
    withReplica(plan) { replica in
      replica.enter(1)
      _ = step(0, replica)
      let other = Replica(plan: plan, engine: replica.engine, phaseIndex: 1)
      #expect(other.stateLayout == replica.stateLayout)
      // It has computed with another state before.
      _ = other.evaluate(plan.slice(0, step: 0))
      for (part, loaded) in zip(other.parts, replica.parts) { part.copy(from: loaded) }
      other.repack()
      #expect(step(1, other) == step(1, replica))
      #expect(other.parts.flatMap(bits) == replica.parts.flatMap(bits))
    }
  }

  @Test func `leaves merged weights to the next, which trains them all`() {
    withReplica(plan()) { replica in
      replica.enter(1)
      let base = bits(replica.policy.master)
      _ = step(0, replica)
      let merged = replica.policy.master.array
      #expect(merged.map(\.bitPattern) != base)
      replica.enter(2)
      #expect(replica.models.map(\.role) == [.policy])
      #expect(bits(replica.policy.master) == merged.map(\.bitPattern))
      _ = step(0, replica)
      for parameter in replica.policy.layout.parameters {
        let now = replica.policy.master[parameter.range].array
        #expect(now != Array(merged[parameter.range]), "\(parameter.name)")
      }
    }
  }

  /// A gradient of A or B that is not finite skips the step, which changes nothing.
  @Test func `skips a step whose gradient is not finite`() {
    let plan = plan()
    withReplica(plan) { replica in
      replica.enter(1)
      let before = replica.parts.flatMap(bits)
      let work = GradientWork(replica)
      work.begin(step: 0, slices: plan.slices(step: 0))
      let sum = work.makeSum()
      sum.windows[0][3] = .infinity
      let outcome = replica.update(
        work.windows(of: sum), statistics: SliceStatistics(tokenCount: 3, lossSum: 6), step: 0)
      #expect(outcome.skipped && outcome.loss == 2)
      #expect(replica.parts.flatMap(bits) == before)
    }
  }

  /// The scale s belongs to the gradient: A and B weigh s times as much in the norm.
  @Test func `measures the gradient with its scale`() {
    func norm(_ alpha: Double) -> Double {
      let plan = tinyPlan(dropout: 0).adapting(
        AdapterChoice(rank: 2, alpha: alpha, targets: [.output, .up]))
      return withReplica(plan) { replica in
        replica.enter(1)
        return step(0, replica).gradNorm
      }
    }
    // B is zero, so the forward pass does not know s yet, and 8 is a power of two.
    #expect(norm(16) == 8 * norm(2))
  }
}
