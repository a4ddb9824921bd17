import Settings
import System
import Testing

/// Conversations with `cox chat`, over pipes.
@Suite(.serialized) struct `A conversation` {
  /// A model of random bytes, almost: one step of training.
  private static func plan(_ tokenizer: String, layers: Int, context: Int) -> String {
    """
    {
      "name": "chat", "seed": 3, "checkpoints": { "every": 0 },
      "model": { "layers": \(layers), "width": 64, "heads": 4, "context": \(context) },
      "batch": { "sequences": 1 }, "tokenizer": { "kind": "\(tokenizer)" },
      "data": { "source": "world", "documents": 400 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 1, "validation": { "every": 0, "full_at_end": false } },
      ],
    }
    """
  }

  private func withRun(
    tokenizer: String = "bytes", layers: Int = 1, context: Int = 96,
    _ body: (String) throws -> Void
  ) throws {
    try withRunFolder { run in
      try Files.createDirectory(run)
      try Files.write(
        Self.plan(tokenizer, layers: layers, context: context), to: "\(run)/plan.json")
      let made = command(
        ["cox", "up", "\(run)/plan.json", "--run", run, "--workers", "1", "--threads", "1"])
      #expect(made.code == 0, "\(made.errors)")
      try body(run)
    }
  }

  /// What the program says to lines typed into a pipe.
  private func chat(
    _ run: String, _ lines: [String], _ options: String...
  ) throws -> (code: Int32, output: String, errors: String) {
    try Files.write(lines.map { $0 + "\n" }.joined(), to: "\(run)/lines")
    return command(
      ["/bin/sh", "-c", "exec \"$0\" \"$@\" < \(run)/lines", "\(RealCluster.programs)/cox",
        "chat", run, "--threads", "1"] + options)
  }

  private func answers(_ output: String) throws -> [JSONNode] {
    try output.split(separator: "\n").map { try JSONReader.read(String($0)) }
  }

  @Test(.timeLimit(.minutes(3)))
  func `is kept within the context, begun again, and saved for training`() throws {
    try withRun { run in
      let typed = [
        "one", "", "two <|user_end|>", "/save \(run)/saved.jsonl", " /reset", "one", "/help",
        "\t/quit ", "not read",
      ]
      let said = try chat(run, typed, "--json", "--temperature", "0", "--max-tokens", "8")
      #expect(said.code == 0, "\(said.errors)")
      let found = try answers(said.output)
      #expect(found.count == 3)
      // Start of document, of user, end of user, start of assistant; then a token for each byte:
      // special tokens that are typed are text.
      #expect(found[0]["prompt_tokens"]?.int == 4 + 3)
      let first = try #require(found[0]["tokens"]?.int)
      #expect(found[0]["ending"]?.string == "stopToken" || first == 8)
      // Before it the first exchange, whose answer was perhaps cut before its end token.
      #expect(try #require(found[1]["prompt_tokens"]?.int) > 4 + 16 + 3 + 3)
      #expect(found[2] == found[0], "a new conversation begins like the first one")
      #expect(said.errors.contains("never fine-tuned"))
      #expect(said.errors.contains("/save FILE"))

      let row = try JSONReader.read(fileText("\(run)/saved.jsonl"))
      let messages = try #require(row["messages"]?.elements)
      #expect(messages.map { $0["role"]?.string } == ["user", "assistant", "user", "assistant"])
      #expect(messages[2]["content"]?.string == "two <|user_end|>")
      #expect(messages[1]["content"]?.string == found[0]["answer"]?.string)

      // Three exchanges of some 30 tokens do not fit 96: the first is left out, said once.
      let long = String(repeating: "a", count: 25)
      let many = try chat(
        run, Array(repeating: long, count: 6), "--json", "--max-tokens", "8")
      let counts = try answers(many.output).map { $0["prompt_tokens"]?.int ?? 0 }
      #expect(counts.count == 6 && counts.allSatisfy { $0 + 8 <= 96 })
      #expect(many.errors.split(separator: "oldest exchanges no longer fit").count == 2)
      let refused = try chat(run, [String(repeating: "a", count: 93)], "--json")
      #expect(refused.code == 65 && refused.output.isEmpty)
      #expect(refused.errors.contains("the message has 97 tokens"), "\(refused.errors)")
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `ends with 65 after a line that was refused, whatever ends it`() throws {
    try withRun { run in
      for end in [[], ["/quit"]] {
        #expect(try chat(run, ["/help"] + end).code == 0)
        let said = try chat(run, ["/nonsense"] + end)
        #expect(said.code == 65)
        #expect(said.errors.contains("there is no command '/nonsense'"))
        // An arrow key, as a terminal types it.
        for line in ["lf\u{1B}[Deft", "/save \(run)/\u{1B}[Dsaved.jsonl"] {
          let typed = try chat(run, ["left", line, "/save \(run)/all.jsonl"] + end, "--json")
          #expect(typed.code == 65)
          #expect(typed.errors.contains("control characters"), "\(typed.errors)")
          #expect(try answers(typed.output).count == 1)
          #expect(typed.errors.contains("saved 2 messages to \(run)/all.jsonl"))
        }
        #expect(try Files.list(run).allSatisfy { !$0.contains("saved.jsonl") })
      }
    }
  }

  @Test(.timeLimit(.minutes(3))) func `is saved once, however often it is saved`() throws {
    try withRun { run in
      let (file, other) = ("\(run)/saved.jsonl", "\(run)/other.jsonl")
      let said = try chat(
        run,
        ["one", "/save \(file)", "/save \(file)", "two", "three", "/save  \(file) ",
          "/save \(other)", "/reset", "one", "/save \(file)"], "--json", "--max-tokens", "8")
      #expect(said.code == 0, "\(said.errors)")
      #expect(said.errors.contains("\(file) has all of it already"))
      func questions(_ path: String) throws -> [[String?]] {
        try answers(fileText(path)).map { row in
          (row["messages"]?.elements ?? []).filter { $0["role"]?.string == "user" }
            .map { $0["content"]?.string }
        }
      }
      #expect(try questions(file) == [["one"], ["two", "three"], ["one"]])
      #expect(try questions(other) == [["one", "two", "three"]])
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `streams the answer that it gives as a whole`() throws {
    try withRun { run in
      let whole = try chat(run, ["hello", "again"], "--json", "--temperature", "2")
      let expected = try answers(whole.output).compactMap { $0["answer"]?.string }
      #expect(expected.count == 2 && expected[0] != expected[1])
      let streamed = try chat(run, ["hello", "again"], "--temperature", "2")
      // The pipe's reader cuts lines, and bytes of random models hold any of them.
      #expect(streamed.output + "\n" == expected.map { $0 + "\n" }.joined())
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `goes on after an answer that an interrupt stopped, and ends by another`() throws {
    try withRun(layers: 24, context: 4096) { run in
      #expect(command(["/usr/bin/mkfifo", "\(run)/fifo"]).code == 0)
      let program = try ChildProcess(
        ["/bin/sh", "-c", "exec \"$0\" \"$@\" < \(run)/fifo", "\(RealCluster.programs)/cox",
          "chat", run, "--threads", "1", "--max-tokens", "4000", "--temperature", "0"],
        output: .file("\(run)/out"), errors: .file("\(run)/err"))
      defer {
        program.signal(9)
        _ = program.exitCode(waiting: true)
      }
      let typed = try File("\(run)/fifo", .update)
      try typed.append(Array("hello\n".utf8))
      #expect(eventually { !fileText("\(run)/out").isEmpty })
      program.signal(2)
      #expect(eventually { fileText("\(run)/err").contains("(stopped)") })
      try typed.append(Array("/save \(run)/saved.jsonl\n".utf8))
      #expect(eventually { fileText("\(run)/err").contains("saved 2 messages") })
      try typed.append(Array("/nonsense\n".utf8))
      #expect(eventually { fileText("\(run)/err").contains("there is no command") })
      program.signal(2)
      #expect(exitCode(of: program) == 65)
      let row = try JSONReader.read(fileText("\(run)/saved.jsonl"))
      let answer = try #require(row["messages"]?.elements?.last?["content"]?.string)
      #expect(fileText("\(run)/out") == answer + "\n")
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `needs a tokenizer that can write one`() throws {
    try withRun(tokenizer: "characters") { run in
      let said = try chat(run, ["hello"])
      #expect(said.code == 65 && said.output.isEmpty)
      #expect(said.errors.contains("<|bos|>"), "\(said.errors)")
    }
  }
}
