import Settings
import System
import Telemetry
import Testing

/// What `cox plan` says of a run beside what the run does: two slices, so that the third worker is
/// on standby.
@Suite struct `Figures of a plan` {
  /// Widths are whole vectors, so that no file lacks the padding that memory has.
  private static let plan = """
    {
      "name": "figures", "seed": 4, "checkpoints": { "every": 0, "keep": 1 },
      "model": { "layers": 1, "width": 64, "heads": 4, "feed_forward": 64, "context": 64 },
      "batch": { "sequences": 8, "slices": 2, "microbatch": 2 },
      "tokenizer": { "kind": "bpe", "vocabulary": 608 },
      "data": { "source": "world", "documents": 200 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 2,
          "validation": { "every": 0, "tokens": 64, "full_at_end": false } },
        { "kind": "sft", "steps": 2, "lora": { "rank": 4 }, "examples": { "count": 40 },
          "validation": { "every": 0, "tokens": 64, "full_at_end": false } },
        { "kind": "reward", "steps": 2, "examples": { "count": 40 },
          "validation": { "every": 0, "tokens": 64, "full_at_end": false } },
        { "kind": "ppo", "examples": { "count": 40 },
          "reinforcement": { "iterations": 1, "prompts": 32, "answer_tokens": 20, "epochs": 1 },
          "validation": { "every": 0, "tokens": 64, "full_at_end": false } },
        { "kind": "dpo", "steps": 2, "examples": { "count": 40 },
          "validation": { "every": 0, "tokens": 64, "full_at_end": false } },
      ],
    }
    """
  /// Headers of pieces, statistics and signs of life of all workers in one exchange.
  private static let besides = 8192

  @Test(.timeLimit(.minutes(3))) func `are those of a real run`() throws {
    try withRunFolder { run in
      try Files.createDirectory(run)
      let path = "\(run)/plan.json"
      try Files.write(Self.plan, to: path)
      let told = command(["cox", "plan", path, "--workers", "3", "--json"])
      #expect(told.code == 0, "\(told.errors)")
      let planned = try #require(try JSONReader.read(told.output)["phases"]?.elements)
      let cluster = try RealCluster(run: run, plan: path, waitingFor: 3)
      for _ in 0..<3 { try cluster.addWorker() }
      let code = cluster.wait()
      #expect(code == 0, "\(cluster.errors)")
      let steps = Dictionary(grouping: cluster.steps(), by: \.phase)
      for phase in planned.dropFirst() {
        let name = try #require(phase["name"]?.string)
        try expectSent(name, phase, try #require(steps[name]))
        let stepCount = try #require(phase["steps"]?.int)
        let held = try stateByteCount("\(run)/checkpoints/\(name)-\(stepCount)")
        let expected = try #require(phase["checkpoint_bytes"]?.int)
        // Safetensors files have headers.
        #expect((expected...expected + 20_000).contains(held), "\(name): \(held), \(expected)")
      }
    }
  }

  private func expectSent(_ name: String, _ phase: JSONNode, _ steps: [StepRecord]) throws {
    let most = try #require(phase["wire_bytes_per_step"]?.int)
    for step in steps {
      let sent = Int(try #require(step.extra["exchange_bytes"]))
      // A step touches some of the look-up rows that it could touch; adapters have none.
      let least = name == "sft" ? most : most / 3
      #expect((least...most + Self.besides).contains(sent), "\(name): \(sent), \(most)")
    }
    let answers = try #require(phase["rollout_wire_bytes"]?.int)
    #expect((answers > 0) == (name == "ppo"))
    guard answers > 0 else { return }
    let sent = Int(try #require(steps[0].extra["rollout_exchange_bytes"]))
    #expect((answers...answers + Self.besides).contains(sent), "\(sent), \(answers)")
  }

  /// Bytes of the files that hold the parts of a state.
  private func stateByteCount(_ folder: String) throws -> Int {
    try Files.list(folder).filter { $0.hasSuffix(".safetensors") || $0.hasSuffix(".f32") }
      .reduce(0) { $0 + (try Files.info("\(folder)/\($1)")?.byteCount ?? 0) }
  }
}
