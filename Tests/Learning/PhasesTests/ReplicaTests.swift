import Operators
import Phases
import Planning
import Settings
import Tensors
import Testing

@Suite struct `Worker replica` {
  /// A step of one worker: all slices, tree sum, update.
  private func step(_ step: Int, _ gradients: Gradients) -> (UpdateOutcome, SliceStatistics) {
    let slices = gradients.replica.plan.slices(step: step)
    let (root, sum) = gradients.whole(slices, step: step)
    let windows = gradients.work.windows(of: root)
    return (gradients.replica.update(windows, statistics: sum, step: step), sum)
  }

  private func train(_ plan: ResolvedPlan, threadCount: Int, steps: Int) -> [UInt64] {
    withReplica(plan, threadCount: threadCount) { replica in
      let gradients = Gradients(replica)
      var bits: [UInt64] = []
      for index in 0..<steps {
        let (outcome, _) = step(index, gradients)
        bits += [outcome.loss.bitPattern, outcome.gradNorm.bitPattern]
      }
      for state in replica.parts {
        bits += state.array.map { UInt64($0.bitPattern) }
      }
      return bits
    }
  }

  @Test(arguments: [true, false])
  func `three steps give the same bits with 1, 2 and 3 threads`(isHeadTied: Bool) {
    let plan = tinyPlan(microbatch: 1, isHeadTied: isHeadTied)
    let alone = train(plan, threadCount: 1, steps: 3)
    #expect(train(plan, threadCount: 2, steps: 3) == alone)
    #expect(train(plan, threadCount: 3, steps: 3) == alone)
  }

  @Test(arguments: [true, false])
  func `it learns one batch by heart`(isHeadTied: Bool) {
    var plan = tinyPlan(isHeadTied: isHeadTied, dropout: 0, peak: 2e-2)
    plan.phases[0].steps = 120
    plan.phases[0].schedule.kind = .constant
    withReplica(plan, threadCount: 2) { replica in
      let gradients = Gradients(replica)
      var losses: [Double] = []
      for index in 0..<120 {
        let (root, sum) = gradients.whole(plan.slices(step: 0), step: index)
        let windows = gradients.work.windows(of: root)
        losses.append(replica.update(windows, statistics: sum, step: index).loss)
      }
      // ln 71 = 4.26 is what knowing nothing costs.
      #expect(abs(losses[0] - 4.26) < 0.1)
      #expect((losses.last ?? 9) < 0.2, "the loss is still \(losses.last ?? 9)")
    }
  }

  @Test func `a step without a valid token changes nothing and says so`() {
    let plan = tinyPlan()
    withReplica(plan) { replica in
      let before = replica.policy.master.array
      let work = GradientWork(replica)
      work.begin(step: 0, slices: plan.slices(step: 0))
      var tokens = plan.slice(0, step: 0)
      for index in tokens.sequences.indices {
        tokens.sequences[index].isTarget = tokens.sequences[index].isTarget.map { _ in false }
      }
      let sum = work.makeSum()
      let statistics = work.compute(
        tokens, slice: 0, into: sum, accumulate: false, isCancelled: { false },
        finished: { _ in })
      #expect(statistics == SliceStatistics(tokenCount: 0, lossSum: 0))
      guard let statistics else { return }
      let outcome = replica.update(work.windows(of: sum), statistics: statistics, step: 0)
      #expect(outcome.skipped)
      #expect(replica.policy.master.array == before)
    }
  }

  @Test func `a gradient that is not finite skips the step`() {
    let plan = tinyPlan()
    withReplica(plan) { replica in
      let before = replica.policy.master.array
      let work = GradientWork(replica)
      work.begin(step: 0, slices: plan.slices(step: 0))
      let sum = work.makeSum()
      sum.windows[0][5] = .infinity
      let outcome = replica.update(
        work.windows(of: sum), statistics: SliceStatistics(tokenCount: 3, lossSum: 6), step: 0)
      #expect(outcome.skipped)
      #expect(outcome.loss == 2)
      #expect(replica.policy.master.array == before)
    }
  }

  /// Phase 1 of the plan anneals, hence carries moments on; as a second pretraining it does not.
  @Test(arguments: [ResolvedPlan.Phase.Kind.anneal, .pretrain])
  func `another phase has its own rates, and moments only if it carries them on`(
    kind: ResolvedPlan.Phase.Kind
  ) {
    var plan = tinyPlan(dropout: 0)
    plan.phases[1].kind = kind
    plan.phases[1].schedule = .init(kind: .constant, peak: 5e-3, final: 5e-3, warmupSteps: 0)
    withReplica(plan) { replica in
      let gradients = Gradients(replica)
      let (first, _) = step(0, gradients)
      let before = replica.policy.moments?.second.array ?? []
      replica.enter(1)
      let (second, _) = step(0, Gradients(replica))
      #expect(abs(first.learningRate - 1e-3) < 1e-15)
      #expect(second.learningRate == 5e-3)
      // A second moment that is carried on keeps beta2 = 0.95 of itself and grows by a square; one
      // that starts anew is 0.05 of a square, and so are both after one step.
      let after = replica.policy.moments?.second.array ?? []
      let isKept = zip(after, before).allSatisfy { $0 >= 0.949 * $1 }
      #expect(isKept == (kind == .anneal))
    }
  }

  /// The anneal's peak is the rate that 20 steps would end with, or that of the step that is next.
  @Test func `an anneal goes on after the steps that were taken, not those of the plan`() {
    var gated = tinyPlan()
    gated.phases[1].schedule.peak = gated.phases[0].schedule.final
    var planned = tinyPlan()
    planned.phases[0].steps = 1
    planned.phases[1].schedule.peak = 3e-3 * 2 / 3
    func annealed(_ plan: ResolvedPlan, stepsTaken: [Int: Int]) -> [[UInt32]] {
      withReplica(plan) { replica in
        replica.stepsTaken = stepsTaken
        _ = step(0, Gradients(replica))
        replica.enter(1)
        let (second, _) = step(0, Gradients(replica))
        #expect(second.learningRate == 3e-3 * 2 / 3)
        return replica.parts.map { $0.array.map(\.bitPattern) }
      }
    }
    let isSame = annealed(gated, stepsTaken: [0: 1]) == annealed(planned, stepsTaken: [:])
    #expect(isSame, "rates or bias corrections are others")
  }

  /// Phase 0 of the plan is made SFT, phase 1 DPO, and phase 2 begins where phase 1 did, or not.
  @Test(arguments: ResolvedPlan.Start.allCases)
  func `a phase begins with the policy before it, or with its reference`(
    start: ResolvedPlan.Start
  ) {
    var plan = tinyPlan(dropout: 0)
    plan.phases = [plan.phases[0], plan.phases[0], plan.phases[0]]
    plan.phases[1].kind = .dpo
    plan.phases[2].kind = .dpo
    plan.phases[2].startsFrom = start
    withReplica(plan) { replica in
      replica.enter(1)
      let first = replica[.reference].master.array
      #expect(replica.policy.master.array == first)
      replica.policy.master[7] += 1
      let changed = replica.policy.master.array
      replica.enter(2)
      let expected = start == .policy ? changed : first
      #expect(replica.policy.master.array == expected)
      #expect(replica[.reference].master.array == expected)
      #expect(replica.policy.moments?.second.array.allSatisfy { $0 == 0 } == true)
    }
  }

  /// Phase 1 makes a reward model, phase 2 trains it on fresh pairs, phase 3 makes another one.
  @Test func `a reward model goes on with fresh pairs and begins anew with given ones`() {
    var plan = tinyPlan(dropout: 0)
    plan.phases = [plan.phases[0], plan.phases[0], plan.phases[0], plan.phases[0]]
    for index in 1...3 { plan.phases[index].kind = .reward }
    plan.phases[2].reinforcement = .init(
      judge: .rule, iterations: 1, prompts: 4, answers: 2, answerTokens: 4, epochs: 1, beta: 0)
    withReplica(plan) { replica in
      replica.enter(1)
      let first = replica[.reward].master.array
      replica[.reward].master[7] += 1
      let changed = replica[.reward].master.array
      replica.enter(2)
      #expect(replica[.reward].master.array == changed)
      #expect(replica[.reward].moments?.second.array.allSatisfy { $0 == 0 } == true)
      #expect(replica.rollouts?.count == plan.rolloutShape(ofPhase: 2)?.count)
      replica.enter(3)
      #expect(replica[.reward].master.array == first)
    }
  }

  @Test func `of a pair that is a tie nothing is counted but that`() throws {
    var plan = tinyPlan(dropout: 0)
    plan.phases[1].kind = .reward
    withReplica(plan) { replica in
      replica.enter(1)
      let plain = replica.evaluate(replica.prepared(Self.pairs))
      var tied = Self.pairs
      for index in 0..<2 { tied.sequences[index].isTie = true }
      let mixed = replica.evaluate(replica.prepared(tied))
      #expect(mixed.tokenCount == 2 && mixed.measures[0] == plain.measures[0])
      let figures = plan.phases[1].kind.figures(mixed.measures, count: mixed.tokenCount)
      #expect(figures["ties"] == 1 && figures["decided"] == 1)
      // Of the second pair alone: right or wrong.
      #expect(figures["accuracy"] == 0 || figures["accuracy"] == 1)
    }
  }

  /// Two pairs whose answers, the last three tokens, differ.
  private static let pairs = TokenSlice(
    sequences: (0..<4).map { index in
      let answer = (0..<3).map { UInt32(20 + 7 * index + $0) }
      return TokenSlice.Sequence(
        tokens: [1, 2, 3, UInt32(4 + index / 2)] + answer,
        isTarget: [false, false, false, true, true, true], row: UInt32(index / 2))
    })

  @Test func `state that is loaded brings a reference of its own to dpo`() {
    var plan = tinyPlan(dropout: 0)
    plan.phases[1].kind = .dpo
    plan.phases[1].preference = .init()
    withReplica(plan) { replica in
      replica.enter(1)
      let before = replica.evaluate(Self.pairs)
      #expect(abs(before.lossSum - 2 * 0.693_147_180_559_945_3) < 1e-12, "policy and reference")
      let reference = replica[.reference].master
      for index in 0..<reference.count { reference[index] *= 1.5 }
      replica.repack()
      let after = replica.evaluate(Self.pairs)
      #expect(after.lossSum != before.lossSum)
      let other = Replica(plan: plan, engine: replica.engine, phaseIndex: 1)
      for (part, loaded) in zip(other.parts, replica.parts) { part.copy(from: loaded) }
      other.repack()
      #expect(other.evaluate(Self.pairs) == after)
    }
  }

  @Test(arguments: [ResolvedPlan.Phase.Kind.reward, .dpo])
  func `a tie is read and counted, and neither right nor wrong`(kind: ResolvedPlan.Phase.Kind) {
    var plan = tinyPlan(dropout: 0)
    plan.phases[1].kind = kind
    if kind == .dpo { plan.phases[1].preference = .init() }
    withReplica(plan) { replica in
      replica.enter(1)
      func found(_ slice: TokenSlice) -> (tokens: Double, figures: [String: Double]) {
        let sum = replica.evaluate(replica.prepared(slice))
        let figures = kind.figures(sum.measures, count: sum.tokenCount)
        return (sum.measures[Measures.tokens], figures)
      }
      var sequences = Self.pairs.sequences
      for index in 2..<4 { sequences[index].isTie = true }
      let (tied, whole) = (found(TokenSlice(sequences: sequences)), found(Self.pairs))
      #expect(tied.tokens == whole.tokens && tied.tokens >= 24)
      #expect(whole.figures["decided"] == 2 && whole.figures["ties"] == 0)
      var alone = found(TokenSlice(sequences: Array(sequences.prefix(2)))).figures
      alone["ties"] = 1
      #expect(tied.figures == alone && alone["decided"] == 1)
    }
  }

  @Test func `a cancelled slice returns nil`() {
    let plan = tinyPlan()
    withReplica(plan) { replica in
      let work = GradientWork(replica)
      work.begin(step: 0, slices: plan.slices(step: 0))
      var asked = 0
      let statistics = work.compute(
        plan.slice(0, step: 0), slice: 0, into: work.makeSum(),
        accumulate: false,
        isCancelled: {
          asked += 1
          return asked > 3
        }, finished: { _ in })
      #expect(statistics == nil)
    }
  }

  @Test func `the plan of memory knows the blocks of the head`() {
    #expect(MemoryPlan.headChunkTokenCount == Engine.headChunkTokenCount)
    #expect(MemoryPlan.headBlockTokenCount == Engine.headBlockTokenCount)
  }

  @Test func `the rows of a step are those of its slices, whatever the last step read`() {
    let plan = tinyPlan()
    withReplica(plan) { replica in
      let work = GradientWork(replica)
      let width = plan.model.modelWidth
      for step in [0, 5, 0] {
        let slices = plan.slices(step: step)
        work.begin(step: step, slices: slices)
        #expect(work.lookupCount == width * plan.touchedRows(step: step).count)
        let read = Set(slices[0].sequences.flatMap { $0.tokens.dropLast() })
        work.begin(step: step, slices: [slices[0]])
        #expect(work.lookupCount == width * read.count)
      }
      work.begin(step: 1, slices: [])
      #expect(work.lookupCount == 0)
    }
  }

  @Test func `evaluation has no dropout and repeats`() {
    let plan = tinyPlan(dropout: 0.5)
    withReplica(plan) { replica in
      let tokens = plan.slice(1, step: 4)
      let first = replica.evaluate(tokens)
      #expect(first == replica.evaluate(tokens))
      #expect(first.tokenCount == Int64(tokens.targetCount))
      // Fresh weights predict every token alike, within what deviation 0.02 lets logits differ.
      #expect(abs(first.lossSum / Double(first.tokenCount) - 4.26) < 0.1)
    }
  }

  @Test func `fresh weights have the deviation of the plan`() {
    withReplica(tinyPlan()) { replica in
      for parameter in replica.policy.layout.parameters {
        let values = replica.policy.master[parameter.range].array.map(Double.init)
        guard !parameter.role.isGain else {
          #expect(values.allSatisfy { $0 == 1 })
          continue
        }
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
        let isResidual = parameter.name.hasSuffix("o_proj.weight")
          || parameter.name.hasSuffix("down_proj.weight")
        let expected = isResidual ? 0.02 / 6.0.squareRoot() : 0.02
        // Standard errors for n values: sigma / sqrt(n), sigma / sqrt(2 n); four of them.
        let error = 4 / Double(values.count).squareRoot()
        #expect(abs(mean) < expected * error)
        #expect(abs(variance.squareRoot() / expected - 1) < error)
      }
    }
  }

  @Test func `normal draws follow the normal distribution's quantiles`() {
    let stream = RandomStream(seed: 1, purpose: 2)
    let draws = (0..<100_000).map { stream.normal(at: $0) }.sorted()
    // Known quantiles; a sample quantile's standard error at 1 % is 0.012, at the median 0.004.
    for (probability, expected) in [
      (0.01, -2.326348), (0.05, -1.644854), (0.5, 0), (0.975, 1.959964), (0.999, 3.090232),
    ] {
      #expect(abs(draws[Int(probability * 100_000)] - expected) < 0.06)
    }
    #expect(draws.allSatisfy { $0.magnitude < 6.4 })
  }
}
