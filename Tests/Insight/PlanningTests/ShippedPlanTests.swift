import FoundationEssentials
import Planning
import Settings
import Tensors
import Testing

private func shipped(_ name: String, data: String? = nil) throws -> PlanResolution {
  let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
  let path = "launch/plans/\(name).json"
  let text = try String(contentsOfFile: "/\(root)/\(path)", encoding: .utf8)
  return try PlanResolver.resolve(text: text, path: path, dataOverride: data)
}

@Suite struct `Shipped plans` {
  /// Every plan of the folder.
  static let names: [String] = {
    let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    let plans = "/\(root)/launch/plans"
    let files = (try? FileManager.default.contentsOfDirectory(atPath: plans)) ?? []
    return files.filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }.sorted()
  }()

  @Test(arguments: names)
  func `resolve, are named as their file, and take other text`(name: String) throws {
    let resolution = try shipped(name)
    #expect(resolution.plan.name == name)
    #expect(try ResolvedPlan(planJSON: resolution.plan.planJSON()) == resolution.plan)
    let other = try shipped(name, data: "my/text").plan
    #expect(other.phases.allSatisfy { $0.data.source == .path("my/text") })
  }

  @Test func `are found`() { #expect(Set(Self.names).isSuperset(of: ["quickstart", "smoke"])) }

  @Test func `smoke is made to catch inexactness`() throws {
    let plan = try shipped("smoke").plan
    let model = plan.model
    #expect(plan.batch.slices == 8)
    #expect(model.layerCount >= 3)
    // Vectors have 16 lanes, panels 64 columns, tiles 6 rows.
    for size in [model.modelWidth, model.feedForwardWidth, model.vocabularySize] {
      #expect(size % 16 != 0, "\(size)")
    }
    #expect(plan.batch.microbatch * model.sequenceLength % 6 != 0)
    #expect(model.keyValueHeadCount < model.headCount)
    #expect(model.isHeadTied)
    #expect(plan.batch.microbatchesPerSlice == 2)
    #expect(plan.dropout > 0)
    #expect(plan.phases[1].steps == 40 && plan.phases[1].validation.every == 10)
    #expect(plan.phases[1].data.attention == .document)
    let buckets = BucketPlan.buckets(
      layout: ParameterLayout(model), lookupCount: model.vocabularySize * model.modelWidth)
    #expect(buckets.count >= 4)
    // 15 s on one thread at a few GFLOP/s, which is what small products reach.
    let tokens = Double(40 * plan.tokensPerStep)
    #expect(tokens * ModelFlops(model).perToken < 0.15e12)
  }

  @Test(arguments: [("quickstart", 8.0), ("text", 4)])
  func `the first runs train for minutes on two cores`(name: String, minutes: Double) throws {
    let plan = try shipped(name).plan
    #expect((1_000_000...3_000_000).contains(ParameterLayout(plan.model).parameterCount))
    // Half of two cores' 230 GFLOP/s, which pretraining passes. Examples are taken at the
    // context's length here, and are about half as long.
    let time = TimeEstimate(
      plan: plan, workerCount: 2, threadCount: 1,
      assumptions: .init(peakPerThread: 230, efficiency: 0.5))
    #expect(time.totalSeconds < 60 * minutes)
  }

  @Test func `the character model has nanoGPT's sizes`() throws {
    let plan = try shipped("shakespeare-char-small").plan
    #expect(plan.batch.slices == 4)
    #expect(plan.model.headWidth == 32)
    #expect(plan.phases[1].data.order == .random)
    #expect(plan.model.vocabularySize == 0, "known once the text is read")
  }

  @Test func `the books model is the yardstick's small shape`() throws {
    let plan = try shipped("books-small").plan
    #expect(plan.model == ModelPreset.small.model)
    #expect(plan.phases[1].steps == 300)
  }
}

@Suite struct `Plan report` {
  private static func report(_ workers: Int, memory: Int? = nil) throws -> PlanReport {
    PlanReport(
      try shipped("smoke"),
      on: .init(
        workerCount: workers, threadCount: 1, memoryByteCount: memory,
        assumptions: .init(peakPerThread: 230)))
  }

  @Test func `prints every value with where it came from`() throws {
    let lines = try Self.report(2).lines
    #expect(lines[0] == "plan smoke  (launch/plans/smoke.json)")
    func line(_ key: String) -> String? { lines.first { $0.hasPrefix("  \(key) ") } }
    #expect(line("model.head_width")?.hasSuffix("12               width / heads") == true)
    #expect(line("model.width")?.contains("launch/plans/smoke.json:10") == true)
    #expect(lines.contains { $0.hasPrefix("model       166,752 parameters: 3 layers, width 72") })
    #expect(lines.contains { $0.hasPrefix("phase       pretrain: 40 steps x 2,464 tokens = ") })
    #expect(lines.contains { $0.hasPrefix("network     at most ") })
    #expect(lines.contains { $0.hasPrefix("time        about ") })
  }

  @Test func `tells rollouts apart from steps, and that answers are at their limit`() throws {
    let report = PlanReport(
      try shipped("story"), on: .init(workerCount: 1, threadCount: 1))
    // 8 steps x 768 x 1,836,000, and 64 answers x 48 x 342,600 and x 881,400: docs/mfu.md.
    let place = try #require(report.summaryLines.firstIndex { $0.hasPrefix("phase       ppo: ") })
    #expect(
      report.summaryLines[place...].prefix(2) == [
        "phase       ppo: 8 steps x 768 tokens at most = 6.14 k tokens, 11.3 GFLOP",
        "            rollouts: 2 x 32 answers = 3.07 k tokens, 1.05 GFLOP to read prompts and "
          + "draw, 2.71 GFLOP to judge",
      ])
    #expect(report.summaryLines.contains { $0.hasSuffix(", and 2.10 GFLOP of the reference") })
    #expect(report.summaryLines.contains { $0.contains("\"at most\": ") })
    #expect(try !Self.report(1).summaryLines.contains { $0.contains("at most\"") })
    let phases = try #require(try JSONReader.read(report.json.jsonText())["phases"]?.elements)
    #expect(phases[5]["rollout_tokens"]?.int == 3072 && phases[5]["rollout_seconds"]?.double == nil)
  }

  @Test func `says what each phase sends and what its checkpoints hold`() throws {
    let report = PlanReport(
      try shipped("quickstart"), on: .init(workerCount: 2, threadCount: 1))
    let lines = report.summaryLines
    // 512 answers x (8 + 129 + 5 x 32) elements.
    #expect(
      lines.contains("            ppo       per iteration  594.0 KiB  1.2 MiB in all, in 1 bucket"))
    #expect(lines.contains("network     at most 15.8 MiB sent per step and worker"))
    // Policy and value model with their moments, reference, reward model and answers.
    #expect(lines.contains("checkpoints 60.6 MiB each at most, the newest 2 kept"))
    let read = try JSONReader.read(report.json.jsonText())
    let phases = try #require(read["phases"]?.elements)
    func figure(_ name: String, _ phase: String) -> Int? {
      phases.first { $0["name"]?.string == phase }?[name]?.int
    }
    #expect(figure("rollout_wire_bytes_max", "ppo") == 608_256)
    #expect(
      phases.map { $0["rollout_wire_bytes"]?.int }
        == phases.map { $0["name"]?.string == "ppo" ? 1_216_512 : 0 })
    func step(_ phase: String) throws -> Int {
      try #require(figure("wire_bytes_per_step_max", phase))
    }
    #expect(try step("tokenizer") == 0 && step("dpo") == step("pretrain"))
    #expect(try step("ppo") == step("pretrain") + step("reward"))
    #expect(try read["wire_bytes_per_step_max"]?.int == step("ppo"))
    #expect(read["checkpoint_bytes"]?.int == figure("checkpoint_bytes", "ppo"))
  }

  @Test func `says of a mixture what is read of each source, and how often`() throws {
    let text = """
      { "tokenizer": { "kind": "bytes" }, "model": { "context": 100 }, "batch": { "sequences": 8 },
        "phases": [ { "kind": "tokenizer" }, { "kind": "pretrain", "steps": 50 },
          { "kind": "anneal", "steps": 10, "data": { "split": "tail 0.2",
            "mixture": [ { "source": "books", "weight": 3 }, { "source": "notes" } ] } } ] }
      """
    let report = PlanReport(
      try PlanResolver.resolve(text: text, path: "plan.json"),
      on: .init(workerCount: 1, threadCount: 1),
      textByteCount: { $0 == .path("books") ? 10_000 : nil })
    let lines = report.summaryLines
    let place = try #require(lines.firstIndex { $0.hasPrefix("phase       anneal: ") })
    #expect(
      lines[(place + 1)...].prefix(2) == [
        "            75.0 % books: 6.00 k tokens, 0.75 epochs of about 8.00 k",
        "            25.0 % notes: 2.00 k tokens, of a source that is not here",
      ])
    #expect(lines.contains("            \"about\": a token taken for 1 of the text's bytes"))
    let phases = try #require(try JSONReader.read(report.json.jsonText())["phases"]?.elements)
    #expect(phases[1]["mixture"] == nil)
    let books = try #require(phases[2]["mixture"]?.elements?.first)
    #expect(books["source"]?.string == "books" && books["share"]?.double == 0.75)
    #expect(books["tokens"]?.int == 6000 && books["source_tokens"]?.int == 8000)
    #expect(books["epochs"]?.double == 0.75)
  }

  @Test func `what rows that are not read will decide is null`() throws {
    let text = """
      { "phases": [ { "kind": "tokenizer" }, { "kind": "pretrain", "steps": 10 },
          { "kind": "sft", "examples": { "epochs": 3 } } ] }
      """
    let report = PlanReport(
      try PlanResolver.resolve(text: text, path: "plan.json"),
      on: .init(workerCount: 1, threadCount: 1))
    let phases = try #require(try JSONReader.read(report.json.jsonText())["phases"]?.elements)
    for key in ["steps", "tokens", "flops"] {
      #expect(phases[1][key]?.double ?? 0 > 0)
      #expect(phases[2][key]?.inWords == "null")
    }
  }

  @Test func `is also JSON with the same figures`() throws {
    let report = try Self.report(1)
    let read = try JSONReader.read(report.json.jsonText())
    #expect(read["parameters"]?.int == report.layout.parameterCount)
    #expect(read["memory_bytes"]?.int == report.memory[0].byteCount)
    #expect(read["flops_per_token"]?.double == report.flops.perToken)
    #expect(read["wire_bytes_per_step"]?.int == 0)
    #expect(read["plan"]?["model"]?["layers"]?.int == 3)
  }

  @Test func `a plan of which one worker fits needs a host for each`() throws {
    let one = try Self.report(3).memory.map(\.byteCount).max() ?? 0
    let report = try Self.report(3, memory: one)
    try report.checkEach()
    #expect(report.shortage?.hasPrefix("3 workers need ") == true)
    #expect(throws: InfeasiblePlan.self) { try report.checkTogether() }
    let small = try Self.report(3, memory: one - 1)
    #expect(throws: InfeasiblePlan.self) { try small.checkEach() }
    // Two of the ten have nothing to compute and hold the model all the same.
    #expect(try Self.report(10).memory.filter(\.slices.isEmpty).count == 2)
  }

  @Test func `a plan that does not fit into memory is infeasible`() throws {
    try Self.report(3, memory: 1 << 34).checkTogether()
    let report = try Self.report(3, memory: 1 << 20)
    do throws(InfeasiblePlan) {
      try report.checkTogether()
      Issue.record("three workers fit into 1 MiB")
    } catch {
      #expect(error.exitCode == .badPlan)
      #expect(error.message.hasPrefix("Error: the plan is infeasible: 3 workers need "))
      #expect(error.message.contains("this host has 1.0 MiB; use fewer workers"))
    }
  }

  @Test func `an unknown peak gives no time, and an unread text an assumed vocabulary`() throws {
    let report = PlanReport(
      try shipped("shakespeare-char-small"), on: .init(workerCount: 1, threadCount: 1))
    #expect(report.time == nil)
    #expect(report.lines.contains("time        unknown: the peak of this processor is not known"))
    #expect(report.lines.contains { $0.contains("vocabulary 128 assumed") })
    // The model that a run starts from brings its own.
    let text = #"{"initialization": {"from": "m"}, "phases": [{"kind": "tokenizer"}, "#
      + #"{"kind": "sft"}]}"#
    let further = PlanReport(
      try PlanResolver.resolve(text: text, path: "p"), on: .init(workerCount: 1, threadCount: 1))
    #expect(further.lines.contains { $0.contains("vocabulary 1024 assumed") })
  }
}
