import FoundationEssentials
import Settings
import Tensors
import Testing

private func resolve(
  _ text: String, path: String = "plans/test.json", _ sets: [(key: String, value: String)] = [],
  data: String? = nil
) throws -> PlanResolution {
  try PlanResolver.resolve(text: text, path: path, sets: sets, dataOverride: data)
}

private func message(
  _ text: String, _ sets: [(key: String, value: String)] = [], data: String? = nil
) -> String {
  do throws(PlanError) {
    _ = try PlanResolver.resolve(text: text, path: "test.json", sets: sets, dataOverride: data)
    return "no error"
  } catch {
    #expect(error.exitCode.rawValue == 78)
    return error.message
  }
}

@Suite struct `Plan` {
  @Test func `takes weights from elsewhere, and then no setting of the draws`() throws {
    let plan = try PlanResolver.resolve(
      text: "{\"initialization\": {\"from\": \"runs/base\"}}", path: "p.json"
    ).plan
    #expect(plan.initialization.from == "runs/base")
    #expect(try ResolvedPlan(planJSON: plan.planJSON()) == plan)
    let error = #expect(throws: PlanError.self) {
      try PlanResolver.resolve(
        text: "{\"initialization\": {\"from\": \"a\", \"scales_residual\": true}}", path: "p.json")
    }
    #expect(try #require(error).message.contains("initialization.scales_residual is for weights"))
  }

  @Test func `takes a reward model from elsewhere where a phase asks it`() throws {
    func text(_ given: String, _ kind: String) -> String {
      #"{"initialization": {\#(given)"reward_model": "b"}, "phases": [{"kind": "tokenizer"}, "#
        + #"{"kind": "evaluate"}, {"kind": "\#(kind)"}, {"kind": "ppo"}]}"#
    }
    let from = #""from": "a", "#
    let plan = try PlanResolver.resolve(text: text(from, "sft"), path: "p.json").plan
    #expect(plan.initialization.rewardModel == "b")
    #expect(try ResolvedPlan(planJSON: plan.planJSON()) == plan)
    let alone = message(text("", "pretrain"))
    #expect(alone.contains("give initialization.from, a model with the same tokenizer, too"))
    let unasked = message(text(from, "reward"))
    #expect(unasked.contains("no phase asks the reward model of initialization.reward_model"))
  }

  @Test func `settings of the world stand beside a file where some phase reads the world`() throws {
    let plan = try resolve(
      #"{"data": {"documents": 60}, "phases": [{"kind": "tokenizer"}, {"kind": "pretrain"}, "#
        + #"{"kind": "sft", "data": {"source": "rows.jsonl"}}]}"#
    ).plan
    #expect(plan.phases[1].data.source == .world(seed: 1, documents: 60))
    #expect(plan.phases[2].data.source == .path("rows.jsonl"))
  }

  @Test func `one dial derives everything that is left out`() throws {
    let resolution = try resolve(#"{ "depth": 6, "data": {"source": "books"} }"#)
    let plan = resolution.plan
    #expect(plan.name == "test")
    #expect(plan.model.layerCount == 6)
    #expect(plan.model.modelWidth == 384)
    #expect(plan.model.headCount == 6)
    #expect(plan.model.keyValueHeadCount == 6)
    #expect(plan.model.headWidth == 64)
    #expect(plan.model.feedForwardWidth == 1024)
    #expect(plan.model.vocabularySize == 8192)
    #expect(plan.batch == .init(sequences: 16, slices: 8, microbatch: 2))
    #expect(plan.phases.map(\.kind) == [.tokenizer, .pretrain])
    #expect(plan.phases[1].schedule.peak == 0.001)
    let layout = ParameterLayout(plan.model)
    #expect(plan.phases[1].steps == (20 * layout.parameterCount + 4095) / 4096)
    let width = resolution.derivations.first { $0.key == "model.width" }
    #expect(width?.value == "384")
    #expect(width?.origin == .rule("64 x depth"))
    #expect(width?.isDerived == true)
  }

  @Test(arguments: [
    (ModelPreset.tiny, 1_066_112), (.small, 13_767_552), (.medium, 34_087_424),
    (.gpt2, 110_119_680),
  ])
  func `a shape has the yardstick's parameters`(preset: ModelPreset, parameterCount: Int) throws {
    let plan = try resolve("{ \"shape\": \"\(preset.rawValue)\" }", data: "books").plan
    #expect(plan.model == preset.model)
    #expect(plan.batch.sequences == preset.sequencesPerStep)
    #expect(ParameterLayout(plan.model).parameterCount == parameterCount)
  }

  @Test(arguments: [(12, 4), (16, 8), (7, 1), (10, 2), (64, 8)])
  func `unset slices are the largest power of two up to 8 that divides the sequences`(
    sequences: Int, slices: Int
  ) throws {
    #expect(try resolve("{\"batch\": {\"sequences\": \(sequences)}}").plan.batch.slices == slices)
  }

  @Test func `the generated world gets a vocabulary that it can fill`() throws {
    #expect(try resolve("{}").plan.model.vocabularySize == 1024)
    #expect(try resolve("{}", data: "books").plan.model.vocabularySize == 2048)
  }

  @Test func `what is given wins, and says where it stands`() throws {
    let resolution = try resolve(
      """
      {
        "depth": 2,
        "model": { "width": 96, "heads": 6, "key_value_heads": 2 }, // wide heads
        "batch": { "sequences": 1e1 },
      }
      """, [("seed", "18446744073709551615"), ("phases.pretrain.steps", "7")], data: "books")
    let plan = resolution.plan
    #expect(plan.model.modelWidth == 96)
    #expect(plan.model.headWidth == 16)
    #expect(plan.batch.sequences == 10)
    #expect(plan.seed == .max)
    #expect(plan.phases[1].steps == 7)
    #expect(plan.phases.allSatisfy { $0.data.source == .path("books") })
    func origin(_ key: String) -> String? {
      resolution.derivations.first { $0.key == key }?.origin.text(path: "p.json")
    }
    #expect(origin("model.width") == "p.json:3")
    #expect(origin("seed") == "--set seed=18446744073709551615")
    #expect(origin("phases[1].steps") == "--set phases.pretrain.steps=7")
    #expect(origin("phases[1].data.source") == "--data books")
    #expect(resolution.resolvedJSON.contains("\"phases[1].data.source\": \"--data books\""))
  }

  @Test func `a phase's data section overrides the plan's, key by key`() throws {
    let plan = try resolve(
      """
      {
        "data": { "seed": 3, "documents": 50, "split": "documents 0.2" },
        "phases": [
          { "kind": "tokenizer" },
          { "kind": "pretrain", "steps": 4, "data": { "order": "random" }, "validation": "full" },
          { "kind": "evaluate", "data": { "source": "held.txt", "split": "tail 0.5" },
            "validation": { "tokens": 4096 } },
        ],
      }
      """.replacing("\"seed\": 3, \"documents\": 50, ", with: "")).plan
    #expect(plan.phases[1].data.source == .world(seed: 1, documents: 10_000))
    #expect(plan.phases[1].data.split == .documents(0.2))
    #expect(plan.phases[1].data.order == .random)
    #expect(plan.phases[1].validation == .init(every: 1, tokenLimit: nil))
    #expect(plan.phases[2].data.source == .path("held.txt"))
    #expect(plan.phases[2].data.split == .tail(0.5))
    #expect(plan.phases[2].steps == 0)
    #expect(plan.phases[2].validation.tokenLimit == 4096)
  }

  @Test func `a resolved plan is a plan file that resolves to itself`() throws {
    for text in [
      #"{ "depth": 3 }"#,
      #"{ "shape": "gpt2", "tokenizer": {"kind": "characters"}, "data": {"source": "a/b.txt"} }"#,
      """
      { "precision": "f32", "dropout": 0.1, "phases": [ {"kind": "tokenizer"}, {"kind": "pretrain",
        "steps": 9, "schedule": {"kind": "wsd", "peak": 3e-4}, "validation": {"tokens": "full"}},
        {"kind": "evaluate"} ] }
      """,
    ] {
      let resolution = try resolve(text)
      let plan = resolution.plan
      #expect(try ResolvedPlan(planJSON: plan.planJSON()) == plan)
      #expect(try ResolvedPlan(planJSON: plan.planJSON(isIndented: false)) == plan)
      #expect(try ResolvedPlan(planJSON: resolution.resolvedJSON) == plan)
      let derived = try resolve(plan.planJSON()).derivations.filter(\.isDerived)
      #expect(derived.allSatisfy { $0.value == "0" }, "only an unknown vocabulary is left out")
    }
  }

  @Test func `examples of the world give way to a file that is put in their place`() throws {
    let text = #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "examples": {"count": 9}}]}"#
    #expect(try resolve(text).plan.phases[1].examples?.count == 9)
    let resolution = try resolve(text, data: "rows.jsonl")
    #expect(!resolution.resolvedJSON.contains("\"count\""))
    #expect(try ResolvedPlan(planJSON: resolution.resolvedJSON) == resolution.plan)
    #expect(
      message(text, [("phases.sft.data.source", "rows.jsonl")]).hasPrefix(
        "Error: phases[1].examples.count is for the generated world, not for 'rows.jsonl'"))
  }

  // MARK: Epochs

  private static let epochs = """
    {
      "batch": { "sequences": 16 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "sft", "examples": { "epochs": 3 }, "schedule": { "kind": "wsd", "warmup": 30 } },
        { "kind": "dpo", "examples": { "epochs": 2, "count": 501 } },
      ],
    }
    """

  @Test func `epochs have as many steps as the rows give, and all that follows from them`() throws {
    let before = try resolve(Self.epochs), plan = before.plan
    func origin(_ resolution: PlanResolution, _ key: String) -> Derivation? {
      resolution.derivations.first { $0.key == "phases[\(key)" }
    }
    // What a conversation takes of a window, only its tokens tell; pairs are two sequences each.
    #expect(plan.phases.map(\.awaitsRows) == [false, true, false])
    #expect(origin(before, "1].steps")?.value == "null")
    #expect(origin(before, "1].steps")?.origin == .rule("3 epochs of the rows: they decide"))
    #expect(origin(before, "1].schedule.decay")?.value == "null")
    #expect(plan.phases[1].schedule.warmupSteps == 30)
    #expect(plan.phases[2].steps == 126)
    #expect(plan.phases[2].schedule.warmupSteps == 6)
    // Their steps are not known for certain, so the plan as a file leaves them to its reader.
    #expect(try ResolvedPlan(planJSON: plan.planJSON()) == plan)
    #expect(!plan.planJSON().contains("\"steps\"") && !plan.planJSON().contains("\"decay\": 0,"))

    let counted = try before.counted([1: 1601, 2: 2000]), known = counted.plan
    #expect(known.phases.map(\.steps) == [0, 101, 125])
    #expect(known.phases.allSatisfy { $0.examples?.epochs == nil && !$0.awaitsRows })
    #expect(known.phases[1].schedule.decaySteps == 20)
    #expect(known.phases.map(\.validation.every) == [0, 11, 13])
    #expect(
      origin(counted, "1].steps")?.origin
        == .rule("1601 sequences of 3 epochs / batch.sequences"))
    #expect(try ResolvedPlan(planJSON: counted.resolvedJSON) == known)
    #expect(
      counted.resolvedJSON.contains(
        "\"phases[2].steps\": \"2000 sequences of 2 epochs / batch.sequences\""))
    // The same rows are the same plan; more epochs are more steps.
    let difference = try PlanDifference(
      from: known, to: before.counted([1: 1700, 2: 2000]).plan, derivations: counted.derivations)
    #expect(difference.lines == ["phases[1].steps: 101 -> 107"] && difference.canAmend)
    let short = #expect(throws: PlanError.self) { try before.counted([1: 400, 2: 2000]) }
    #expect(short?.message.contains("warm-up of 30 is longer than 25 steps") == true)
  }

  @Test func `a plan travels inside a message with the keys of its file`() throws {
    struct Message: Codable { var plan: ResolvedPlan }
    let plan = try resolve(#"{ "shape": "tiny", "seed": 18446744073709551615 }"#).plan
    let data = try JSONEncoder().encode(Message(plan: plan))
    #expect(String(decoding: data, as: UTF8.self).contains("\"key_value_heads\":4"))
    #expect(try JSONDecoder().decode(Message.self, from: data).plan == plan)
  }

  @Test func `every key of the schema is unique, known by its section and documented`() {
    #expect(Set(PlanSchema.keys.map(\.path)).count == PlanSchema.keys.count)
    for key in PlanSchema.keys {
      #expect(!key.help.isEmpty && !key.unset.isEmpty)
      let parts = key.path.split(separator: ".").map(String.init)
      let inside = PlanSchema.names(inside: parts.dropLast().joined(separator: "."))
      #expect(key.kind == .ignored || inside.contains(parts[parts.count - 1]))
      #expect(PlanSchema.markdown.contains("| `\(key.path)` |"))
    }
  }

  /// `COX_RENEW_HELP=1` writes it anew; read the difference.
  @Test func `the table of docs/plan.md is the schema's`() throws {
    let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    let path = "/\(root)/docs/plan.md"
    let page = try String(contentsOfFile: path, encoding: .utf8)
    let start = try #require(page.firstRange(of: "| Key |")).lowerBound
    if ProcessInfo.processInfo.environment["COX_RENEW_HELP"] != nil {
      let text = page[..<start] + PlanSchema.markdown
      try Data(text.utf8).write(to: URL(filePath: path))
    } else {
      #expect(page[start...] == PlanSchema.markdown)
    }
  }
}

@Suite struct `Plan errors` {
  @Test func `all errors of a file come at once, each with its line and a mark`() {
    let text = """
      {
        "depth": "four",
        "learning_rat": 3e-4,
      \t"model": { "with": 64, "heads": 0 },
        "precision": "bf61",
        "batch": { "sequences": 12, "slices": 8 },
        "phases": [ { "kind": "tokenizer" }, { "kind": "evaluate", "steps": 5 }, 3 ],
      }
      """
    #expect(
      message(text) == """
        Error: depth is the text 'four' at test.json:2:12
            2 |   "depth": "four",
              |            ^^^^^^ expected a whole number from 1 to 256
        Error: unknown key 'learning_rat' at test.json:3:3
            3 |   "learning_rat": 3e-4,
              |   ^^^^^^^^^^^^^^ a plan has name, seed, depth, shape, precision, dropout, model, \
        initialization, batch, optimizer, tokenizer, data, phases, checkpoints
        Error: unknown key 'with' at test.json:4:13
            4 | \t"model": { "with": 64, "heads": 0 },
              | \t           ^^^^^^ did you mean 'width'?
        Error: model.heads is the number 0 at test.json:4:34
            4 | \t"model": { "with": 64, "heads": 0 },
              | \t                                ^ expected a whole number from 1 to 1024
        Error: precision is the text 'bf61' at test.json:5:16
            5 |   "precision": "bf61",
              |                ^^^^^^ expected one of "bf16", "f32"; did you mean "bf16"?
        Error: 8 slices do not divide 12 sequences at test.json:6:41
            6 |   "batch": { "sequences": 12, "slices": 8 },
              |                                         ^ leave batch.slices out for 4
        Error: evaluate takes no steps at test.json:7:71
            7 |   "phases": [ { "kind": "tokenizer" }, { "kind": "evaluate", "steps": 5 }, 3 ],
              |                                                                       ^ remove steps
        Error: phases[2] is the number 3 at test.json:7:76
            7 |   "phases": [ { "kind": "tokenizer" }, { "kind": "evaluate", "steps": 5 }, 3 ],
              |                                                                            ^ \
        expected a section { }
        """)
  }

  @Test func `a text that is no plan says where it breaks`() {
    #expect(
      message("{\n  \"depth\": 4\n  \"seed\": 1\n}") == """
        Error: ',' or '}' was expected at test.json:3:3
            3 |   "seed": 1
              |   ^
        """)
    #expect(message("[]").hasPrefix("Error: a list is no plan at test.json:1:1\n"))
  }

  @Test(arguments: [
    (#"{"batch": {"slices": 3}}"#, "3 slices are no power of two at test.json:1:22"),
    (
      #"{"batch": {"sequences": 16, "slices": 4, "microbatch": 3}}"#,
      "a micro-batch of 3 does not divide the 4 sequences of a slice at test.json:1:56"
    ),
    (
      #"{"model": {"width": 66, "heads": 22}}"#, "head width 3 is odd at test.json:1:34"
    ),
    (#"{"model": {"width": 64, "heads": 3}}"#, "3 heads do not divide width 64 at test.json:1:34"),
    (
      #"{"model": {"heads": 4, "key_value_heads": 3}}"#,
      "3 key-value heads do not divide 4 heads at test.json:1:43"
    ),
    (
      #"{"model": {"head_width": 258}}"#, "model.head_width is the number 258 at test.json:1:26"
    ),
    (
      #"{"model": {"width": 1024, "heads": 2}}"#,
      "model.head_width would be 512 (width / heads) in test.json"
    ),
    (#"{"model": {"layers": 1001}}"#, "model.layers is the number 1001 at test.json:1:22"),
    (#"{"depth": 2, "shape": "tiny"}"#, "depth and shape are both given at test.json:1:11"),
    (
      #"{"tokenizer": {"vocabulary": 200}}"#,
      "a vocabulary of 200 cannot hold every byte at test.json:1:30"
    ),
    (
      #"{"data": {"source": "x.txt", "documents": 5}}"#,
      "data.documents is for the generated world, not for 'x.txt' at test.json:1:43"
    ),
    (
      #"{"data": {"source": "x"}, "phases": [{"kind": "tokenizer"}, {"kind": "sft", "examples": "#
        + #"{"count": 9}}]}"#,
      "phases[1].examples.count is for the generated world, not for 'x' at test.json:1:99"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "data": "#
        + #"{"source": "x"}, "examples": {"agreement": 1}}]}"#,
      "phases[2].examples.agreement is for the generated world, not for 'x' at test.json:1:123"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "dpo", "preference": "#
        + #"{"loss": "identity", "label_smoothing": 0}}]}"#,
      "the identity loss does not use phases[2].preference.label_smoothing at test.json:1:123"
    ),
    (#"{"phases": []}"#, "the plan has no phase at test.json:1:12"),
    (#"{"phases": [{"name": "a"}]}"#, "phases[0] has no kind at test.json:1:13"),
    (#"{"phases": [{"kind": "pretrain"}]}"#, "the first phase is 'pretrain' at test.json:1:22"),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "anneal"}]}"#,
      "an anneal follows 'tokenizer' at test.json:1:45"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "dpo"}]}"#,
      "'dpo' has no policy to begin with at test.json:1:45"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "gates": {"reward": 1}}]}"#,
      "'sft' measures no reward at test.json:1:72"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "ppo"}]}"#,
      "no phase before 'ppo' makes a reward model at test.json:1:53"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "pretrain", "examples": {"count": 9}}]}"#,
      "pretrain does not use phases[1].examples.count at test.json:1:79"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "dpo", "#
        + #""starts_from": "reference"}]}"#,
      "the phase before 'dpo' has no reference at test.json:1:84"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "starts_from": "policy"}]}"#,
      "sft does not use phases[1].starts_from at test.json:1:67"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "preference": "#
        + #"{"pairs": "sampled"}, "reinforcement": {"judge": "model"}}]}"#,
      "'reward' would learn from what its own reward model says at test.json:1:135"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "preference": "#
        + #"{"pairs": "sampled"}, "reinforcement": {"answers": 3}}]}"#,
      "3 answers to a prompt are no whole number of pairs at test.json:1:137"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "preference": "#
        + #"{"beta": 0.1}}]}"#,
      "reward does not use phases[2].preference.beta at test.json:1:95"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "preference": "#
        + #"{"pairs": "sampled"}, "brakes": {"length": 9}}]}"#,
      "reward does not use phases[2].brakes.length at test.json:1:129"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "preference": "#
        + #"{"pairs": "sampled"}, "gates": {"reward": 9}}]}"#,
      "'reward' measures no reward at test.json:1:128"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward", "reinforcement": "#
        + #"{"prompts": 8}}]}"#,
      "reward does not use phases[2].reinforcement.prompts at test.json:1:101"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "brakes": {"length": 9}}]}"#,
      "sft does not use phases[1].brakes.length at test.json:1:73"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "steps": 5, "examples": "#
        + #"{"epochs": 2}}]}"#,
      "phases[1].examples.epochs and phases[1].steps are both given at test.json:1:87"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "examples": {"epochs": 0}}]}"#,
      "phases[1].examples.epochs is the number 0 at test.json:1:75"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "grpo", "examples": "#
        + #"{"epochs": 2}}]}"#,
      "'grpo' reads prompts iteration by iteration, and does not use phases[2].examples.epochs "
        + "at test.json:1:93"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "pretrain", "examples": {"epochs": 9}}]}"#,
      "pretrain does not use phases[1].examples.epochs at test.json:1:80"
    ),
    (#"{"name": "../x"}"#, "name is the text '../x' at test.json:1:10"),
    (#"{"seed": -1}"#, "seed is the number -1 at test.json:1:10"),
    (#"{"seed": 1, "seed": 2}"#, "key 'seed' stands here a second time at test.json:1:13"),
    (#"{"data": {"split": "tail 2"}}"#, "data.split is the text 'tail 2' at test.json:1:20"),
    (#"{"steps": 5}"#, "unknown key 'steps' at test.json:1:2"),
  ])
  func `a contradiction names its place`(text: String, first: String) {
    #expect(message(text).split(separator: "\n").first.map(String.init) == "Error: " + first)
  }

  @Test(arguments: [
    (#""steps": 4, "schedule": {"warmup": 5}"#, "warm-up of 5 is longer than 4 steps"),
    (
      #""steps": 4, "schedule": {"kind": "wsd", "warmup": 2, "decay": 3}"#,
      "warm-up and decay of 2 + 3 are longer than 4 steps"
    ),
    (#""steps": 4, "schedule": {"decay": 3}"#, "decay steps are for the wsd schedule only"),
    (
      #""steps": 4, "schedule": {"peak": 0.01, "final": 0.1}"#,
      "final rate 0.1 is above the peak 0.01"
    ),
    (#""steps": 0"#, "pretrain has no steps"),
    (#""steps": 4, "validation": {"tokens": 9}"#, "9 validation tokens are less than one window"),
    (#""name": "tokenizer""#, "a second phase is named 'tokenizer'"),
  ])
  func `a phase that contradicts itself is refused`(phase: String, summary: String) {
    let text = "{\"phases\": [{\"kind\": \"tokenizer\"}, {\"kind\": \"pretrain\", \(phase)}]}"
    #expect(message(text).hasPrefix("Error: \(summary) at test.json:1:"))
  }

  @Test(arguments: [
    (#""kind": "cosine", "peak": 1e-2"#, 1e-3), (#""kind": "constant", "peak": 1e-2"#, 1e-2),
    (#""kind": "wsd", "peak": 1e-2, "decay": 0"#, 1e-2),
    (#""kind": "wsd", "peak": 1e-2, "final": 2e-3"#, 2e-3),
  ])
  func `an anneal goes on at the rate before it, and down to 0`(
    schedule: String, rate: Double
  ) throws {
    let text = """
      {"phases": [{"kind": "tokenizer"},
        {"kind": "pretrain", "steps": 95, "schedule": {\(schedule)}}, {"kind": "anneal"}]}
      """
    let anneal = try resolve(text).plan.phases[2]
    #expect(anneal.steps == 10)
    #expect(anneal.schedule == .init(kind: .linear, peak: rate, final: 0, warmupSteps: 0))
  }

  @Test(arguments: [
    ("ppo", [String]()), ("grpo", ["value_clip", "gamma", "lambda"]),
    ("dpo", ["beta", "clip", "value_clip", "gamma", "lambda"]),
  ])
  func `a phase tells of the keys of reinforcement that its kind uses, and refuses the others`(
    kind: String, unused: [String]
  ) throws {
    func text(_ reinforcement: String) -> String {
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft"}, {"kind": "reward"}, {"kind": "#
        + #""\#(kind)", "reinforcement": {\#(reinforcement)}"#
        + (kind == "dpo" ? #", "preference": {"pairs": "sampled"}}]}"# : "}]}")
    }
    let keys = ["beta", "clip", "value_clip", "gamma", "lambda"]
    let resolution = try resolve(text(""))
    let told = resolution.derivations.map(\.key)
    for key in keys {
      let name = "phases[3].reinforcement.\(key)"
      #expect(told.contains(name) != unused.contains(key))
      // The value that it has when it is left out.
      let given = message(text("\"\(key)\": \(key == "gamma" ? "1" : "0.2")"))
      let refusal = "Error: \(kind) does not use \(name) at test.json:1:"
      #expect(given.hasPrefix(refusal) == unused.contains(key), "\(given)")
      #expect((given == "no error") != unused.contains(key), "\(given)")
    }
    #expect(try ResolvedPlan(planJSON: resolution.plan.planJSON()) == resolution.plan)
    if kind == "dpo" {
      let mend = "remove it: the beta of dpo is preference.beta"
      #expect(message(text(#""beta": 1"#)).contains(mend))
    }
  }

  @Test func `a setting that nothing reads is refused`() {
    let text = #"{"phases": [{"kind": "tokenizer", "schedule": {"peak": 1}, "steps": 3}]}"#
    #expect(
      message(text) == """
        Error: tokenizer does not use phases[0].schedule.peak at test.json:1:56
            1 | \(text)
              |                                                        ^ remove it
        Error: tokenizer takes no steps at test.json:1:69
            1 | \(text)
              |                                                                     ^ remove steps
        """)
  }

  @Test(arguments: [
    (
      "model.layer", "3", "unknown key 'layer' in --set model.layer=3\n      did you mean 'layers'?"
    ),
    (
      "model.layers", "x",
      "model.layers is the text 'x' in --set model.layers=x\n"
        + "      expected a whole number from 1 to 1000"
    ),
    (
      "phases.sft.steps", "3",
      "no phase 'sft' in --set phases.sft.steps=3\n"
        + "      the phases are 0 (tokenizer), 1 (pretrain)"
    ),
    (
      "phases[7].steps", "3",
      "no phase '7' in --set phases[7].steps=3\n      the phases are 0 (tokenizer), 1 (pretrain)"
    ),
    ("batch.slices", "3", "3 slices are no power of two in --set batch.slices=3\n"
      + "      slices are summed in a binary tree: 1, 2, 4, 8, ..."),
    ("]phases[", "1", "unknown key ']phases[' in --set ]phases[=1\n      did you mean 'phases'?"),
  ])
  func `an override is checked like the file`(key: String, value: String, expected: String) {
    #expect(message("{}", [(key, value)]) == "Error: " + expected)
  }

  @Test func `of two overrides the last wins, and a section replaces the whole section`() throws {
    let text = #"{"model": {"layers": 7, "tied_head": false}}"#
    let plan = try resolve(text, [("model.layers", "2"), ("model.layers", "3")]).plan
    #expect(plan.model.layerCount == 3)
    #expect(!plan.model.isHeadTied)
    let replaced = try resolve(text, [("model", #"{"context": 32}"#)]).plan
    #expect(replaced.model.sequenceLength == 32)
    #expect(replaced.model.isHeadTied)
  }
}

@Suite struct `Plan difference` {
  private static let text = """
    { "depth": 2, "phases": [ {"kind": "tokenizer"},
      {"kind": "pretrain", "steps": 100}, {"kind": "pretrain", "name": "more", "steps": 10} ] }
    """

  @Test func `an unchanged plan has none, whether or not the run filled in its sizes`() throws {
    let kind = [(key: "tokenizer.kind", value: "characters")]
    var old = try resolve(Self.text, kind).plan
    old.model.vocabularySize = 65
    old.tokenizer.vocabularySize = 65
    let new = try resolve(Self.text, kind)
    #expect(PlanDifference(from: old, to: new.plan, derivations: new.derivations).isEmpty)
    #expect(PlanDifference(from: old, to: old).isEmpty)
  }

  @Test func `more steps and cadences may be amended, and what follows from steps stays`() throws {
    let old = try resolve(Self.text).plan
    let new = try resolve(
      Self.text, [("phases.1.steps", "200"), ("checkpoints.every", "7")])
    let difference = PlanDifference(
      from: old, to: new.plan, derivations: new.derivations)
    #expect(difference.canAmend)
    #expect(difference.lines == ["phases[1].steps: 100 -> 200", "checkpoints.every: 100 -> 7"])
    let amended = difference.amended(old)
    #expect(amended.phases[1].steps == 200)
    #expect(amended.phases[1].schedule == old.phases[1].schedule)
    #expect(amended.checkpoints.every == 7)
  }

  @Test func `what would alter steps already taken is refused`() throws {
    let old = try resolve(Self.text).plan
    let new = try resolve(
      Self.text, [("seed", "2"), ("phases.1.steps", "50"), ("model.context", "128")])
    let difference = PlanDifference(
      from: old, to: new.plan, derivations: new.derivations)
    #expect(difference.refused.map(\.key).contains("phases[1].steps"))
    #expect(difference.lines.first == "seed: 1 -> 2  (alters steps already taken)")
    let longer = try resolve(Self.text, [("phases.1.steps", "200")])
    let past = PlanDifference(
      from: old, to: longer.plan, derivations: longer.derivations, currentPhase: 2)
    #expect(past.refused.map(\.key) == ["phases[1].steps"])
  }
}
