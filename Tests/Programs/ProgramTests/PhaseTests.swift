import Settings
import System
import Telemetry
import Testing

/// Runs of several phases, and what can be seen of them afterwards.
@Suite(.serialized) struct `A run of several phases` {
  /// The smoke plan's model; an evaluation and two short phases with rates of their own.
  private static let plan = """
    {
      "name": "phases", "seed": 20, "dropout": 0.1, "checkpoints": { "every": 0 },
      "model": { "layers": 2, "width": 72, "heads": 6, "key_value_heads": 2, "context": 77 },
      "batch": { "sequences": 8, "slices": 4, "microbatch": 1 },
      "tokenizer": { "kind": "bytes" },
      "data": { "source": "world", "documents": 60, "attention": "document" },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "evaluate", "validation": { "tokens": 154, "full_at_end": false } },
        { "kind": "pretrain", "name": "first", "steps": 3,
          "schedule": { "kind": "constant", "peak": 1e-3, "warmup": 0 },
          "validation": { "every": 0 } },
        { "kind": "pretrain", "name": "second", "steps": 2,
          "schedule": { "kind": "constant", "peak": 2e-3, "warmup": 0 },
          "validation": { "every": 0, "tokens": 154, "full_at_end": false } },
        { "kind": "anneal", "steps": 2, "data": { "documents": 20 },
          "validation": { "every": 0, "tokens": 154, "full_at_end": false } },
      ],
    }
    """

  /// Runs the plan, then looks at what the run left.
  private func withRun(
    workerCount: Int, _ body: (RealCluster) throws -> Void
  ) throws {
    try withRunFolder { run in
      try Files.createDirectory(run)
      try Files.write(Self.plan, to: "\(run)/plan.json")
      let cluster = try RealCluster(
        run: run, plan: "\(run)/plan.json", waitingFor: workerCount)
      for _ in 0..<workerCount { try cluster.addWorker() }
      let code = cluster.wait()
      #expect(code == 0, "\(cluster.errors)")
      try body(cluster)
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `trains each phase with its own rates, the same for any number of workers`() throws {
    var outcomes: [RealCluster.Outcome] = []
    for workerCount in [1, 3] {
      try withRun(workerCount: workerCount) { cluster in
        let steps = cluster.steps()
        #expect(
          steps.map(\.phase)
            == ["first", "first", "first", "second", "second", "anneal", "anneal"])
        #expect(steps.map(\.learningRate) == [1e-3, 1e-3, 1e-3, 2e-3, 2e-3, 2e-3, 1e-3])
        // The evaluation has a record too, and each phase its beginning in the ledger.
        let evaluation = try #require(cluster.records().first { $0.isEvaluation })
        #expect(evaluation.phase == "evaluate" && evaluation.validationTokens == 154)
        #expect(evaluation.validationLoss != nil)
        let report = command(["cox", "tail", cluster.run, "--once"]).output
        #expect(report.contains("evaluated evaluate: "), "\(report)")
        let ledger = fileText("\(cluster.run)/ledger.log")
        for phase in ["evaluate", "first", "second", "anneal"] {
          #expect(ledger.contains("\"phaseBegan\"") && ledger.contains("\"name\":\"\(phase)\""))
        }
        outcomes.append(cluster.outcome)
      }
    }
    #expect(outcomes[0] == outcomes[1])
  }

  @Test(.timeLimit(.minutes(3))) func `shows what each step read`() throws {
    try withRun(workerCount: 1) { cluster in
      func inspect(_ words: String...) throws -> [JSONNode] {
        let (code, output, errors) = command(["cox", "data", "inspect", cluster.run] + words)
        #expect(code == 0, "\(words): \(errors)")
        return try output.split(separator: "\n").map { try JSONReader.read(String($0)) }
      }
      func predictions(_ reading: JSONNode) throws -> Int {
        try #require(reading["sequences"]?.elements).reduce(0) { sum, sequence in
          let tokens = try #require(sequence["tokens"]?.elements).count
          return sum + tokens - 1 - (try #require(sequence["masked"]?.elements).count)
        }
      }
      let steps = try inspect("--step", "1", "--to", "3", "--json")
      #expect(steps.map { $0["step"]?.int } == [1, 2, 3])
      #expect(steps.allSatisfy { $0["phase"]?.string == "first" })
      #expect(try steps.map(predictions) == cluster.steps().prefix(3).map(\.tokens))
      let slices = steps[0]["sequences"]?.elements?.map { $0["slice"]?.int }
      #expect(slices == [0, 0, 1, 1, 2, 2, 3, 3])
      // Phases differ in their draws, validations at their ends in how much they read.
      let other = try inspect("--step", "1", "--phase", "second", "--json")
      #expect(other[0]["sequences"] != steps[0]["sequences"])
      let capped = try inspect("--validation", "end", "--phase", "second", "--json")
      #expect(try predictions(capped[0]) == cluster.records().last?.validationTokens)
      let whole = try inspect("--validation", "end", "--json")
      #expect(try predictions(whole[0]) == cluster.steps()[2].validationTokens)
      // The files, and the text for people.
      let files = command(["cox", "data", "inspect", cluster.run])
      #expect(files.code == 0 && files.output.contains("-training-00000.tokens"), "\(files)")
      let text = command(["cox", "data", "inspect", cluster.run, "--step", "2"])
      #expect(text.output.contains("first step 2, sequence 7 (slice 3), 78 tokens"))
      #expect(text.output.contains("<|bos|>"))

      for (words, code, problem) in [
        (["--step", "4"], 64, "has no step 4"), (["--step", "0"], 64, "0"),
        (["--step", "1", "--phase", "third"], 64, "it has evaluate, first, second"),
        (["--step", "1", "--validation", "end"], 64, "do not go together"),
        (["--to", "3"], 64, "--to needs --step"), (["--step", "3", "--to", "2"], 64, "before"),
        (["--phase", "first"], 64, "--phase needs"),
        (["--step", "1", "--tokenizer", cluster.run], 64, "--tokenizer is for files"),
      ] {
        let refused = command(["cox", "data", "inspect", cluster.run] + words)
        #expect(refused.code == Int32(code) && refused.errors.contains(problem), "\(refused)")
        #expect(refused.output.isEmpty)
      }
    }
  }
}
