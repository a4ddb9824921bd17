import Settings
import System
import Telemetry
import Testing

/// Two phases that read several sources each: real processes, one result.
@Suite(.serialized) struct `A run on mixtures` {
  /// The smoke plan's sizes with fewer layers. Both phases read the world; the anneal reads it less
  /// often, and a world that the phase before has not seen.
  private static func plan(_ notes: String) -> String {
    """
    {
      "name": "mixed", "seed": 20, "dropout": 0.1, "checkpoints": { "every": 10 },
      "model": { "layers": 2, "width": 72, "heads": 6, "key_value_heads": 2, "context": 77 },
      "batch": { "sequences": 16, "slices": 8, "microbatch": 1 },
      "tokenizer": { "kind": "bpe", "vocabulary": 400 },
      "data": {
        "documents": 200,
        "mixture": [ { "source": "world", "weight": 3 }, { "source": "\(notes)" } ],
        "attention": "document",
      },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 24,
          "schedule": { "kind": "constant", "peak": 1e-3, "warmup": 0 },
          "validation": { "every": 12, "tokens": 1232, "full_at_end": false } },
        { "kind": "anneal", "steps": 12,
          "data": {
            "mixture": [
              { "source": "\(notes)" }, { "source": "world", "seed": 9 }, { "source": "world" },
            ],
            "order": "random",
          },
          "validation": { "every": 6, "tokens": 1232 } },
        { "kind": "evaluate", "data": { "source": "world" } },
      ],
    }
    """
  }

  /// Lends a folder with the plan and its file of text.
  private static func withPlan<Value>(
    _ body: (_ run: String, _ plan: String) throws -> Value
  ) throws -> Value {
    try withRunFolder { run in
      let folder = Files.parent(of: run)
      let notes = (0..<300).map { "Note \($0): the answer to \($0) is \(7 * $0).\n" }.joined()
      try Files.write(Array(notes.utf8), to: "\(folder)/notes.txt")
      try Files.write(Array(plan("\(folder)/notes.txt").utf8), to: "\(folder)/plan.json")
      return try body(run, "\(folder)/plan.json")
    }
  }

  /// What one worker makes of it.
  private static let reference = try? withPlan { run, plan in
    try RealCluster.outcome(run: run, plan: plan)
  }

  private func expectReference(_ cluster: RealCluster) throws {
    try cluster.expectEnd(of: Self.reference, lossCount: 36)
  }

  @Test(.timeLimit(.minutes(3))) func `has the same bits by two workers`() throws {
    try Self.withPlan { run, plan in
      let cluster = try RealCluster(run: run, plan: plan, waitingFor: 2)
      for _ in 0..<2 { try cluster.addWorker(threads: 2) }
      try expectReference(cluster)
    }
  }

  @Test(.timeLimit(.minutes(3))) func `survives deaths, and takes in a worker`() throws {
    try Self.withPlan { run, plan in
      let cluster = try RealCluster(run: run, plan: plan, waitingFor: 3)
      for point in ["after-slice@7", "before-report@32"] {
        try cluster.addWorker(failpoint: point)
      }
      try cluster.addWorker()
      #expect(cluster.waitForText("worker_lost: "))
      try cluster.addWorker()
      try expectReference(cluster)
      #expect(cluster.workers.map { exitCode(of: $0) } == [137, 137, 0, 0])
    }
  }

  @Test(.timeLimit(.minutes(3))) func `is stopped and resumed, and shows who read what`() throws {
    try Self.withPlan { run, plan in
      let first = try RealCluster(run: run, plan: plan)
      try first.addWorker()
      #expect(first.waitForStep(5))
      first.coordinator.signal(2)
      #expect(first.wait() == 75, "\(first.errors)")
      let second = try RealCluster(run: run, plan: plan, waitingFor: 2)
      for _ in 0..<2 { try second.addWorker() }
      try expectReference(second)
      #expect(second.errors.contains("anneal: 33.3 % "), "\(second.errors)")

      func inspect(_ words: String...) throws -> [JSONNode] {
        let (code, output, errors) = command(["cox", "data", "inspect", run, "--json"] + words)
        #expect(code == 0, "\(words): \(errors)")
        return try output.split(separator: "\n").map { try JSONReader.read(String($0)) }
      }
      func counts(_ readings: [JSONNode]) -> [String: Int] {
        let sequences = readings.flatMap { $0["sequences"]?.elements ?? [] }
        return Dictionary(grouping: sequences) {
          Files.name(of: $0["source"]?.string ?? "none")
        }.mapValues(\.count)
      }
      let pretrain = try inspect("--step", "1", "--to", "24")
      #expect(counts(pretrain) == ["world 20": 288, "notes.txt": 96])
      let anneal = try inspect("--step", "1", "--to", "12", "--phase", "anneal")
      #expect(counts(anneal) == ["world 20": 64, "world 9": 64, "notes.txt": 64])
      // The records' tokens are those that are shown.
      let shown = (pretrain + anneal).map { reading in
        (reading["sequences"]?.elements ?? []).reduce(0) {
          $0 + ($1["tokens"]?.elements?.count ?? 1) - 1
        }
      }
      #expect(second.steps().map(\.tokens) == shown)
      let held = try inspect("--validation", "inner", "--phase", "pretrain")
      #expect(counts(held) == ["world 20": 12, "notes.txt": 4])
      let alone = try inspect("--validation", "end", "--phase", "evaluate")
      #expect(Set(counts(alone).keys) == ["none"])
    }
  }

  @Test func `is shown before it begins, and refused where it cannot begin`() throws {
    try Self.withPlan { run, plan in
      let report = command(["cox", "plan", plan, "--json"])
      let phases = try #require(try JSONReader.read(report.output)["phases"]?.elements)
      let mixture = try #require(phases[2]["mixture"]?.elements)
      #expect(mixture.map { $0["tokens"]?.int } == [4928, 4928, 4928])
      #expect(mixture.allSatisfy { ($0["epochs"]?.double ?? 0) > 0 })

      func refusal(_ sets: String...) -> (code: Int32, output: String, errors: String) {
        command(
          ["coordinator", plan, "--run", run, "--listen", "127.0.0.1:0"]
            + sets.flatMap { ["--set", $0] })
      }
      let key = "phases.anneal.data.mixture"
      let missing = refusal("\(key)[0].source=/nowhere")
      #expect(missing.code == 66)
      #expect(
        missing.errors.contains(
          "no file or folder /nowhere; check --data or the plan's \"data\" "
            + "(phases[2].data.mixture[0].source, --set \(key)[0].source=/nowhere)"),
        "\(missing.errors)")
      try Files.write(Array("short".utf8), to: "\(Files.parent(of: plan))/short.txt")
      let short = refusal("data.mixture[1].source=\(Files.parent(of: plan))/short.txt")
      #expect(short.code == 65 && short.errors.contains("one window needs 78"), "\(short.errors)")
      let light = refusal("\(key)[0].weight=0")
      #expect(light.code == 78 && light.errors.contains("[0].weight is the number 0"))
    }
  }
}
