import Settings
import System
import Telemetry
import Testing

/// Rounds of reward model and policy: what one learns of fresh answers, the next round builds on.
@Suite(.serialized) struct `Iterated rounds` {
  /// The operations of fresh are enter (23), rollout (24), two steps, rollout (27), two steps,
  /// validation (30).
  private static let text = """
    {
      "name": "iterated", "seed": 8, "dropout": 0.1,
      "model": { "layers": 2, "width": 60, "heads": 6, "key_value_heads": 2, "feed_forward": 164,
        "context": 48 },
      "batch": { "sequences": 16, "slices": 8, "microbatch": 2 },
      "tokenizer": { "kind": "bpe", "vocabulary": 611 },
      "data": { "source": "world", "documents": 400 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "sft", "steps": 12, "examples": { "count": 200 },
          "validation": { "every": 0, "tokens": 1024, "full_at_end": false } },
        { "kind": "reward", "steps": 4, "examples": { "count": 100 },
          "validation": { "every": 0, "tokens": 1024, "full_at_end": false } },
        { "kind": "ppo", "examples": { "count": 100 },
          "reinforcement": { "iterations": 1, "prompts": 16, "answer_tokens": 10, "epochs": 1 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false } },
        { "kind": "reward", "name": "fresh", "examples": { "count": 100 },
          "preference": { "pairs": "sampled" },
          "reinforcement": { "iterations": 2, "prompts": 16, "answer_tokens": 10 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false } },
        { "kind": "ppo", "name": "again", "examples": { "count": 100 },
          "reinforcement": { "iterations": 1, "prompts": 16, "answer_tokens": 10, "epochs": 1 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false } },
        { "kind": "dpo", "examples": { "count": 100 },
          "preference": { "pairs": "sampled" },
          "reinforcement": { "iterations": 1, "prompts": 16, "answer_tokens": 10,
            "judge": "model" },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false } },
      ],
      "checkpoints": { "every": 1, "keep": 3 },
    }
    """

  /// What one worker with one thread makes of it.
  private static let reference = try? withPlan(text) { run, plan in
    try RealCluster.outcome(run: run, plan: plan)
  }

  private func expectReference(_ cluster: RealCluster) throws {
    try cluster.expectEnd(of: Self.reference, lossCount: 12 + 4 + 1 + 4 + 1 + 2)
  }

  @Test(.timeLimit(.minutes(3)), arguments: [(2, 1), (3, 2)])
  func `give the same bits for any number of workers and threads`(
    workerCount: Int, threadCount: Int
  ) throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan, waitingFor: workerCount)
      for _ in 0..<workerCount { try cluster.addWorker(threads: threadCount) }
      try expectReference(cluster)
    }
  }

  /// In the rollouts that the reward model learns from, and between them.
  @Test(
    .timeLimit(.minutes(3)),
    arguments: ["mid-bucket-send@24", "mid-gather@27", "before-report@24", "before-report@26"])
  func `survive the death of one of three workers`(failpoint: String) throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan, waitingFor: 3)
      try cluster.addWorker()
      try cluster.addWorker(failpoint: failpoint)
      try cluster.addWorker()
      try expectReference(cluster)
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 137, 0])
    }
  }

  @Test(.timeLimit(.minutes(3))) func `go on from a checkpoint with fresh answers`() throws {
    try withPlan(Self.text) { run, plan in
      let first = try RealCluster(run: run, plan: plan)
      try first.addWorker(failpoint: "hang:before-report@28")
      #expect(first.waitForText("fresh-1"), "\(first.errors)")
      for process in first.workers + [first.coordinator] { process.signal(9) }
      _ = first.wait()
      let last = try RealCluster(run: run, plan: plan)
      try last.addWorker()
      try expectReference(last)
      #expect(last.errors.contains("resumed at position 2"), "\(last.errors)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func `tell how fresh answers are ranked`() throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan)
      try cluster.addWorker()
      try expectReference(cluster)
      let fresh = cluster.steps().filter { $0.phase == "fresh" }
      #expect(fresh.map { $0.extra["iteration"] } == [1, 1, 2, 2])
      for step in fresh {
        #expect((0..<1).contains(try #require(step.extra["fresh_ties"])))
        #expect((0...1).contains(try #require(step.extra["fresh_accuracy"])))
        // The policy stays, so it is as near to itself as can be.
        #expect(step.extra["kl"] == 0 && step.extra["kl_k3"] == 0)
        #expect(step.extra["length"] ?? 0 > 1)
      }
      // The steps of an iteration learn from all its pairs once.
      for pair in [fresh[0...1], fresh[2...3]] {
        func sum(_ name: String) -> Double { pair.reduce(0) { $0 + ($1.extra[name] ?? .nan) } }
        #expect(sum("ties") / (sum("ties") + sum("decided")) == pair.first?.extra["fresh_ties"])
      }
      let validated = try #require(fresh.last)
      #expect(validated.validationLoss != nil && validated.extra["validation_reward"] == nil)
      #expect(validated.extra["validation_ties"] != nil)
      #expect(cluster.errors.contains(", ranked rightly 0."))
      let judged = try #require(cluster.steps().last)
      #expect(judged.phase == "dpo" && judged.extra["reward"] != nil)
    }
  }
}
