import Settings
import System
import Testing

@Suite struct `The cox program` {
  static let commands = [
    "up", "tail", "report", "plan", "generate", "chat", "evaluate", "export", "import", "digest",
    "doctor", "tokenizer", "data", "bench",
    "tokenizer train", "tokenizer import", "tokenizer encode", "tokenizer decode", "data check",
    "data prepare", "data inspect", "data world", "bench step", "bench matmul", "bench attention",
    "bench decode", "bench optimizer", "bench rollout", "bench allreduce",
  ]

  private func cox(_ words: String...) -> (code: Int32, output: String, errors: String) {
    command(["cox"] + words)
  }

  @Test(arguments: commands) func `has help for every command`(name: String) {
    let words = name.split(separator: " ").map(String.init)
    let (code, output, errors) = command(["cox"] + words + ["--help"])
    #expect(code == 0)
    #expect(output.hasPrefix("OVERVIEW: "))
    #expect(output.contains("USAGE: cox \(name)"))
    #expect(errors.isEmpty)
  }

  @Test func `lists its commands when it is given none`() {
    let (code, output, _) = cox()
    #expect(code == 0)
    for name in Self.commands where !name.contains(" ") { #expect(output.contains("  \(name) ")) }
  }

  @Test(arguments: commands.filter { !["tokenizer", "data", "bench"].contains($0) })
  func `refuses an option it does not have`(name: String) {
    let words = name.split(separator: " ").map(String.init)
    let (code, output, errors) = command(["cox"] + words + ["--sede", "1"])
    #expect(code == 64)
    #expect(output.isEmpty)
    #expect(errors.contains("Unknown option '--sede'"))
    #expect(errors.contains("See 'cox \(name) --help'"))
  }

  @Test func `suggests what may have been meant`() {
    #expect(cox("tial").errors.contains("Did you mean 'tail'?"))
    #expect(cox("generate", "x", "--sed", "1").errors.contains("Did you mean '--seed'?"))
  }

  @Test func `says what is missing, and that nothing could be read, by its exit code`() {
    #expect(cox("digest").code == 64)
    #expect(cox("evaluate", "x").code == 64)
    #expect(cox("export", "x").code == 64)
    for words in [
      ["--loss", "t", "--out", "o"], ["--logits", "t", "--max-tokens", "5"],
      ["--logits", "t", "--matmul", "auto"], ["--logits", "t", "--loss", "t"],
    ] {
      let refused = command(["cox", "evaluate", "/nowhere"] + words)
      #expect(refused.code == 64, "\(words): \(refused.errors)")
    }
    #expect(cox("generate", "x", "--top-p", "0").code == 64)
    for words in [
      ["digest", "/nowhere"], ["tail", "/nowhere", "--once"], ["generate", "/nowhere"],
      ["evaluate", "/nowhere", "--loss", "/nowhere/text"], ["import", "/nowhere"],
      ["export", "/nowhere", "--hf", "/nowhere"], ["plan", "/nowhere.json"],
      ["up", "/nowhere.json"], ["data", "check", "/nowhere"], ["data", "inspect", "/nowhere"],
      ["tokenizer", "encode", "/nowhere", "--text", "x"], ["tokenizer", "import", "/nowhere"],
    ] {
      let (code, output, errors) = command(["cox"] + words)
      #expect(code == 66, "\(words): \(errors)")
      #expect(output.isEmpty && errors.hasPrefix("Error: "), "\(words): \(errors)")
    }
  }

  @Test func `refuses a plan that is wrong or does not fit, before anything runs`() throws {
    try withRunFolder { run in
      try Files.createDirectory(run)
      try Files.write("{\"dropuot\": 0.1}", to: "\(run)/plan.json")
      for name in ["plan", "up"] {
        let (code, _, errors) = cox(name, "\(run)/plan.json")
        #expect(code == 78)
        #expect(errors.contains("did you mean 'dropout'"))
      }
      let (code, _, errors) = cox(
        "plan", RealCluster.smoke, "--set", "model.width=49152", "--set", "model.layers=96",
        "--set", "model.head_width=128", "--set", "model.heads=384",
        "--threads", "1")
      #expect(code == 78)
      #expect(errors.contains("infeasible"), "\(errors)")
      #expect(!Files.exists("\(run)/ledger.log"))
    }
  }

  @Test func `takes world for the generated one only where nothing else has that name`() throws {
    try withRunFolder { folder in
      try Files.createDirectory("\(folder)/world")
      try Files.write("Text.", to: "\(folder)/world/text.txt")
      func plan(_ data: String, in place: String) -> (code: Int32, output: String, errors: String) {
        let words = "plan '\(RealCluster.smoke)' --threads 1 --data \(data)"
        return command(
          ["/bin/sh", "-c", "cd '\(place)' && exec '\(RealCluster.programs)/cox' \(words)"])
      }
      let refused = plan("world", in: folder)
      #expect(refused.code == 64 && refused.errors.contains("--data ./world"), "\(refused.errors)")
      #expect(plan("./world", in: folder).output.contains("./world"))
      #expect(plan("world", in: "\(folder)/world").code == 0)
    }
  }

  @Test func `prints a plan as text and as JSON`() throws {
    let text = cox("plan", RealCluster.smoke, "--workers", "3", "--threads", "1")
    #expect(text.code == 0)
    #expect(text.output.contains("166,752 parameters"))
    let json = cox("plan", RealCluster.smoke, "--workers", "3", "--threads", "1", "--json")
    let node = try JSONReader.read(json.output)
    #expect(node["parameters"]?.int == 166_752)
    #expect(node["workers"]?.int == 3)
  }

  @Test(arguments: ["bpe", "characters", "bytes"])
  func `turns text into ids and back`(kind: String) throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      let text = "Ferry 12 leaves at dawn, caf\u{E9} \u{1F600} open.\n  Two  spaces.\n\n"
      try Files.write(String(repeating: text, count: 20), to: "\(folder)/text.txt")
      let tokenizer = "\(folder)/tokenizer.json"
      let trained = cox(
        "tokenizer", "train", "\(folder)/text.txt", "--kind", kind, "--vocabulary", "300",
        "--out", tokenizer, "--json")
      #expect(trained.code == 0, "\(trained.errors)")
      let report = try JSONReader.read(trained.output)
      #expect(report["kind"]?.string == kind)
      let ids = cox("tokenizer", "encode", tokenizer, "--file", "\(folder)/text.txt")
      #expect(ids.code == 0)
      try Files.write(ids.output, to: "\(folder)/ids")
      let process = try ChildProcess(
        ["\(RealCluster.programs)/cox", "tokenizer", "decode", tokenizer, "--file",
          "\(folder)/ids"],
        output: .file("\(folder)/decoded"))
      #expect(exitCode(of: process) == 0)
      #expect(try Files.read("\(folder)/decoded") == Files.read("\(folder)/text.txt"))
      #expect(cox("tokenizer", "decode", tokenizer, "999999").code == 65)
    }
  }

  @Test func `imports tokenizers of others with their ids, and refuses by name`() throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      // GPT-2's pair of files: the bytes in the order of their letters, two merges, one special.
      let letters = (Array(33...126) + Array(161...172) + Array(174...255)).map { UInt32($0) }
        + (256..<324)
      let tokens = letters.compactMap { Unicode.Scalar($0).map { String($0) } } + ["lo", "low"]
      let vocabulary = (tokens + ["<|endoftext|>"]).enumerated().map { id, token in
        let isEscaped = token == "\"" || token == "\\"
        return "\"\(isEscaped ? "\\" : "")\(token)\": \(id)"
      }
      try Files.write("{\(vocabulary.joined(separator: ", "))}", to: "\(folder)/encoder.json")
      try Files.write("#version: 0.2\nl o\nlo w\n", to: "\(folder)/vocab.bpe")
      let out = "\(folder)/tokenizer.json"
      let imported = cox("tokenizer", "import", "\(folder)/vocab.bpe", "--out", out, "--json")
      #expect(imported.code == 0, "\(imported.errors)")
      let report = try JSONReader.read(imported.output)
      #expect(report["splitter"]?.string == "gpt2")
      #expect(report["vocabulary_size"]?.int == 259 && report["special_count"]?.int == 1)
      #expect(cox("tokenizer", "encode", out, "--text", "low!").output == "257 0")
      let asText = cox("tokenizer", "encode", out, "--text", "<|endoftext|>", "--json").output
      #expect(try JSONReader.read(asText).elements?.count == 13)

      // The longest token is another matter only where an early merge is in its way; not here.
      try Files.write("{\"text\":\"low\\nlo\"}\n{\"text\":\"\"}\n", to: "\(folder)/texts.jsonl")
      for mode in ["merges", "longest"] {
        let ids = cox(
          "tokenizer", "encode", out, "--jsonl", "--file", "\(folder)/texts.jsonl", "--mode", mode)
        #expect(ids.output == "[257,198,256]\n[]", "\(ids.errors)")
      }

      try Files.write("YQ== 0\n", to: "\(folder)/mine.tiktoken")
      let unnamed = cox("tokenizer", "import", "\(folder)/mine.tiktoken", "--out", out)
      #expect(unnamed.code == 65 && unnamed.errors.contains("--splitter cl100k|llama3|gpt2|o200k"))
      for (model, name) in [("Unigram", "[]"), ("WordPiece", "{}")] {
        try Files.write(
          "{\"model\":{\"type\":\"\(model)\",\"vocab\":\(name)}}", to: "\(folder)/other.json")
        let refused = cox("tokenizer", "import", "\(folder)/other.json", "--out", out)
        #expect(refused.code == 65 && refused.errors.contains(model), "\(refused.errors)")
      }
      #expect(try Files.read(out).count > 1000)
    }
  }

  @Test func `trains with every splitter`() throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      try Files.write(String(repeating: "It's 12345 camelCase. ", count: 9), to: "\(folder)/t.txt")
      for splitter in ["cl100k", "llama3", "gpt2", "o200k"] {
        let trained = cox(
          "tokenizer", "train", "\(folder)/t.txt", "--splitter", splitter, "--vocabulary", "270",
          "--out", "\(folder)/tokenizer.json", "--json")
        #expect(trained.code == 0, "\(trained.errors)")
        #expect(try JSONReader.read(trained.output)["splitter"]?.string == splitter)
        #expect(
          cox("tokenizer", "import", "\(folder)/tokenizer.json", "--out", "\(folder)/again.json",
            "--splitter", splitter).code == 0)
        #expect(try Files.read("\(folder)/tokenizer.json") == Files.read("\(folder)/again.json"))
      }
      #expect(cox("tokenizer", "train", "\(folder)/t.txt", "--splitter", "gpt4").code == 64)
    }
  }

  @Test func `writes examples of the world that can be read back, apart from its text`() throws {
    try withRunFolder { folder in
      let written = cox(
        "data", "world", "--seed", "5", "--documents", "20", "--out", "\(folder)/text",
        "--examples", "\(folder)/examples", "--conversations", "30", "--pairs", "40",
        "--agreement", "0.66")
      #expect(written.code == 0, "\(written.errors)")
      func rows(_ name: String) throws -> [JSONNode] {
        try fileText("\(folder)/examples/\(name).jsonl").split(separator: "\n")
          .map { try JSONReader.read(String($0)) }
      }
      let conversations = try rows("conversations"), pairs = try rows("pairs")
      #expect(conversations.count == 30 && pairs.count == 40)
      let lengths = conversations.map { $0["messages"]?.elements?.count ?? 0 }
      // A third has two or three questions: none of 30 has one time in 190,000.
      #expect(Set(lengths).isSubset(of: [2, 4, 6]) && Set(lengths).count > 1)
      #expect(lengths.count { $0 == 2 } > 0)
      // A prompt is a text, or messages where something was said before.
      for pair in pairs {
        let messages = pair["prompt"]?.elements?.count ?? 1
        #expect([1, 3, 5].contains(messages) && pair["prompt"] != nil)
      }
      #expect(Set(pairs.map { $0["prompt"]?.string == nil }).count == 2)
      #expect(pairs.allSatisfy { $0["chosen"]?.string != $0["rejected"]?.string })
      let unseen = try rows("unseen")
      #expect(unseen.count >= 500)
      for question in unseen {
        let index = try #require(question["answer_index"]?.int)
        #expect(question["choices"]?.elements?[index].string == question["answer"]?.string)
      }
      let asked = Set(
        conversations.flatMap { $0["messages"]?.elements ?? [] }.map { $0["content"]?.string })
      #expect(asked.isDisjoint(with: unseen.map { $0["question"]?.string }))
      #expect(cox("data", "check", "\(folder)/text").code == 0)
      let idle = cox("data", "world", "--out", "\(folder)/text", "--pairs", "3")
      #expect(idle.code == 64 && idle.errors.contains("--examples <directory>"))
    }
  }

  @Test func `labels as many pairs by the rule as is asked for`() throws {
    try withRunFolder { folder in
      func pairs(_ agreement: String) -> [Substring] {
        let written = cox(
          "data", "world", "--documents", "1", "--out", "\(folder)/text", "--examples", folder,
          "--conversations", "0", "--pairs", "2000", "--agreement", agreement)
        #expect(written.code == 0, "\(written.errors)")
        return fileText("\(folder)/pairs.jsonl").split(separator: "\n")
      }
      // All follow the rule; the noise exchanges the answers of some and leaves the others alone.
      let ruled = pairs("1"), noisy = pairs("0.66")
      #expect(ruled.count == 2000 && noisy.count == 2000)
      let agreeing = zip(ruled, noisy).count { $0 == $1 }
      // 0.66 and 5 deviations of a binomial: 5 sqrt(0.66 x 0.34 / 2000) = 0.053.
      #expect(abs(Double(agreeing) / 2000 - 0.66) < 0.053, "\(agreeing) of 2000")
    }
  }

  @Test func `names the byte at which text is not UTF-8`() throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      try Files.write([0x61, 0x62, 0xFF, 0x63], to: "\(folder)/text.txt")
      let (code, output, _) = cox("data", "check", "\(folder)/text.txt")
      #expect(code == 65)
      #expect(output.contains("not UTF-8 at byte 2"))
    }
  }

  @Test func `writes the same world for the same seed`() throws {
    try withRunFolder { folder in
      for name in ["a", "b"] {
        let (code, output, _) = cox(
          "data", "world", "--seed", "5", "--documents", "30", "--out", "\(folder)/\(name)")
        #expect(code == 0)
        #expect(output == "\(folder)/\(name)/world.jsonl")
      }
      let first = try Files.read("\(folder)/a/world.jsonl")
      #expect(first.count > 1000)
      #expect(try first == Files.read("\(folder)/b/world.jsonl"))
      let check = cox("data", "check", "\(folder)/a", "--json")
      #expect(try JSONReader.read(check.output)["document_count"]?.int == 30)
    }
  }

  @Test func `measures generation and attention in figures that belong together`() throws {
    let decode = cox(
      "bench", "decode", "--shape", "tiny", "--streams", "3", "--context", "20", "--tokens", "4",
      "--threads", "1", "--json")
    let figures = try JSONReader.read(decode.output)
    // 4 layers of width 128 with 4 heads of 32 and feed-forward 352, and a head of 2048: bf16.
    let weights = 2 * (4 * 128 * (4 * 128 + 3 * 352) + 2048 * 128)
    #expect(figures["weight_bytes_per_token"]?.int == weights / 3, "\(decode.errors)")
    #expect(figures["cache_bytes_per_token"]?.int == 2 * 2 * 4 * 128 * 22)
    for key in ["prefill_tokens_per_s", "tokens_per_s_median", "read_GBps_measured"] {
      #expect(try #require(figures[key]?.double) > 0)
    }
    #expect(cox("bench", "decode", "--shape", "tiny", "--context", "4096").code == 64)

    let rollout = cox(
      "bench", "rollout", "--shape", "tiny", "--streams", "3", "--requests", "5", "--prompt", "6",
      "--tokens", "4", "--rounds", "2", "--threads", "1", "--json")
    let rates = try JSONReader.read(rollout.output)
    #expect(try #require(rates["tokens_per_s_median"]?.double) > 0, "\(rollout.errors)")
    guard case .object(let shares)? = rates["share_by"]?.value else {
      Issue.record("\(rollout.output)")
      return
    }
    #expect(Set(shares.map(\.key)).isSuperset(of: ["matmul", "attention", "head", "sampling"]))
    // Rounded to four places each.
    #expect(abs(shares.reduce(0) { $0 + ($1.node.double ?? 0) } - 1) < 1e-3)
    #expect(cox("bench", "rollout", "--shape", "tiny", "--tokens", "300").code == 64)

    let attention = cox(
      "bench", "attention", "--shape", "tiny", "--rounds", "2", "--threads", "1", "--json")
    let parts = try JSONReader.read(attention.output)
    for key in ["forward", "backward", "both"] {
      #expect(try #require(parts["\(key)_gflops"]?.double) > 0, "\(attention.errors)")
    }
  }

  @Test(.enabled(if: ProcessMemory.obstacle == nil), arguments: [[], ["--no-lending"]])
  func `measures the exchange, lent and over TCP`(options: [String]) throws {
    let byteCount = 1 << 20, rounds = 3
    let (code, output, errors) = command(
      ["cox", "bench", "allreduce", "--workers", "3", "--bytes", "\(byteCount)", "--rounds",
        "\(rounds)", "--json"] + options)
    #expect(code == 0, "\(errors)")
    let figures = try JSONReader.read(output)
    // Each of three ranks holds one node: 4 E (n + 1) (N - 1) / N bytes, headers apart.
    let payload = 2 * 2 * byteCount * rounds
    let sent = try #require(figures["bytes_sent"]?.int)
    #expect(sent >= payload && Double(sent) < 1.01 * Double(payload))
    #expect(figures["bytes_lent"]?.int == (options.isEmpty ? payload : 0))
    for key in ["busbw_GBps", "core_seconds_per_GB"] {
      #expect(try #require(figures[key]?.double) > 0)
    }
  }

  @Test func `measures an update beside a probe of as many bytes`() throws {
    let (code, output, errors) = cox(
      "bench", "optimizer", "--shape", "tiny", "--rounds", "2", "--threads", "1", "--json")
    #expect(code == 0, "\(errors)")
    let figures = try JSONReader.read(output)
    #expect(figures["bytes_per_parameter"]?.int == 32)
    for key in ["GBps", "GBps_probe", "of_probe"] {
      #expect(try #require(figures[key]?.double) > 0)
    }
  }

  /// Two steps, so that what the first one packed shows in the second one's loss.
  @Test func `a step with fusions taken apart ends with the same digest`() throws {
    func figures(without fusions: String) throws -> JSONNode {
      let step = cox(
        "bench", "step", "--shape", "tiny", "--steps", "2", "--threads", "1", "--json",
        "--without", fusions)
      #expect(step.code == 0, "\(step.errors)")
      return try JSONReader.read(step.output)
    }
    let apart = try figures(without: "norm-pack,rotary,swiglu,head,optimizer")
    let fused = try figures(without: "head")
    #expect(apart["digest"]?.string == fused["digest"]?.string)
    #expect(apart["without"]?.elements?.count == 5)
    let (more, less) = (apart["bytes_moved_per_step"]?.int, fused["bytes_moved_per_step"]?.int)
    #expect(try #require(more) > #require(less))
    let typo = cox("bench", "step", "--without", "swiglue")
    #expect(typo.code == 64 && typo.errors.contains("there is no fusion 'swiglue'"))
  }

  @Test func `reports on the machine`() throws {
    let (code, output, _) = cox("doctor", "--json")
    #expect(code == 0)
    let lines = try JSONReader.read(output).elements ?? []
    #expect(lines.count >= 10)
    #expect(lines.allSatisfy { ["OK", "WARN"].contains($0["verdict"]?.string) })
  }
}

@Suite(.serialized) struct `A run under cox up` {
  /// The smoke plan with six steps.
  private func shortPlan(in folder: String) throws -> String {
    let text = String(decoding: try Files.read(RealCluster.smoke), as: UTF8.self)
    let short = text.replacing("\"steps\": 40", with: "\"steps\": 6")
    #expect(short != text)
    try Files.createDirectory(folder)
    try Files.write(short, to: "\(folder)/short.json")
    return "\(folder)/short.json"
  }

  @Test(.timeLimit(.minutes(2)))
  func `trains, and its checkpoint can be digested, measured and continued`() throws {
    try withRunFolder { folder in
      let plan = try shortPlan(in: folder)
      let run = "\(folder)/run"
      let up = command(
        ["cox", "up", plan, "--run", run, "--workers", "2", "--threads", "1", "--json"])
      #expect(up.code == 0, "\(up.errors)")
      #expect(up.errors.contains("166,752 parameters"))
      #expect(up.errors.contains(" 1/6 "))
      #expect(try JSONReader.read(up.output)["step"]?.int == 6)

      let digest = command(["cox", "digest", run])
      #expect(digest.code == 0)
      #expect(digest.output.count == 64 && digest.output.allSatisfy(\.isHexDigit))
      let checkpoint = "\(run)/checkpoints/pretrain-6"
      #expect(command(["cox", "digest", checkpoint]).output == digest.output)

      let tail = command(["cox", "tail", run, "--once"])
      #expect(tail.code == 0)
      #expect(tail.output.contains("step 6 of 6") && tail.output.contains("ETA       done"))
      #expect(command(["cox", "tail", run]).output.contains("ETA       done"))

      try expectSameTextAlone(run)
      try expectLoss(run, folder)

      try expectExport(run, plan, folder)

      // One flipped bit is found out.
      var weights = try Files.read("\(checkpoint)/model.safetensors")
      weights[weights.count - 5] ^= 4
      try Files.write(weights, to: "\(checkpoint)/model.safetensors")
      let damaged = command(["cox", "digest", checkpoint])
      #expect(damaged.code == 65)
      #expect(damaged.output.isEmpty && damaged.errors.contains("model.safetensors"))
    }
  }

  static let hasTmux = command(["/usr/bin/env", "tmux", "-V"]).code == 0

  @Test(.timeLimit(.minutes(2)), .enabled(if: hasTmux, "needs tmux"))
  func `shows its report unbroken in a terminal of 120 columns`() throws {
    try withRunFolder { folder in
      let run = "\(folder)/run"
      let up = command(["cox", "up", try shortPlan(in: folder), "--run", run, "--threads", "1"])
      #expect(up.code == 0, "\(up.errors)")
      // A server of its own, so that no other session is touched.
      let tmux = ["/usr/bin/env", "tmux", "-f", "/dev/null", "-S", "\(folder)/tmux"]
      defer { _ = command(tmux + ["kill-server"]) }
      let cox = "'\(RealCluster.programs)/cox' tail '\(run)'; sleep 60"
      _ = command(tmux + ["new-session", "-d", "-x", "120", "-y", "60", cox])
      func screen() -> [String] {
        command(tmux + ["capture-pane", "-p"]).output.split(separator: "\n").map(String.init)
      }
      #expect(eventually { screen().contains { $0.contains("ETA       done") } }, "\(screen())")
      // The first and the last step at least, each on one line from its time to its ETA, and above
      // them the heads of their columns.
      let table = screen().filter { $0.contains(" | ") }
      #expect(table.first?.hasSuffix("ETA") == true, "\(table)")
      #expect(table.count >= 3 && table.allSatisfy { $0.split(separator: "|").count == 3 })
    }
  }

  /// The second of three continuations, and the first whose seed is one higher, are one text.
  private func expectSameTextAlone(_ run: String) throws {
    let words = ["cox", "generate", run, "--prompt", "The ", "--max-tokens", "20", "--json"]
    let three = command(words + ["--seed", "4", "--count", "3", "--threads", "1"])
    let alone = command(words + ["--seed", "5", "--threads", "2"])
    #expect(three.code == 0 && alone.code == 0, "\(three.errors)\(alone.errors)")
    let lines = three.output.split(separator: "\n").map(String.init)
    #expect(lines.count == 3)
    #expect(lines.dropFirst().first == alone.output)
  }

  private func expectLoss(_ run: String, _ folder: String) throws {
    try Files.write("Ann lives in a town by the sea. ", to: "\(folder)/text")
    let words = ["cox", "evaluate", run, "--loss", "\(folder)/text", "--json"]
    let found = command(words)
    #expect(found.code == 0, "\(found.errors)")
    let report = try JSONReader.read(found.output)
    let loss = try #require(report["loss"]?.double)
    let bits = try #require(report["bits_per_byte"]?.double)
    #expect(loss > 1 && loss < 10 && bits > 1)
    #expect(try #require(report["tokens"]?.int) > 1)
    // The same sums, whoever computes them.
    #expect(command(words + ["--threads", "1"]).output == found.output)
    let exact = command(words + ["--precision", "f32"])
    let other = try #require(
      try JSONReader.read(exact.output)["loss"]?.double)
    // bf16 operands keep 8 bits; the mean over tokens is closer than any one of them.
    #expect(abs(other - loss) < 0.02)
  }

  /// Out as a Hugging Face folder, in again, and on from there: always the same model.
  private func expectExport(_ run: String, _ plan: String, _ folder: String) throws {
    let hf = "\(folder)/hf"
    let exported = command(["cox", "export", run, "--hf", hf, "--json"])
    #expect(exported.code == 0, "\(exported.errors)")
    #expect(try JSONReader.read(exported.output)["files"]?.elements?.count == 6)
    let again = command(["cox", "export", run, "--hf", hf])
    #expect(again.code == 64)
    #expect(again.errors.contains("--force"))
    #expect(command(["cox", "export", run, "--hf", hf, "--force"]).code == 0)
    let imported = command(["cox", "import", hf, "--out", "\(folder)/in"])
    #expect(imported.code == 0, "\(imported.errors)")
    let measure = ["--loss", "\(folder)/text", "--json"]
    let losses = try [run, "\(folder)/in"].map {
      try JSONReader.read(command(["cox", "evaluate", $0] + measure).output)["loss"]?.double
    }
    #expect(losses[0] != nil && losses[0] == losses[1])
    try expectLogits(run, folder)
    try expectHugeWeightsRefused(hf, folder)

    // From the export, from what was imported, or from the run: the same start, the same end.
    var digests: Set<String> = []
    for (index, start) in [hf, "\(folder)/in", run].enumerated() {
      let further = "\(folder)/further-\(index)"
      let up = command(
        ["cox", "up", plan, "--run", further, "--threads", "1", "--workers", "\(index + 1)",
          "--set", "initialization.from=\(start)"])
      #expect(up.code == 0, "\(up.errors)")
      #expect(up.errors.contains("initial weights: \(start)"))
      digests.insert(command(["cox", "digest", further]).output)
    }
    #expect(digests.count == 1 && digests.first != command(["cox", "digest", run]).output)

    let other = command(
      ["cox", "up", plan, "--run", "\(folder)/other", "--threads", "1", "--set",
        "initialization.from=\(hf)", "--set", "model.feed_forward=137"])
    #expect(other.code == 78)
    #expect(other.errors.contains("model.feed_forward: 136, the plan 137"), "\(other.errors)")
    let reader = command(
      ["cox", "up", plan, "--run", "\(folder)/other", "--threads", "1", "--set",
        "initialization.from=\(hf)", "--set", "tokenizer.vocabulary=508"])
    #expect(reader.code == 78)
    #expect(reader.errors.contains("tokenizer.vocabulary: 509, the plan 508"), "\(reader.errors)")
  }

  /// The last tensor of the file is the final norm's gain: as huge numbers it makes logits that no
  /// f32 holds, although every weight is finite.
  private func expectHugeWeightsRefused(_ hf: String, _ folder: String) throws {
    let path = "\(hf)/model.safetensors"
    let good = try Files.read(path)
    let config = try JSONReader.read(try Files.read("\(hf)/config.json"))
    let width = try #require(config["hidden_size"]?.int)
    let gain = (0..<width).flatMap { _ in [0, 0, 0x7F, 0x7F] as [UInt8] }
    try Files.write(Array(good.dropLast(gain.count)) + gain, to: path)
    #expect(command(["cox", "import", hf, "--out", "\(folder)/huge"]).code == 0)
    let refused = command(
      ["cox", "evaluate", "\(folder)/huge", "--loss", "\(folder)/text", "--json"])
    #expect(refused.code == 65)
    #expect(refused.output.isEmpty)
    #expect(refused.errors.contains("the model's weights are too large"), "\(refused.errors)")
    try Files.write(good, to: path)
  }

  private func expectLogits(_ run: String, _ folder: String) throws {
    let out = "\(folder)/logits"
    let words = ["cox", "evaluate", run, "--logits", "\(folder)/text", "--out", out, "--json"]
    let found = try JSONReader.read(command(words).output)
    let count = try #require(found["tokens"]?.int)
    let vocabulary = try #require(found["vocabulary"]?.int)
    #expect(vocabulary == 509)
    // The header, and a row of f32 for each token.
    #expect(try Files.read(out).count > 4 * count * vocabulary)
    try Files.write(String(repeating: "long ", count: 400), to: "\(folder)/long")
    let long = command(["cox", "evaluate", run, "--logits", "\(folder)/long", "--out", out])
    #expect(long.code == 65)
    #expect(long.errors.contains("a context of 77"))
  }

  @Test(.timeLimit(.minutes(2)))
  func `stops with a checkpoint at the first Ctrl-C and goes on at the same command`() throws {
    try withRunFolder { run in
      try Files.createDirectory(run)
      func start(_ log: String) throws -> ChildProcess {
        try ChildProcess(
          ["\(RealCluster.programs)/cox", "up", RealCluster.smoke, "--run", "\(run)/run",
            "--threads", "1"],
          output: .file("\(run)/\(log).out"), errors: .file("\(run)/\(log).err"))
      }
      func text(_ name: String) -> String { fileText("\(run)/\(name)") }
      let first = try start("first")
      #expect(eventually { text("first.err").contains(" 1/40 ") })
      first.signal(Signal.interrupt.rawValue)
      #expect(exitCode(of: first) == 75, "\(text("first.err"))")
      #expect(text("first.err").contains("go on with: "))
      let second = try start("second")
      #expect(exitCode(of: second, atMost: 90) == 0, "\(text("second.err"))")
      #expect(text("second.err").contains("resumed at position"))
      #expect(!text("second.err").contains(" 1/40 "))
    }
  }

  /// Killed, or ended by writing where nobody reads: `cox up 2>&1 | head`.
  @Test(.timeLimit(.minutes(3)), arguments: [9, 13] as [Int32])
  func `leaves a checkpoint and no process behind when it is killed`(signal: Int32) throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      let words = ["up", RealCluster.smoke, "--run", "\(folder)/run", "--threads", "1"]
      let up = try ChildProcess(
        ["\(RealCluster.programs)/cox"] + words + ["--workers", "2"],
        output: .file("\(folder)/out"), errors: .file("\(folder)/err"))
      #expect(eventually { fileText("\(folder)/err").contains(" 1/40 ") })
      let children = try Files.read(
        "/proc/\(up.identifier)/task/\(up.identifier)/children", byteCountMax: 4096)
      let identifiers = String(decoding: children, as: UTF8.self).split(separator: " ")
      #expect(identifiers.count == 3)
      up.signal(signal)
      #expect(exitCode(of: up) == 128 + signal)
      #expect(eventually { !identifiers.contains(where: isRunning) }, "\(identifiers)")
      let again = command(["cox"] + words)
      #expect(again.code == 0 && again.errors.contains("resumed at position"), "\(again.errors)")
    }
  }

  /// A process that has ended may still be listed, until its parent looks.
  private func isRunning(_ identifier: Substring) -> Bool {
    let fields = fileText("/proc/\(identifier)/stat").split(separator: ") ").last
    return fields.map { !$0.hasPrefix("Z") } ?? false
  }
}
