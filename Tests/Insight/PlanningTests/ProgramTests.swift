import Planning
import Settings
import Tensors
import Testing

/// The operations one after the other, as a loop would do them.
private func unrolled(_ plan: ResolvedPlan) -> [Planning.Operation] {
  var found: [Planning.Operation] = []
  for (index, phase) in plan.phases.enumerated() where phase.kind != .tokenizer {
    if !found.isEmpty { found.append(.enter(phase: index)) }
    let perIteration = phase.reinforcement?.stepsPerIteration(plan.batch)
    for step in 0..<phase.steps {
      if let perIteration, step % perIteration == 0 {
        found.append(.rollout(phase: index, iteration: step / perIteration))
      }
      found.append(.train(phase: index, step: step))
      let done = step + 1
      if phase.validation.every > 0, done % phase.validation.every == 0, done < phase.steps {
        found.append(.validate(phase: index, afterStep: done, isFull: false))
      }
    }
    found.append(
      .validate(
        phase: index, afterStep: phase.steps, isFull: phase.validation.isFullAtEnd))
  }
  return found
}

@Suite struct `Phase program` {
  @Test(arguments: [1, 2, 7, 10, 40], [0, 1, 3, 10, 100])
  func `gives every position the operation that a loop would do`(steps: Int, every: Int) throws {
    let plan = try plan(
      """
      { "phases": [ {"kind": "tokenizer"},
        {"kind": "pretrain", "steps": \(steps), "validation": {"every": \(every)}},
        {"kind": "evaluate"},
        {"kind": "pretrain", "name": "again", "steps": 3,
          "validation": {"every": 2, "full_at_end": false}} ],
        "checkpoints": {"every": 4} }
      """)
    let program = PhaseProgram(plan)
    let expected = unrolled(plan)
    #expect(program.operationCount == expected.count)
    #expect((0..<expected.count).map(program.operation) == expected)
    #expect(program.operation(at: expected.count) == .end)
    #expect(program.firstPhaseIndex == 1)
    for (position, operation) in expected.enumerated() {
      guard case .train(let phase, let step) = operation else { continue }
      #expect(program.position(afterStep: step, ofPhase: phase) == position + 1)
      #expect(program.progress(at: position + 1) == (phase, step + 1))
    }
    let entries = expected.indices.filter { expected[$0] == .enter(phase: 2) }
    for entry in entries {
      #expect(program.progress(at: entry) == (1, steps))
      #expect(program.progress(at: entry + 1) == (2, 0))
      #expect(program.lastPosition(ofPhaseAt: entry - 1) == entry - 1)
      #expect(program.lastPosition(ofPhaseAt: 0) == entry - 1)
    }
    #expect(program.position(afterStep: steps, ofPhase: 1) == nil)
  }

  @Test(arguments: [1, 2, 5].flatMap { i in [(i, 1), (i, 3)] }, [0, 1, 4, 6])
  func `of a phase that samples has a rollout before every iteration`(
    rounds: (iterations: Int, epochs: Int), every: Int
  ) throws {
    let (iterations, epochs) = rounds
    let plan = try plan(
      """
      { "batch": {"sequences": 8, "slices": 2, "microbatch": 2}, "phases": [
        {"kind": "tokenizer"}, {"kind": "sft", "steps": 2},
        {"kind": "reward", "steps": 3}, {"kind": "ppo", "validation": {"every": \(every)},
          "reinforcement": {"iterations": \(iterations), "epochs": \(epochs), "prompts": 16}},
        {"kind": "evaluate"} ] }
      """)
    let program = PhaseProgram(plan)
    let expected = unrolled(plan)
    #expect(plan.phases[3].steps == iterations * epochs * 2)
    #expect((0..<expected.count).map(program.operation) == expected)
    #expect(program.operationCount == expected.count)
    for (position, operation) in expected.enumerated() {
      switch operation {
      case .train(let phase, let step):
        #expect(program.position(afterStep: step, ofPhase: phase) == position + 1)
      case .rollout(let phase, let iteration):
        #expect(program.progress(at: position + 1) == (phase, iteration * epochs * 2))
      default: break
      }
    }
  }

  @Test func `with a gap tells the steps that were taken, not those of the plan`() throws {
    let plan = try plan(
      """
      { "phases": [ {"kind": "tokenizer"},
        {"kind": "pretrain", "steps": 9, "validation": {"every": 4}}, {"kind": "anneal"} ] }
      """)
    // t t t t v t t t t v t v, enter: the first validation closes a gate.
    var program = PhaseProgram(plan)
    program.gaps[11] = 5
    #expect(program.operation(at: 11) == .validate(phase: 1, afterStep: 4, isFull: true))
    #expect(program.progress(at: 11) == (1, 4) && program.progress(at: 12) == (1, 4))
    #expect(program.progress(at: 13) == (2, 0) && program.progress(at: 4) == (1, 4))
    #expect((0..<13).filter { program.endOfGap(at: $0) == 11 } == Array(5..<11))
    #expect(program.stepsTaken == [1: 4] && program.stepCount(from: 0, to: 13) == 4)
    var other = PhaseProgram(plan)
    other.end(phase: 1, afterSteps: 4)
    #expect(other.gaps == [11: 4] && other.stepsTaken == [1: 4])
    other.end(phase: 1, afterSteps: 12)
    #expect(other.gaps == [11: 4])
    other.forgetGaps(after: 11)
    #expect(other.gaps == [11: 4])
    other.forgetGaps(after: 10)
    #expect(other == PhaseProgram(plan))
  }

  @Test func `checkpoints are due every so many steps and at the end of each phase`() throws {
    let plan = try plan(
      """
      { "phases": [ {"kind": "tokenizer"},
        {"kind": "pretrain", "steps": 9, "validation": {"every": 4}} ],
        "checkpoints": {"every": 4} }
      """)
    // t t t t v t t t t v t v: after the 4th step, after the 8th (position 9), at the end.
    #expect(PhaseProgram(plan).checkpointPositions == [4, 9, 12])
    #expect(PhaseProgram(plan).phaseEnds == [12])
  }
}

@Suite struct `Models of a phase` {
  @Test func `have the reward model as long as anybody asks it or trains it further`() throws {
    let plan = try plan(
      """
      { "batch": {"sequences": 8, "slices": 2, "microbatch": 2}, "phases": [
        {"kind": "tokenizer"}, {"kind": "sft", "steps": 2}, {"kind": "reward", "steps": 3},
        {"kind": "grpo"}, {"kind": "reward", "name": "fresh", "preference": {"pairs": "sampled"}},
        {"kind": "dpo", "steps": 2}, {"kind": "reward", "name": "other", "steps": 3} ] }
      """)
    func roles(_ phase: Int) -> [ModelRole] {
      plan.stateLayout(inPhase: phase).models.filter { $0.role == .reward }.map(\.role)
    }
    #expect((1...6).map { !roles($0).isEmpty } == [false, true, true, true, false, true])
    let fresh = plan.stateLayout(inPhase: 4)
    #expect(fresh.models.filter(\.isTrained).map(\.role) == [.reward])
    #expect(fresh.rolloutCount == plan.rolloutShape(ofPhase: 4)?.count)
    #expect(plan.phases[4].reinforcement?.judge == .rule)
    #expect(plan.phases[4].reinforcement?.answers == 2)
    #expect(try ResolvedPlan(planJSON: plan.planJSON()) == plan)
  }
}

@Suite struct `Bucket plan` {
  @Test(arguments: ModelPreset.allCases, [true, false])
  func `cuts every gradient once, in order, none above 4 MiB and none across a layer`(
    preset: ModelPreset, isTied: Bool
  ) {
    var shape = preset.model
    shape.isHeadTied = isTied
    let layout = ParameterLayout(shape)
    let lookup = 2048 * shape.modelWidth
    let buckets = BucketPlan.buckets(layout: layout, lookupCount: lookup)
    #expect(buckets.last == layout.count..<layout.count + lookup)
    #expect(buckets.first?.lowerBound == 0)
    for (left, right) in zip(buckets.dropLast(), buckets.dropFirst().dropLast()) {
      #expect(left.upperBound == right.lowerBound)
    }
    #expect(buckets.dropLast().allSatisfy { $0.count <= BucketPlan.elementCountMax + 16 })
    #expect(buckets.allSatisfy { $0.lowerBound % 16 == 0 })
    let dense = isTied ? layout.count : layout[.embedding].offset
    #expect(buckets.dropLast().last?.upperBound == dense)
    for layer in 0..<shape.layerCount {
      let range = layout.range(ofLayer: layer)
      #expect(
        buckets.allSatisfy { $0.clamped(to: range).isEmpty || range.contains($0.lowerBound) })
    }
  }
}

@Suite struct `Slice tree` {
  @Test(arguments: [1, 2, 3, 5, 7, 8, 11])
  func `deals every slice once, the largest share as small as can be`(workerCount: Int) {
    let tree = SliceTree(sliceCount: 8)
    let runs = tree.deal(workerCount: workerCount)
    #expect(runs.count == workerCount)
    #expect(runs.flatMap { Array($0) } == Array(0..<8))
    let active = min(workerCount, 8)
    #expect(runs.map(\.count).max() == (8 + active - 1) / active)
  }

  @Test func `covering nodes are whole subtrees`() {
    let tree = SliceTree(sliceCount: 8)
    #expect(tree.nodes(covering: 0..<8) == [tree.root])
    #expect(
      tree.nodes(covering: 1..<6) == [
        .leaf(1), SliceNode(level: 1, index: 1), SliceNode(level: 1, index: 2),
      ])
    #expect(tree.nodes(covering: 3..<3).isEmpty)
  }
}
