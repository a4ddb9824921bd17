import System
import Telemetry
import Testing

/// launch/plans/story.json: every phase there is, one after the other, in a few seconds.
@Suite(.serialized) struct `The whole story` {
  static let plan = "\(RealCluster.root)/launch/plans/story.json"
  static let phases = [
    "pretrain", "anneal", "sft", "reward", "ppo", "dpo", "dpo-again", "grpo", "evaluate",
  ]

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
      let names = cluster.records().filter { $0.validationLoss != nil }.map(\.phase)
      #expect(Set(names) == ["pretrain", "anneal", "sft", "reward", "dpo", "evaluate"])
    }
  }

  /// Somewhere in each phase: at its transition, in a rollout, in an epoch of updates.
  @Test(
    .timeLimit(.minutes(3)),
    arguments: phases.dropFirst().map { "phase \($0) begins" } + [
      "iteration 1: reward", "iteration 2: reward", "sft-20", "ppo-8",
    ])
  func `survives the death of a worker`(moment: String) throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, plan: Self.plan, waitingFor: 3)
      for _ in 0..<3 { try cluster.addWorker() }
      #expect(cluster.waitForText(moment))
      cluster.workers[1].signal(9)
      try expectReference(cluster)
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
