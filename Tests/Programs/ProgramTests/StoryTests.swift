import Settings
import System
import Telemetry
import Testing

/// launch/plans/story.json: every phase there is, one after the other, in a few seconds.
@Suite(.serialized) struct `The whole story` {
  static let plan = "\(RealCluster.root)/launch/plans/story.json"
  static let phases = [
    "pretrain", "anneal", "sft", "reward", "ppo", "dpo", "dpo-again", "grpo", "evaluate",
  ]

  /// Those that learn from their own answers.
  static let sampling = ["ppo", "dpo-again", "grpo"]

  /// What one worker with one thread makes of it.
  static let reference = try? withRunFolder { run in
    try RealCluster.outcome(run: run, plan: plan)
  }

  private func expectReference(_ cluster: RealCluster) throws {
    try cluster.expectEnd(of: Self.reference)
  }

  @Test(.timeLimit(.minutes(3)), arguments: [(2, 1), (3, 2), (5, 1)])
  func `ends with the same bits for any number of workers and threads`(
    workerCount: Int, threadCount: Int
  ) throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: workerCount)
      for _ in 0..<workerCount { try cluster.addWorker(threads: threadCount) }
      try expectReference(cluster)
    }
  }

  @Test(.timeLimit(.minutes(3))) func `tells of each phase what is its own`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan)
      try cluster.addWorker()
      try expectReference(cluster)
      let steps = cluster.steps()
      func figures(_ phase: String) -> [[String: Double]] {
        steps.filter { $0.phase == phase }.map(\.extra)
      }
      #expect(Set(steps.map(\.phase)) == Set(Self.phases.dropLast()))
      // The policy that learns first is the one that answered, and the reference too.
      for phase in ["ppo", "grpo"] {
        let first = try #require(figures(phase).first)
        #expect(first["ratio_mean"] == 1 && first["ratio_deviation"] == 0)
        #expect(first["clip_fraction"] == 0 && first["kl"] == 0 && first["divergence"] == 0)
        #expect(figures(phase).allSatisfy { $0["reward"] != nil && $0["length"] != nil })
      }
      #expect(figures("ppo").map { $0["iteration"] } == [1, 1, 1, 1, 2, 2, 2, 2])
      // So it is in each iteration, however far from the reference.
      let second = try #require(figures("ppo").dropFirst(4).first)
      #expect(second["ratio_mean"] == 1 && second["ratio_deviation"] == 0)
      // A step carries a quarter of its iteration's answers.
      for step in steps where step.phase == "ppo" {
        let seconds = try #require(step.extra["rollout_seconds"]) / 4
        let flops = try #require(step.extra["rollout_flops"]) / 4
        let peak = try #require(step.peakMeasuredGigaflops) * 1e9
        let update = step.flopsPerToken * Double(step.tokens)
        let whole = (update + flops) / (step.seconds + seconds) / peak
        #expect(abs(try #require(step.mfuMeasured) - whole) < 1e-6 * whole)
        if step.peakNominalGigaflops == nil {
          let alone = update / step.seconds / peak
          #expect(abs(try #require(step.extra["mfu_update"]) - alone) < 1e-6 * alone)
        }
      }
      #expect(figures("ppo").allSatisfy { $0["explained_variance"] != nil })
      // Both answers of a pair stand where the reference has them before the first update.
      let dpo = try #require(steps.first { $0.phase == "dpo" })
      #expect(abs(dpo.loss - 0.693_147_180_559_945_3) < 1e-15)
      #expect(figures("reward").allSatisfy { $0["accuracy"] != nil && $0["margin"] != nil })
      // Some answers end by themselves and others are cut: their lengths differ.
      for phase in Self.sampling {
        let answered = figures(phase)
        for prefix in ["", "validation_"] {
          let ended = answered.compactMap { $0["\(prefix)ended"] }
          let lengths = answered.compactMap { $0["\(prefix)length"] }
          #expect(!ended.isEmpty && ended.allSatisfy { 0 < $0 && $0 < 1 }, "\(phase): \(ended)")
          #expect(!lengths.isEmpty && lengths.allSatisfy { 1 < $0 && $0 < 16 }, "\(lengths)")
        }
      }
      let names = cluster.records().filter { $0.validationLoss != nil }.map(\.phase)
      #expect(Set(names) == ["pretrain", "anneal", "sft", "reward", "dpo", "evaluate"])
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `leaves models that other programs open and that answer, after every phase`() throws {
    try withRunFolder { run in
      _ = try RealCluster.outcome(run: run, plan: Self.plan)
      let folder = Files.parent(of: run)
      /// The weights that a checkpoint is exported with.
      func exported(_ checkpoint: String, _ model: String) throws -> [UInt8] {
        let out = "\(folder)/\(checkpoint)-\(model)"
        let written = command(
          ["cox", "export", "\(run)/checkpoints/\(checkpoint)", "--hf", out, "--model", model])
        #expect(written.code == 0, "\(written.errors)")
        return try Files.read("\(out)/model.safetensors")
      }
      /// What a model answers, by its own choice of tokens.
      func answer(_ path: String) throws -> [Int?] {
        let said = command(
          ["cox", "generate", path, "--chat", "--prompt", "Where does Petra live?", "--json",
            "--temperature", "0", "--max-tokens", "12", "--threads", "1"])
        #expect(said.code == 0 && !said.errors.contains("never fine-tuned"), "\(said.errors)")
        return try #require(JSONReader.read(said.output)["ids"]?.elements).map(\.int)
      }
      var weights: [String: [UInt8]] = [:]
      for name in ["sft-40", "reward-10", "ppo-8", "dpo-8", "dpo-again-4", "grpo-4"] {
        weights[name] = try exported(name, "policy")
        let imported = command(
          ["cox", "import", "\(folder)/\(name)-policy", "--out", "\(folder)/\(name)"])
        #expect(imported.code == 0, "\(imported.errors)")
        #expect(try answer("\(folder)/\(name)") == answer("\(run)/checkpoints/\(name)"))
      }
      // Only the reward phase leaves the policy as it was.
      #expect(weights["reward-10"] == weights["sft-40"])
      #expect(Set(weights.values).count == 5)
      let score = try exported("reward-10", "reward")
      #expect(try exported("ppo-8", "reward") == score && score != weights["sft-40"])
      #expect(
        fileText("\(folder)/ppo-8-reward/config.json").contains("LlamaForSequenceClassification"))
      let none = command(
        ["cox", "export", "\(run)/checkpoints/sft-40", "--hf", "\(folder)/none", "--model",
          "reward"])
      #expect(none.code == 65 && !Files.exists("\(folder)/none"))
      #expect(none.errors.contains("holds no reward model, only policy"), "\(none.errors)")
    }
  }

  /// At the transition to each phase, and at checkpoints.
  @Test(
    .timeLimit(.minutes(3)),
    arguments: phases.dropFirst().map { "phase \($0) begins" } + ["sft-20", "ppo-8"])
  func `survives the death of a worker`(moment: String) throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: 3)
      for _ in 0..<3 { try cluster.addWorker() }
      #expect(cluster.waitForText(moment))
      cluster.workers[1].signal(9)
      try expectReference(cluster)
    }
  }

  /// In a rollout, behind it with the answers taken, while answers are exchanged, and in an epoch.
  @Test(
    .timeLimit(.minutes(3)),
    arguments: [
      "in-rollout@ppo@0", "after-rollout@ppo@1", "mid-gather@ppo", "after-slice@ppo@2",
      "in-update@ppo@5", "after-rollout@dpo-again@0", "after-rollout@grpo@1",
      "before-update@grpo@3",
    ])
  func `survives the death of a worker that answers or learns from answers`(
    failpoint: String
  ) throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: 3)
      try cluster.addWorker()
      try cluster.addWorker(failpoint: failpoint)
      try cluster.addWorker()
      try expectReference(cluster)
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 137, 0])
    }
  }

  /// Each of three stands behind the first of its two or three slices of eight when one dies.
  @Test(.timeLimit(.minutes(3)), arguments: [("ppo", 1), ("dpo-again", 0), ("grpo", 1)])
  func `answers again only the prompts of a worker that dies in a rollout`(
    phase: String, iteration: Int
  ) throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: 3)
      let failpoint = "hang:in-rollout@\(phase)@\(iteration)"
      for _ in 0..<3 { try cluster.addWorker(failpoint: failpoint) }
      for index in 0..<3 { #expect(cluster.waitForFailpoint(ofWorker: index)) }
      cluster.workers[1].signal(9)
      for index in [0, 2] { cluster.workers[index].release() }
      try expectReference(cluster)
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 137, 0])
      for step in cluster.steps() where Self.sampling.contains(step.phase) {
        let count = try #require(step.extra["rollout_slices_recomputed"])
        if step.phase == phase, step.extra["iteration"] == Double(iteration + 1) {
          #expect(0 < count && count <= 3)
        } else {
          #expect(count == 0)
        }
      }
      #expect(cluster.errors.contains(" of 8 slices dealt again"))
    }
  }

  /// The one worker stands still in a phase until another has come; that one stands still once it
  /// has the state, and then the first dies. Who came last answers or learns alone.
  @Test(
    .timeLimit(.minutes(3)),
    arguments: [
      ("after-update", "ppo", 5), ("in-rollout", "ppo", 1), ("after-rollout", "ppo", 0),
      ("after-update", "dpo-again", 2), ("in-rollout", "grpo", 1),
    ])
  func `hands its answers to a worker that joins`(
    point: String, phase: String, step: Int
  ) throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan)
      let incumbent = try cluster.addWorker(failpoint: "hang:\(point)@\(phase)@\(step)")
      #expect(cluster.waitForFailpoint(ofWorker: 0))
      let joiner = try cluster.addWorker(failpoint: "hang:after-slice@\(phase)")
      #expect(cluster.waitForText("worker_joined: ", times: 2))
      incumbent.release()
      #expect(cluster.waitForFailpoint(ofWorker: 1))
      incumbent.signal(9)
      joiner.release()
      try expectReference(cluster)
      #expect(!cluster.errors.contains("rewound"))
      #expect(cluster.workers.map { exitCode(of: $0) } == [137, 0])
    }
  }

  /// One of two workers stands in a rollout, or right behind it, when the coordinator dies.
  @Test(
    .timeLimit(.minutes(3)), arguments: ["in-rollout", "after-rollout"], ["ppo", "grpo"])
  func `survives the coordinator's death around a rollout`(point: String, phase: String) throws {
    try withRunFolder { run in
      let first = try RealCluster(run: run, plan: Self.plan, waitingFor: 2)
      try first.addWorker()
      try first.addWorker(failpoint: "hang:\(point)@\(phase)@1")
      #expect(first.waitForFailpoint(ofWorker: 1))
      first.coordinator.signal(9)
      #expect(first.wait() == 137)
      first.workers[1].release()
      let again = try RealCluster(
        run: run, plan: Self.plan, waitingFor: 2, listen: first.address)
      try expectReference(again)
      #expect(!again.errors.contains("rewound"))
      #expect(first.workers.map { exitCode(of: $0) } == [0, 0])
    }
  }

  @Test(.timeLimit(.minutes(5))) func `survives the coordinator's death in every phase`() throws {
    try withRunFolder { run in
      var cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: 2)
      let first = cluster
      for _ in 0..<2 { try first.addWorker() }
      for phase in Self.phases.dropFirst() {
        #expect(cluster.waitForText("phase \(phase) begins"))
        cluster.coordinator.signal(9)
        _ = cluster.wait()
        cluster = try RealCluster(
          run: run, plan: Self.plan, waitingFor: 2, listen: first.address)
      }
      try expectReference(cluster)
      #expect(first.workers.map { exitCode(of: $0) } == [0, 0])
    }
  }

  /// It has every chunk of the checkpoint that the phase ends with when it dies, and a worker with
  /// it or not.
  @Test(.timeLimit(.minutes(3)), arguments: [("anneal", false), ("reward", true), ("grpo", false)])
  func `keeps the end of every phase, though the coordinator dies over one`(
    phase: String, isWorkerLost: Bool
  ) throws {
    try withRunFolder { run in
      let first = try RealCluster(
        run: run, plan: Self.plan, waitingFor: 2, failpoint: "before-commit@\(phase)")
      for _ in 0..<2 { try first.addWorker() }
      #expect(first.wait() == 137, "\(first.errors)")
      if isWorkerLost { first.workers[1].signal(9) }
      let again = try RealCluster(run: run, plan: Self.plan, listen: first.address)
      try expectReference(again)
      #expect(!again.errors.contains("rewound"))
      #expect(first.workers.map { exitCode(of: $0) } == [0, isWorkerLost ? 137 : 0])
      let ends = [
        "pretrain-60", "anneal-10", "sft-40", "reward-10", "ppo-8", "dpo-8", "dpo-again-4",
        "grpo-4", "evaluate-0",
      ]
      #expect(ends.filter { !Files.exists("\(run)/checkpoints/\($0)/manifest.json") } == [])
    }
  }

  @Test(.timeLimit(.minutes(3))) func `goes on from any checkpoint when all are lost`() throws {
    try withRunFolder { run in
      for moment in ["iteration 2: reward", "phase grpo begins"] {
        let cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: 2)
        for _ in 0..<2 { try cluster.addWorker() }
        #expect(cluster.waitForText(moment))
        for process in cluster.workers + [cluster.coordinator] { process.signal(9) }
        _ = cluster.wait()
      }
      let last = try RealCluster(run: run, plan: Self.plan)
      try last.addWorker()
      try expectReference(last)
    }
  }
}
