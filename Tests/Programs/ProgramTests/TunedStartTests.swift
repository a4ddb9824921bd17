import Settings
import System
import Testing

/// Runs that go on from a model which learned to chat elsewhere.
@Suite(.serialized) struct `A run from a model that chats` {
  private static let quick =
    "\"validation\": { \"tokens\": 256, \"every\": 0, \"full_at_end\": false }"

  private static func plan(_ phases: String, from: String? = nil) -> String {
    """
    {
      "name": "tuned", "seed": 3, "checkpoints": { "every": 0 },
      "model": { "layers": 1, "width": 64, "heads": 4, "context": 192 },
      "batch": { "sequences": 4, "slices": 2, "microbatch": 2 }, "tokenizer": { "kind": "bytes" },
      "initialization": { \(from.map { "\"from\": \"\($0)\"" } ?? "") },
      "data": { "source": "world", "documents": 400 },
      "phases": [
        { "kind": "tokenizer" },
        \(phases.replacing("QUICK", with: quick))
      ],
    }
    """
  }

  private func train(_ plan: String, in run: String) throws {
    try Files.createDirectory(run)
    try Files.write(plan, to: "\(run)/plan.json")
    let made = command(
      ["cox", "up", "\(run)/plan.json", "--run", run, "--workers", "1", "--threads", "1"])
    #expect(made.code == 0, "\(made.errors)")
  }

  /// What `cox generate` says on standard error, and the text.
  private func generate(
    _ path: String, _ options: String...
  ) throws -> (errors: String, text: String?) {
    let said = command(
      ["cox", "generate", path, "--prompt", "Where does Petra live?", "--threads", "1", "--json",
        "--max-tokens", "4", "--temperature", "0"] + options)
    #expect(said.code == 0, "\(said.errors)")
    return (said.errors, try JSONReader.read(said.output)["text"]?.string)
  }

  private let untuned = "was never fine-tuned", hint = "--chat lets it answer"

  @Test(.timeLimit(.minutes(3)))
  func `holds what it learns against the model that it began with`() throws {
    try withRunFolder { run in
      let (base, further) = ("\(run)/base", "\(run)/further")
      try train(Self.plan("{ \"kind\": \"sft\", \"steps\": 1, QUICK }"), in: base)
      try train(
        Self.plan(
          "{ \"kind\": \"evaluate\" }, { \"kind\": \"dpo\", \"steps\": 1, QUICK }",
          from: "\(base)/checkpoints/sft-1"), in: further)
      let start = "\(further)/checkpoints/evaluate-0"
      #expect(try !generate(start, "--chat").errors.contains(untuned))
      let report = command(
        ["cox", "report", further, "--limit", "5", "--threads", "1", "--json"])
      #expect(report.code == 0, "\(report.errors)")
      let phases = try #require(JSONReader.read(report.output)["phases"]?.elements)
      #expect(phases.map { $0["phase"]?.string } == ["evaluate", "dpo"])
      // Both are asked in the chat format, and the second is held against the first.
      #expect(phases.allSatisfy { $0["answers"] != nil && $0["shots"] == nil })
      #expect(phases[0]["win_rate"] == nil && phases[1]["win_rate"] != nil)
      let text = command(["cox", "report", further, "--limit", "5", "--threads", "1"])
      #expect(text.output.contains("better than evaluate %"), "\(text.output)")
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `is told from one that continues text, also when it comes from a folder`() throws {
    try withRunFolder { run in
      for (kind, isTuned) in [("sft", true), ("pretrain", false)] {
        let own = "\(run)/\(kind)"
        try train(Self.plan("{ \"kind\": \"\(kind)\", \"steps\": 1, QUICK }"), in: own)
        #expect(command(["cox", "export", own, "--hf", "\(own)-hf"]).code == 0)
        #expect(command(["cox", "import", "\(own)-hf", "--out", "\(own)-in"]).code == 0)
        for path in [own, "\(own)-in"] {
          let (raw, chat) = (try generate(path), try generate(path, "--chat"))
          #expect(raw.errors.contains(hint) == isTuned)
          #expect(chat.errors.contains(untuned) != isTuned)
          #expect(!chat.errors.contains(hint) && !raw.errors.contains(untuned))
          // The prompt is what is continued, or what is answered.
          #expect(try #require(raw.text).hasPrefix("Where does Petra live?"))
          #expect(try !#require(chat.text).contains("Petra"))
        }
      }
    }
  }

  @Test(.timeLimit(.minutes(3))) func `answers a prompt as it does in a conversation`() throws {
    try withRunFolder { run in
      try train(Self.plan("{ \"kind\": \"sft\", \"steps\": 1, QUICK }"), in: run)
      try Files.write("Where does Petra live?\n", to: "\(run)/lines")
      let chat = command(
        ["/bin/sh", "-c", "exec \"$0\" \"$@\" < \(run)/lines", "\(RealCluster.programs)/cox",
          "chat", run, "--threads", "1", "--json", "--max-tokens", "4", "--temperature", "0"])
      let answer = try JSONReader.read(chat.output)["answer"]?.string
      #expect(try answer != nil && generate(run, "--chat").text == answer)
      #expect(command(["cox", "generate", run, "--chat"]).code == 64)
      let long = String(repeating: "a", count: 200)
      let refused = command(["cox", "generate", run, "--chat", "--prompt", long])
      #expect(refused.code == 64 && refused.errors.contains("204 tokens"), "\(refused.errors)")
    }
  }
}
