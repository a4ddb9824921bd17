import Planning
import Settings
import Tensors
import Testing

@Suite struct `FLOPs` {
  @Test(arguments: [
    (ModelPreset.tiny, 7.96), (.small, 89.7), (.medium, 229.6), (.gpt2, 717.2),
  ])
  func `agree with the yardstick's figures`(preset: ModelPreset, millions: Double) {
    let flops = ModelFlops(preset.model)
    #expect((flops.perToken / 1e6 - millions).magnitude < 0.06)
    #expect(flops.perTokenCausal < flops.perToken)
    #expect(flops.perTokenForwardCausal * 3 == flops.perTokenCausal)
  }

  @Test func `the formula can be checked with a calculator`() {
    let flops = ModelFlops(ModelPreset.tiny.model)
    #expect(
      flops.formula
        == "6 x 1064960 matmul parameters + 12 x 4 layers x 128 x 256 (PaLM; causal: 6 for 12)")
    #expect(flops.perToken == 6 * 1_064_960 + 12 * 4 * 128 * 256)
    #expect(flops.perTokenCausal == 6 * 1_064_960 + 6 * 4 * 128 * 256)
  }

  @Test func `an untied look-up costs nothing and an untied head the same as a tied one`() {
    var shape = ModelPreset.tiny.model
    let tied = ModelFlops(shape).perToken
    shape.isHeadTied = false
    #expect(ModelFlops(shape).perToken == tied)
  }
}

/// The policy of story.json, 154,020 matmul parameters, by hand as in docs/mfu.md; a model that
/// scores has 117,420. A token costs a third of each forward.
@Suite struct `Cost of a phase` {
  private static let policy = 6.0 * 154_020 + 103_680, score = 6.0 * 117_420 + 103_680

  private func lastCost(_ phases: String) throws -> PhaseCost {
    let text = """
      { "model": { "layers": 3, "width": 60, "heads": 6, "key_value_heads": 2,
          "feed_forward": 164, "context": 48 },
        "batch": { "sequences": 16, "slices": 8, "microbatch": 2 },
        "tokenizer": { "vocabulary": 611 },
        "phases": [ { "kind": "tokenizer" }, { "kind": "pretrain", "steps": 5 }, \(phases) ] }
      """
    let plan = try plan(text)
    return PhaseCost(plan, phase: plan.phases.count - 1)
  }

  @Test func `is six for each parameter that learns`() throws {
    for kind in ["sft", "pretrain", "reward"] {
      let cost = try lastCost(#"{ "kind": "\#(kind)", "name": "x", "steps": 10 }"#)
      #expect(cost.training.tokenCount == 10 * 16 * 48)
      #expect(cost.training.flops == 7680 * (kind == "reward" ? Self.score : Self.policy))
      #expect(cost.flops == cost.training.flops)
    }
  }

  @Test func `of dpo has two for the reference, the first time that a pair is met`() throws {
    let few = try lastCost(#"{ "kind": "dpo", "steps": 8, "examples": { "count": 20 } }"#)
    #expect(few.training.flops == 8 * 16 * 48 * Self.policy)
    #expect(few.reference.tokenCount == 2 * 20 * 48, "20 pairs, met three times")
    #expect(few.reference.flops == 1920 * Self.policy / 3)
    let many = try lastCost(#"{ "kind": "dpo", "steps": 8 }"#)
    #expect(many.reference.tokenCount == 8 * 16 * 48)
  }

  @Test func `of ppo has an epoch for policy and value, and rollouts apart`() throws {
    let cost = try lastCost(
      """
      { "kind": "reward", "steps": 1 }, { "kind": "ppo",
        "reinforcement": { "iterations": 2, "prompts": 32, "answer_tokens": 10, "epochs": 3 } }
      """)
    // 2 iterations x 3 epochs x 32 answers of 48 tokens, prompts included.
    #expect(cost.training.tokenCount == 2 * 3 * 32 * 48)
    #expect(cost.training.flops == 9216 * (Self.policy + Self.score))
    #expect(cost.drawing.tokenCount == 2 * 32 * 48)
    #expect(cost.drawing.flops == 3072 * Self.policy / 3)
    // The reference, the reward model and the value model.
    #expect(abs(cost.judging.flops - 3072 * (Self.policy + 2 * Self.score) / 3) < 1)
    #expect(cost.reference.flops == 0)
  }

  @Test func `of answers that a rule judges has the reference alone beside the policy`() throws {
    let cost = try lastCost(
      #"{ "kind": "grpo", "reinforcement": { "iterations": 2, "prompts": 16, "answers": 2 } }"#)
    #expect(cost.training.flops == 2 * 32 * 48 * Self.policy)
    #expect(cost.judging == cost.drawing)
    let pairs = try lastCost(
      """
      { "kind": "dpo", "preference": { "pairs": "sampled" },
        "reinforcement": { "iterations": 2, "prompts": 16, "epochs": 2, "judge": "rule" } }
      """)
    #expect(pairs.training.flops == 2 * 2 * 32 * 48 * Self.policy)
    #expect(pairs.reference == pairs.drawing && pairs.judging == pairs.drawing)
  }

  @Test func `of fresh pairs has the reward model's own ranking of them`() throws {
    let cost = try lastCost(
      """
      { "kind": "reward", "preference": { "pairs": "sampled" },
        "reinforcement": { "iterations": 2, "prompts": 16, "answers": 4, "epochs": 2 } }
      """)
    #expect(cost.training.flops == 2 * 2 * 64 * 48 * Self.score)
    #expect(cost.drawing.flops == 2 * 64 * 48 * Self.policy / 3)
    #expect(cost.judging.flops == 2 * 64 * 48 * Self.score / 3)
    #expect(cost.reference.flops == 0)
  }
}

@Suite struct `Memory plan` {
  @Test func `a worker holds one buffer per node under way, and the sum where there are others`() {
    func count(_ slices: Range<Int>, of sliceCount: Int, joins: Bool) -> Int {
      MemoryPlan.bufferCount(slices: slices, sliceCount: sliceCount, joinsLeaves: joins)
    }
    #expect(count(0..<1, of: 8, joins: false) == 1)
    #expect(count(0..<2, of: 8, joins: false) == 2)
    #expect(count(0..<2, of: 8, joins: true) == 1)
    #expect(count(0..<4, of: 4, joins: false) == 3)
    #expect(count(0..<4, of: 4, joins: true) == 2)
    #expect(count(0..<8, of: 8, joins: false) == 4)
    #expect(count(0..<8, of: 8, joins: true) == 3)
    #expect(count(3..<6, of: 8, joins: true) == 2)
  }

  @Test func `every item is positive and their sum is the total`() throws {
    let plan = try benchmark(.small)
    for workers in [1, 2, 3, 4] {
      let plans = MemoryPlan.workers(plan: plan, workerCount: workers, threadCount: 2)
      #expect(plans.count == workers)
      for memory in plans {
        #expect(memory.items.allSatisfy { $0.byteCount > 0 && !$0.rule.isEmpty })
        #expect(memory.byteCount == memory.items.reduce(0) { $0 + $1.byteCount })
      }
    }
    let six = MemoryPlan.workers(plan: plan, workerCount: 6, threadCount: 1)
    #expect(six.count == 6)
    #expect(six.filter(\.slices.isEmpty).count == 2)
    for idle in six where idle.slices.isEmpty {
      #expect(idle.items.allSatisfy { $0.byteCount > 0 })
      #expect(
        idle.items.first { $0.name == "gradients" }?.rule == "4 per parameter x 1 (0 held)",
        "a worker on standby gets the sums")
    }
  }

  /// (16 + 4 (subtrees held + 1)) bytes per parameter, 34 d + 8 f bytes per token and layer of a
  /// micro-batch, and 64 MiB. Subtrees held: most at one time.
  @Test(arguments: [ModelPreset.small, .gpt2], [1, 3])
  func `stays within the bound that workers promise`(preset: ModelPreset, workers: Int) throws {
    let plan = try benchmark(preset)
    let model = plan.model
    let parameters = ParameterLayout(model).parameterCount
    for memory in MemoryPlan.workers(plan: plan, workerCount: workers, threadCount: 2) {
      let tree = SliceTree(sliceCount: plan.batch.slices)
      let held = tree.nodes(covering: memory.slices).count
      let tokens = plan.batch.microbatch * model.sequenceLength
      let perToken = model.layerCount * (34 * model.modelWidth + 8 * model.feedForwardWidth)
      let bound = (16 + 4 * (held + 1)) * parameters + tokens * perToken + 64 << 20
      #expect(memory.byteCount <= bound, "\(memory.items)")
    }
  }
}

@Suite struct `Bytes on the wire` {
  @Test func `one worker sends nothing`() throws {
    let wire = WireBytes(plan: try benchmark(.tiny), workerCount: 1)
    #expect((wire.steps + wire.rollouts).allSatisfy { $0.sentInAll == 0 })
  }

  @Test func `each rank sends its nodes' parts to their owners and its sum to all`() throws {
    let plan = try benchmark(.tiny)
    func sent(_ workers: Int) -> WireBytes.Exchange {
      WireBytes(plan: plan, workerCount: workers).policy
    }
    let elements = sent(1).elementCount
    // One node each: half of it goes to the other, and half of the sum too.
    #expect(sent(2).sentByWorker == [4 * elements, 4 * elements])
    // Three nodes less what their owners keep, and each sum twice.
    #expect(sent(3).sentByWorker.count == 3 && sent(3).sentInAll == 4 * elements * (3 - 1 + 2))
    let many = sent(9)
    #expect(many.sentByWorker.count == 9)
    // Four nodes less four ninths of them, and each sum eight times: those on standby add too.
    let share = Double(many.sentInAll) / Double(4 * elements)
    #expect(abs(share - (4 - 4.0 / 9 + 8)) < 1e-3)
    #expect(abs(Double(many.sentByWorker[8]) / Double(4 * elements) - 8.0 / 9) < 1e-2)
  }

  @Test func `a bucket is cut so that a segment starts at whole vectors`() {
    for (count, workers) in [(1, 3), (16, 2), (100, 3), (1 << 20, 7), (33, 32)] {
      let bucket = 5..<5 + count
      let segments = (0..<workers).map { BucketPlan.segment(of: $0, among: workers, in: bucket) }
      #expect(segments.flatMap(Array.init) == Array(bucket))
      #expect(segments.dropLast().allSatisfy { $0.isEmpty || ($0.lowerBound - 5) % 16 == 0 })
    }
  }

  @Test func `a step exchanges what its phase trains, a rollout the rows of its answers`() throws {
    let plan = try plan(
      """
      { "shape": "tiny", "batch": { "sequences": 16, "slices": 4, "microbatch": 2 },
        "phases": [
          { "kind": "tokenizer" }, { "kind": "pretrain", "steps": 10 }, { "kind": "evaluate" },
          { "kind": "sft", "lora": { "rank": 4 } }, { "kind": "reward", "steps": 10 },
          { "kind": "ppo",
            "reinforcement": { "iterations": 1, "prompts": 16, "answer_tokens": 50 } } ] }
      """)
    let wire = WireBytes(plan: plan, workerCount: 2)
    let lookup = plan.lookupRowCountMax * plan.model.modelWidth
    let policy = ParameterLayout(plan.model).count + lookup
    let score = ParameterLayout(plan.model, head: .score).denseCount + lookup
    let adapter = try #require(plan.phases[3].lora)
    #expect(
      wire.steps.map(\.elementCount)
        == [
          0, policy, 0, ParameterLayout(plan.model, adapter: adapter).count, score, policy + score,
        ])
    #expect(wire.policy == wire.steps[1])
    let row = 8 + (plan.model.sequenceLength + 1) + 5 * 50
    #expect(wire.rollouts.map(\.elementCount) == [0, 0, 0, 0, 0, 16 * row])
    #expect(wire.rollouts[5].sentByWorker == [4 * 16 * row, 4 * 16 * row])
  }
}

@Suite struct `Time estimate` {
  @Test func `doubles with half the peak and counts the largest share`() throws {
    let plan = try benchmark(.small)
    func time(_ peak: Double, _ workers: Int) -> TimeEstimate {
      TimeEstimate(
        plan: plan, workerCount: workers, threadCount: 1,
        assumptions: .init(peakPerThread: peak, linkBytesPerSecond: 1e12))
    }
    #expect(time(100, 1).computeSeconds == 2 * time(200, 1).computeSeconds)
    #expect(time(100, 3).computeSeconds == time(100, 2).computeSeconds, "3 workers, 4 slices")
    #expect(time(100, 1).tokenCount == plan.phases[1].steps * 4096)
    #expect(time(100, 1).totalSeconds > Double(plan.phases[1].steps) * time(100, 1).computeSeconds)
  }

  @Test func `counts what each phase computes, rollouts apart`() throws {
    let plan = try plan(
      """
      { "shape": "tiny", "batch": { "sequences": 16, "slices": 4, "microbatch": 2 },
        "phases": [
          { "kind": "tokenizer" }, { "kind": "pretrain", "steps": 10 },
          { "kind": "reward", "steps": 10 },
          { "kind": "ppo", "reinforcement": { "iterations": 1, "epochs": 1 } } ] }
      """)
    let time = TimeEstimate(
      plan: plan, workerCount: 2, threadCount: 3,
      assumptions: .init(peakPerThread: 100, efficiency: 0.25, linkBytesPerSecond: 1e12))
    let costs = plan.phases.indices.map { PhaseCost(plan, phase: $0) }
    // Half of the slices on 3 threads of 25 GFLOP/s.
    func seconds(_ flops: Double) -> Double { flops / 2 / 75e9 }
    #expect(abs(time.phases[1].steps / (10 * time.computeSeconds) - 1) < 1e-9)
    #expect(abs(time.phases[3].steps / seconds(costs[3].training.causalFlops) - 1) < 1e-9)
    let rollouts = costs[3].drawing.causalFlops + costs[3].judging.causalFlops
    let wire = WireBytes(plan: plan, workerCount: 2)
    let sent = Double(wire.rollouts[3].sentMax)
    #expect(abs(time.phases[3].rollouts / (seconds(rollouts) + sent / 1e12) - 1) < 1e-9)
    // With a slow link arithmetic hides behind the exchange of steps, but not of answers.
    let slow = TimeEstimate(
      plan: plan, workerCount: 2, threadCount: 3,
      assumptions: .init(peakPerThread: 100, efficiency: 0.25, linkBytesPerSecond: 1e3))
    let steps = Double(plan.phases[3].steps * wire.steps[3].sentMax)
    #expect(abs(slow.phases[3].steps / (steps / 1e3) - 1) < 1e-9)
    #expect(abs(slow.phases[3].rollouts / (seconds(rollouts) + sent / 1e3) - 1) < 1e-9)
    #expect(time.phases[0].total == 0 && time.phases[2].rollouts == 0)
    #expect(abs(time.totalSeconds / time.phases.reduce(0) { $0 + $1.total } - 1) < 1e-9)
  }
}

@Suite struct `Numbers in reports` {
  @Test func `are written as people read them`() {
    #expect(Figures.grouped(13_767_552) == "13,767,552")
    #expect(Figures.grouped(-1000) == "-1,000")
    #expect(Figures.grouped(0) == "0")
    #expect(Figures.fixed(3.14159, 2) == "3.14")
    #expect(Figures.fixed(-0.004, 2) == "0.00")
    #expect(Figures.fixed(9.999, 2) == "10.00")
    #expect(Figures.fixed(.infinity, 2) == "inf")
    #expect(Figures.short(717_225_984) == "717 M")
    #expect(Figures.short(89_653_248) == "89.7 M")
    #expect(Figures.short(7_962_624) == "7.96 M")
    #expect(Figures.short(42) == "42")
    #expect(Figures.bytes(1536) == "1.5 KiB")
    #expect(Figures.bytes(3 << 30) == "3.00 GiB")
    #expect(Figures.duration(seconds: 0.0042) == "4.2 ms")
    #expect(Figures.duration(seconds: 0.5) == "0.5 s")
    #expect(Figures.duration(seconds: 200) == "3 min 20 s")
    #expect(Figures.duration(seconds: 7500) == "2 h 05 min")
    #expect(Figures.duration(seconds: 400_000) == "4 d 15 h")
    #expect(
      Figures.table([["a", "1", "x"], ["bb", "10", "y"]], right: [1])
        == ["a    1  x", "bb  10  y"])
  }
}
