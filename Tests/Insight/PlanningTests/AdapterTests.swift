import Planning
import Settings
import Tensors
import Testing

@Suite struct `Adapters in a plan` {
  private static let choice = AdapterChoice(rank: 4, alpha: 8, targets: [.query, .gate])

  private func plan(
    _ first: String = #"{ "kind": "pretrain", "steps": 5 }"#
  ) throws -> ResolvedPlan {
    try PlanningTests.plan(
      """
      { "model": { "layers": 3, "width": 60, "heads": 6, "key_value_heads": 2,
          "feed_forward": 164, "context": 48 },
        "batch": { "sequences": 16, "slices": 8, "microbatch": 2 },
        "tokenizer": { "vocabulary": 611 },
        "phases": [ { "kind": "tokenizer" }, \(first),
          { "kind": "sft", "steps": 10, "lora": { "rank": 4, "targets": ["query", "gate"] } },
          { "kind": "evaluate" }, { "kind": "dpo", "steps": 2 } ] }
      """)
  }

  @Test func `are trained beside a frozen policy and what it was`() throws {
    let plan = try plan()
    let layout = plan.stateLayout(inPhase: 2)
    #expect(
      layout.parts == [
        .master(.policy), .master(.reference), .master(.adapter), .firstMoment(.adapter),
        .secondMoment(.adapter),
      ])
    #expect(layout.adapter == Self.choice && layout.changesPolicy)
    #expect(plan.stateLayout(inPhase: 3) == layout)
    #expect(plan.stateLayout(inPhase: 4).adapter == nil)
    #expect(plan.stateLayout(inPhase: 1) == StateLayout(training: plan.model))
  }

  @Test func `need no moments of the policy, not even where they are trained first`() throws {
    let plan = try plan(#"{ "kind": "evaluate", "name": "before" }"#)
    #expect(plan.stateLayout(inPhase: 1).parts == [.master(.policy)])
    #expect(plan.stateLayout(inPhase: 2) == (try self.plan()).stateLayout(inPhase: 2))
  }

  /// In flat order, A before B: what the backward pass finishes first stands first.
  @Test func `lie in the order of their matrices`() {
    let layout = ParameterLayout(ModelPreset.tiny.model, adapter: Self.choice)
    #expect(layout.parameters.count == 4 * 2 * 2)
    #expect(
      layout.parameters.prefix(4).map(\.name) == [
        "model.layers.3.mlp.gate_proj.lora_A.weight", "model.layers.3.mlp.gate_proj.lora_B.weight",
        "model.layers.3.self_attn.q_proj.lora_A.weight",
        "model.layers.3.self_attn.q_proj.lora_B.weight",
      ])
    let forward = ModelPreset.tiny.model.feedForwardWidth
    #expect(layout.parameters.prefix(2).map(\.shape) == [[4, 128], [forward, 4]])
    #expect(layout.denseCount == layout.count)
    let buckets = BucketPlan.buckets(layout: layout, lookupCount: 0)
    #expect(buckets.first?.lowerBound == 0 && buckets.last?.upperBound == layout.count)
    for (bucket, next) in zip(buckets, buckets.dropFirst()) {
      #expect(bucket.upperBound == next.lowerBound)
    }
  }

  /// By hand, see docs/mfu.md: N = 154,020 and 12 L A T = 103,680. A layer's adapters have
  /// 4 x (60 + 60) + 4 x (60 + 164) = 1,376 parameters.
  @Test func `cost four for each frozen parameter and six for each of their own`() throws {
    let plan = try plan()
    let perToken = 4.0 * 154_020 + 6 * 3 * 1_376 + 103_680
    let flops = PhaseFlops(plan, phase: 2)
    #expect(flops.perToken == perToken)
    #expect(flops.perTokenCausal == perToken - 51_840)
    #expect(
      flops.formula.hasPrefix("4 x 154020 matmul parameters + 6 x 4128 of adapters + 12 x 3"))
    #expect(PhaseCost(plan, phase: 2).training.flops == 10 * 16 * 48 * perToken)
  }

  @Test func `take less memory than all weights, and every item is positive`() throws {
    let plan = try plan()
    func memory(_ phase: Int) -> MemoryPlan {
      MemoryPlan(
        plan: plan, state: plan.stateLayout(inPhase: phase), slices: 0..<8, workerCount: 1,
        threadCount: 2)
    }
    let (all, adapted) = (memory(1), memory(2))
    #expect(adapted.byteCount < all.byteCount)
    #expect(adapted.items.allSatisfy { $0.byteCount > 0 })
    let layout = plan.stateLayout(inPhase: 2)
    #expect(
      adapted.items[0].byteCount
        == 4 * (2 * layout[.policy].layout.count + 3 * layout[.adapter].layout.count))
  }

  @Test func `are shown by cox plan`() throws {
    let text = try plan().planJSON()
    let resolution = try PlanResolver.resolve(text: text, path: "p.json")
    let report = PlanReport(resolution, on: .init(workerCount: 1, threadCount: 1))
    let line = report.summaryLines.first { $0.contains("adapters beside") } ?? ""
    #expect(line.contains("trains 4,128 parameters of adapters beside 154,440 frozen ones"))
    #expect(line.contains("MiB per worker"))
    #expect(report.json.jsonText().contains("\"trainable_parameters\": 4128"))
  }
}
