import Settings
import System
import Telemetry
import Testing

/// Phases that gates end: after a validation, after an update, after a rollout.
@Suite(.serialized) struct `Gates` {
  /// The first step of ppo still has the reference's policy, the second does not.
  private static let plan = """
    {
      "name": "gates", "seed": 6, "dropout": 0.1, "checkpoints": { "every": 4 },
      "model": { "layers": 2, "width": 40, "heads": 4, "key_value_heads": 2, "context": 48 },
      "batch": { "sequences": 8, "slices": 4, "microbatch": 2 },
      "tokenizer": { "kind": "bpe", "vocabulary": 420 },
      "data": { "source": "world", "documents": 100 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "sft", "steps": 12, "examples": { "count": 60 },
          "validation": { "every": 6, "tokens": 512 }, "gates": { "validation_loss": 20 } },
        { "kind": "reward", "steps": 4, "examples": { "count": 40 },
          "validation": { "every": 0, "tokens": 512, "full_at_end": false } },
        { "kind": "ppo", "examples": { "count": 40 },
          "schedule": { "kind": "constant", "peak": 1e-3, "warmup": 0 },
          "reinforcement": { "iterations": 2, "prompts": 16, "answer_tokens": 8, "epochs": 2 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false },
          "gates": { "divergence": 1e-9 } },
        { "kind": "grpo", "examples": { "count": 40 },
          "reinforcement": { "iterations": 2, "prompts": 8, "answers": 2, "answer_tokens": 8 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false },
          "gates": { "reward": -1000 } },
        { "kind": "grpo", "name": "long", "examples": { "count": 40 },
          "reinforcement": { "iterations": 2, "prompts": 8, "answers": 2, "answer_tokens": 8 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false },
          "gates": { "length": 0.5 } },
        { "kind": "grpo", "name": "sure", "examples": { "count": 40 },
          "reinforcement": { "iterations": 2, "prompts": 8, "answers": 2, "answer_tokens": 8 },
          "validation": { "every": 0, "tokens": 256, "full_at_end": false },
          "gates": { "entropy": 900 } },
        { "kind": "pretrain", "steps": 2, "validation": { "every": 0, "tokens": 512 } },
      ],
    }
    """
  /// What is said when a gate closes, in their order.
  private static let reasons = [
    "the validation loss", "the divergence from the reference", "the reward", "the length",
    "the entropy",
  ]

  /// Runs the plan; returns what it came to.
  private func outcome(
    workerCount: Int, isCoordinatorKilled: Bool = false
  ) throws -> RealCluster.Outcome {
    var outcome: RealCluster.Outcome?
    try withRunFolder { run in
      try Files.createDirectory(run)
      let plan = "\(run)/plan.json"
      try Files.write(Self.plan, to: plan)
      var cluster = try RealCluster(run: run, plan: plan, waitingFor: workerCount)
      let first = cluster
      for _ in 0..<workerCount { try first.addWorker() }
      for reason in Self.reasons where isCoordinatorKilled {
        #expect(cluster.waitForText(": \(reason) "), "\(cluster.errors)")
        cluster.coordinator.signal(9)
        _ = cluster.wait()
        cluster = try RealCluster(
          run: run, plan: plan, waitingFor: workerCount, listen: first.address)
      }
      #expect(cluster.wait() == 0, "\(cluster.errors)")
      #expect(first.workers.map { exitCode(of: $0) } == first.workers.map { _ in 0 })
      // Six of twelve steps, two of eight, none.
      let counts = ["sft", "reward", "ppo", "grpo", "long", "sure", "pretrain"].map { phase in
        cluster.steps().count { $0.phase == phase && !$0.loss.isNaN }
      }
      #expect(counts == [6, 4, 2, 0, 0, 0, 2])
      let ledger = fileText("\(run)/ledger.log")
      #expect(ledger.split(separator: "\"gateClosed\"").count == 6, "each closes once")
      #expect(ledger.split(separator: "\"opened\"").count == (isCoordinatorKilled ? 7 : 2))
      var found = cluster.outcome
      // The validation that ends a phase early has a record without a step.
      found.losses.removeAll(where: \.isNaN)
      found.norms.removeAll(where: \.isNaN)
      outcome = found
    }
    return try #require(outcome)
  }

  @Test(.timeLimit(.minutes(5)))
  func `end their phases alike for any workers, and through deaths of the coordinator`() throws {
    let alone = try outcome(workerCount: 1)
    #expect(alone.digest.count == 64)
    #expect(try outcome(workerCount: 2) == alone)
    #expect(try outcome(workerCount: 1, isCoordinatorKilled: true) == alone)
    #expect(try outcome(workerCount: 2, isCoordinatorKilled: true) == alone)
  }
}
