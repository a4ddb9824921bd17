import Settings
import System
import Telemetry
import Testing

/// Phases that read their rows a number of times, however many steps that takes.
@Suite(.serialized) struct `Epochs` {
  /// Bytes, so that tokens can be counted by hand: 33 of them are a window.
  private static func plan(_ folder: String, sft: String, dpo: String) -> String {
    """
    {
      "name": "epochs", "seed": 4, "checkpoints": { "every": 2 },
      "model": { "layers": 2, "width": 40, "heads": 4, "context": 32 },
      "batch": { "sequences": 8, "slices": 4, "microbatch": 2 },
      "tokenizer": { "kind": "bytes" },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "sft", "data": { "source": "\(folder)/conversations.jsonl" }, \(sft) },
        { "kind": "dpo", "data": { "source": "\(folder)/pairs.jsonl" }, \(dpo) },
      ],
    }
    """
  }

  /// The first token, four marks, the end, 3 + 2 bytes: 11 tokens, three to a window. Of 30
  /// conversations 27 are trained on, so 2 epochs are 2 x 9 = 18 windows, in batches of 8: 3 steps.
  private static let conversations = (0..<30).map { number in
    "{\"prompt\": \"q\(10 + number)\", \"completion\": \"\(40 + number)\"}\n"
  }.joined()
  /// Of 20 pairs 18 are trained on: 36 sequences of an epoch, in batches of 8: 5 steps.
  private static let pairs = (0..<20).map { number in
    "{\"prompt\": \"q\(10 + number)\", \"chosen\": \"yes\", \"rejected\": \"no\"}\n"
  }.joined()

  private static let twice = #""examples": { "epochs": 2 }"#
  private static let once = #""examples": { "epochs": 1 }"#

  /// With the rows, and the plan as `plan.json`.
  private func withRows(
    sft: String = twice, dpo: String = once, _ body: (_ run: String, _ plan: String) throws -> Void
  ) throws {
    try withRunFolder { run in
      let folder = Files.parent(of: run)
      try Files.write(Self.conversations, to: "\(folder)/conversations.jsonl")
      try Files.write(Self.pairs, to: "\(folder)/pairs.jsonl")
      try Files.write(Self.plan(folder, sft: sft, dpo: dpo), to: "\(folder)/plan.json")
      try body(run, "\(folder)/plan.json")
    }
  }

  /// What the plan with steps counted by hand makes.
  private func reference() throws -> RealCluster.Outcome {
    var outcome: RealCluster.Outcome?
    try withRows(sft: #""steps": 3"#, dpo: #""steps": 5"#) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan)
      try cluster.addWorker()
      #expect(cluster.wait() == 0, "\(cluster.errors)")
      outcome = cluster.outcome
    }
    return try #require(outcome)
  }

  @Test(.timeLimit(.minutes(3)))
  func `are the run of as many steps as the rows give, through a restart too`() throws {
    try withRows { run, plan in
      var cluster = try RealCluster(run: run, plan: plan, waitingFor: 2)
      let first = cluster
      for _ in 0..<2 { try first.addWorker() }
      #expect(first.waitForText("phase dpo begins"))
      first.coordinator.signal(9)
      _ = first.wait()
      cluster = try RealCluster(run: run, plan: plan, waitingFor: 2, listen: first.address)
      #expect(cluster.wait() == 0, "\(cluster.errors)")
      #expect(first.workers.map { exitCode(of: $0) } == [0, 0])

      #expect(first.errors.contains("sft: 3 steps, 18 sequences of 2 epochs / batch.sequences\n"))
      let resolved = try JSONReader.read(fileText("\(run)/plan.resolved.json"))
      #expect(resolved["phases"]?.elements?.map { $0["steps"]?.int } == [nil, 3, 5])
      #expect(
        resolved["origins"]?["phases[2].steps"]?.string
          == "36 sequences of 1 epoch / batch.sequences")
      let phases = cluster.steps().map(\.phase)
      #expect(phases == ["sft", "sft", "sft", "dpo", "dpo", "dpo", "dpo", "dpo"])
      #expect(try cluster.outcome == reference())
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `show what each step read, unless the rows are others`() throws {
    try withRows { run, plan in
      let cluster = try RealCluster(run: run, plan: plan)
      try cluster.addWorker()
      #expect(cluster.wait() == 0, "\(cluster.errors)")
      func inspect(_ words: String...) -> (code: Int32, output: String, errors: String) {
        command(["cox", "data", "inspect", run] + words)
      }
      let json = inspect("--step", "1", "--to", "3", "--json").output
      let read = try json.split(separator: "\n").map { line in
        let sequences = try JSONReader.read(String(line))["sequences"]?.elements
        return try #require(sequences).reduce(0) { sum, sequence in
          let masked = try #require(sequence["masked"]?.elements)
          let count = try #require(sequence["tokens"]?.elements).count - 1
          #expect(0 < masked.count && masked.count < count)
          return sum + count
        }
      }
      #expect(read == cluster.steps().prefix(3).map(\.tokens))
      let pairs = inspect("--step", "5", "--phase", "dpo").output
      #expect(pairs.contains("dpo step 5, sequence 0 (slice 0, row "))
      #expect(pairs.contains(">>yes<|assistant_end|><<"))
      #expect(pairs.contains(">>no<|assistant_end|><<"))
      try Files.write(
        Self.conversations.replacing("q10", with: "q99"),
        to: "\(Files.parent(of: run))/conversations.jsonl")
      let changed = inspect("--step", "1")
      #expect(changed.code == 65 && changed.output.isEmpty, "\(changed)")
      #expect(inspect("--step", "5", "--phase", "dpo").output == pairs)
    }
  }

  @Test(.timeLimit(.minutes(3))) func `may grow by an amendment of the last phase`() throws {
    try withRows { run, plan in
      let complete = try RealCluster(run: run, plan: plan)
      try complete.addWorker()
      #expect(complete.wait() == 0, "\(complete.errors)")

      let more = ["--set", "phases.dpo.examples.epochs=2"]
      let refused = try RealCluster(run: run, plan: plan, extra: more)
      #expect(refused.wait() == 78)
      #expect(refused.errors.contains("phases[2].steps: 5 -> 9\nNone of these"))
      let fewer = try RealCluster(
        run: run, plan: plan, extra: ["--set", "phases.sft.examples.epochs=3", "--amend"])
      #expect(fewer.wait() == 78)
      #expect(fewer.errors.contains("phases[1].steps: 3 -> 4  (alters steps already taken)"))
      let amended = try RealCluster(run: run, plan: plan, extra: more + ["--amend"])
      try amended.addWorker()
      #expect(amended.wait() == 0, "\(amended.errors)")
      #expect(amended.steps().count { $0.phase == "dpo" } == 9)
    }
  }

  @Test func `are told before the rows are read, as far as that goes`() throws {
    try withRows { _, plan in
      let (code, text, errors) = command(["cox", "plan", plan])
      #expect(code == 0, "\(errors)")
      #expect(text.contains("phase       sft: 2 epochs of its rows, which decide how many steps"))
      #expect(text.contains("time        of sft, dpo unknown until the rows are read; a step"))
      let counted = command(["cox", "plan", plan, "--set", "phases.dpo.data.source=world"]).output
      #expect(counted.contains(" in all without sft; a step"), "\(counted)")
      let world = command(["cox", "plan", plan, "--data", "world"]).output
      #expect(world.contains("phase       dpo: 1000 steps x 256 tokens"), "2 x 4000 / 8")
      #expect(world.contains("1 epoch of 4000 pairs / batch.sequences, if all of them fit"))
    }
  }
}
