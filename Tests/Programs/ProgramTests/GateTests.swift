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
      func ledgerCount(_ kind: String) -> Int {
        fileText("\(run)/ledger.log").split(separator: "\"\(kind)\"").count - 1
      }
      for (index, reason) in Self.reasons.enumerated() where isCoordinatorKilled {
        #expect(cluster.waitForText(": \(reason) "), "\(cluster.errors)")
        cluster.coordinator.signal(9)
        _ = cluster.wait()
        cluster = try RealCluster(
          run: run, plan: plan, waitingFor: workerCount, listen: first.address)
        // It listens before, and the next gate may have closed under the one before it.
        #expect(eventually { ledgerCount("opened") == index + 2 })
      }
      #expect(cluster.wait() == 0, "\(cluster.errors)")
      #expect(first.workers.map { exitCode(of: $0) } == first.workers.map { _ in 0 })
      // Six of twelve steps, two of eight, none.
      let steps = cluster.steps()
      let counts = ["sft", "reward", "ppo", "grpo", "long", "sure", "pretrain"].map { phase in
        steps.count { $0.phase == phase }
      }
      #expect(counts == [6, 4, 2, 0, 0, 0, 2])
      #expect(steps.allSatisfy { $0.loss.isFinite && !$0.nodes.isEmpty && $0.mfuMeasured != nil })
      let ended = cluster.records().filter(\.isValidated).map { "\($0.phase)-\($0.step)" }
      #expect(
        ended == [
          "sft-6", "reward-4", "ppo-2", "grpo-0", "long-0", "sure-0", "pretrain-2",
        ])
      checkViews(of: run)
      #expect(ledgerCount("gateClosed") == 5, "each closes once")
      outcome = cluster.outcome
    }
    return try #require(outcome)
  }

  /// What a run tells of phases that took fewer steps than they have.
  private func checkViews(of run: String) {
    let log = fileText("\(run)/mfu.log")
    for place in ["sft      6/12 ", "ppo      2/8 ", "grpo     0/4 "] {
      #expect(log.contains(place), "\(place): \(log)")
    }
    let events = fileText("\(run)/events.jsonl")
    #expect(events.contains("validating after step 6,") && !events.contains("after step 12"))
    let report = command(["cox", "report", run, "--questions", "none"]).output
      .split(separator: "\n").map { $0.split(separator: " ") }
    for (phase, steps) in [("sft", "6 of 12"), ("ppo", "2 of 8"), ("grpo", "0 of 4")] {
      let row = report.first { $0.first.map(String.init) == phase } ?? []
      #expect(row.joined(separator: " ").hasPrefix("\(phase) \(steps) (gate) "), "\(row)")
    }
    let state = fileText("\(run)/checkpoints/ppo-2/state.json")
    #expect(state.contains("\"data_cursor\" : 16"), "\(state)")
    let taken = ["data", "inspect", run, "--phase", "sft", "--step"]
    #expect(command(["cox"] + taken + ["6"]).code == 0)
    let behind = command(["cox"] + taken + ["7"])
    #expect(behind.code == 64 && behind.errors.contains("after step 6 of 12"), "\(behind)")
  }

  private static let annealPlan = """
    {
      "name": "anneal", "seed": 6, "checkpoints": { "every": 3 },
      "model": { "layers": 2, "width": 40, "heads": 4, "key_value_heads": 2, "context": 32 },
      "batch": { "sequences": 8, "slices": 4, "microbatch": 2 },
      "tokenizer": { "kind": "bytes" }, "data": { "source": "world", "documents": 60 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 40,
          "schedule": { "kind": "cosine", "peak": 1e-3, "final": 1e-4, "warmup": 0 },
          "validation": { "every": 5, "tokens": 512 }, "gates": { "validation_loss": 20 } },
        { "kind": "anneal", "steps": 40, "validation": { "every": 0, "tokens": 512 } },
      ],
    }
    """

  /// - Parameter disturb: What befalls the run when the anneal is under way.
  private func annealed(
    workerCount: Int, _ disturb: (inout RealCluster, String) throws -> Void = { _, _ in }
  ) throws -> RealCluster.Outcome {
    try withRunFolder { run in
      try Files.createDirectory(run)
      let plan = "\(run)/plan.json"
      try Files.write(Self.annealPlan, to: plan)
      var cluster = try RealCluster(run: run, plan: plan, waitingFor: workerCount)
      for _ in 0..<workerCount { try cluster.addWorker() }
      #expect(cluster.waitForText("checkpoint_saved: anneal-3"), "\(cluster.errors)")
      try disturb(&cluster, plan)
      #expect(cluster.wait() == 0, "\(cluster.errors)")
      let rates = cluster.steps().map(\.learningRate)
      // The cosine after 5 of 40 steps: 1e-4 + 9e-4 (1 + cos(pi / 8)) / 2.
      try #require(rates.count == 45)
      #expect(abs(rates[5] - 9.657457896300505e-4) < 1e-15 && rates[5] < rates[4])
      #expect(abs(rates[25] - rates[5] / 2) < 1e-15)
      return cluster.outcome
    }
  }

  @Test(.timeLimit(.minutes(5)))
  func `let an anneal go on at the rate and with the moments that there are`() throws {
    let alone = try annealed(workerCount: 1)
    #expect(alone.digest.count == 64)
    #expect(try annealed(workerCount: 3) == alone)
    // Whoever joins did not see the gate close.
    let joined = try annealed(workerCount: 2) { cluster, _ in
      for worker in cluster.workers { worker.signal(9) }
      #expect(cluster.waitForText("worker_lost: w1"))
      for _ in 0..<2 { try cluster.addWorker() }
    }
    #expect(joined == alone)
    let restarted = try annealed(workerCount: 1) { cluster, plan in
      for process in cluster.workers + [cluster.coordinator] { process.signal(9) }
      _ = cluster.wait()
      cluster = try RealCluster(run: cluster.run, plan: plan)
      try cluster.addWorker()
    }
    #expect(restarted == alone)
    let forgotten = try annealed(workerCount: 1) { cluster, plan in
      for process in cluster.workers + [cluster.coordinator] { process.signal(9) }
      _ = cluster.wait()
      // Without the ledger the checkpoint knows.
      try Files.removeTree("\(cluster.run)/ledger.log")
      cluster = try RealCluster(run: cluster.run, plan: plan)
      try cluster.addWorker()
    }
    #expect(forgotten == alone)
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
