import Settings
import Tensors
import Testing

@Suite struct `A plan with adapters` {
  /// Width 64, two key-value heads of 16.
  private static func text(_ lora: String, kind: String = "sft") -> String {
    #"{"model": {"width": 64, "heads": 4, "key_value_heads": 2}, "phases": ["#
      + #"{"kind": "tokenizer"}, {"kind": "pretrain"}, {"kind": "\#(kind)", "lora": \#(lora)}]}"#
  }

  private func resolve(
    _ text: String, _ sets: [(key: String, value: String)] = []
  ) throws(PlanError) -> PlanResolution {
    try PlanResolver.resolve(text: text, path: "test.json", sets: sets)
  }

  @Test func `has defaults, and is read back as it was written`() throws {
    let defaults = AdapterChoice(rank: 8, alpha: 16, targets: AdapterTarget.allCases)
    #expect(try resolve(Self.text("{}")).plan.phases[2].lora == defaults)
    let given = try resolve(Self.text(#"{"rank": 4, "targets": ["value", "query"]}"#))
    let expected = AdapterChoice(rank: 4, alpha: 8, targets: [.query, .value])
    #expect(given.plan.phases[2].lora == expected)
    #expect(expected.scale == 2)
    #expect(try ResolvedPlan(planJSON: given.plan.planJSON()) == given.plan)
    #expect(try ResolvedPlan(planJSON: given.resolvedJSON) == given.plan)
    let alpha = given.derivations.first { $0.key == "phases[2].lora.alpha" }
    #expect(alpha?.value == "8" && alpha?.origin == .rule("2 x rank"))
    // The rate of pretraining, five times that of all weights.
    #expect(given.plan.phases[2].schedule.peak == given.plan.phases[1].schedule.peak)
  }

  @Test func `without the key trains all weights, with an option adapters`() throws {
    let text = #"{"phases": [{"kind": "tokenizer"}, {"kind": "pretrain"}, {"kind": "sft"}]}"#
    #expect(try resolve(text).plan.phases[2].lora == nil)
    #expect(try !resolve(text).plan.planJSON().contains("lora"))
    for (key, value) in [("lora", "{}"), ("lora.rank", "8"), ("lora.alpha", "16")] {
      let found = try resolve(text, [("phases.sft.\(key)", value)]).plan.phases[2].lora
      #expect(found?.rank == 8 && found?.alpha == 16)
    }
  }

  @Test func `may not change on resume`() throws {
    let old = try resolve(Self.text("{}")), new = try resolve(Self.text(#"{"rank": 4}"#))
    let difference = PlanDifference(from: old.plan, to: new.plan, derivations: new.derivations)
    #expect(!difference.canAmend)
    #expect(
      difference.lines == [
        "phases[2].lora.rank: 8 -> 4  (alters steps already taken)",
        "phases[2].lora.alpha: 16 -> 8  (alters steps already taken)",
      ])
  }

  @Test(arguments: [
    (#"{"rank": 0}"#, "0", "phases[2].lora.rank is the number 0", "a whole number from 1 to"),
    (
      #"{"rank": 33, "targets": ["up", "key"]}"#, "33",
      #"rank 33 is larger than the smaller side of "key", 32 x 64"#, "give at most 32"
    ),
    (
      #"{"targets": ["query", "querry"]}"#, #""querry""#,
      "phases[2].lora.targets holds the text 'querry'", #"did you mean "query"?"#
    ),
    (
      #"{"targets": ["up", "attention"]}"#, #""attention""#,
      "phases[2].lora.targets holds the text 'attention'",
      #"a list [ ] of "query", "key", "value", "output", "gate", "up", "down""#
    ),
    (#"{"targets": ["down", "down"]}"#, #""down"]"#,
      "phases[2].lora.targets holds the text 'down'", "each once"),
    (#"{"targets": []}"#, "[]", "phases[2].lora.targets is a list", "a list [ ] of"),
    (#"{"targets": "up"}"#, #""up""#, "phases[2].lora.targets is the text 'up'", "a list [ ] of"),
    (#"{"alpha": 0}"#, "0}", "phases[2].lora.alpha is the number 0", "a number from"),
    (#"{"ranks": 1}"#, #""ranks""#, "unknown key 'ranks'", "did you mean 'rank'?"),
    ("true", "true", "phases[2].lora is true", "a section { }"),
  ])
  func `is refused with the place of what is wrong`(
    lora: String, mark: String, summary: String, mend: String
  ) throws {
    try expectRefusal(Self.text(lora), mark: mark, summary: summary, mend: mend)
  }

  @Test(arguments: ["pretrain", "reward", "dpo", "evaluate"])
  func `has them in sft only`(kind: String) throws {
    let name = kind == "pretrain" ? #"pretrain", "name": "again"# : kind
    try expectRefusal(
      Self.text("{}", kind: name), mark: "{}", summary: "\(kind) does not use phases[2].lora",
      mend: "adapters are for sft")
    try expectRefusal(
      Self.text(#"{"rank": 2}"#, kind: name), mark: #"{"rank""#,
      summary: "\(kind) does not use phases[2].lora", mend: "adapters are for sft")
  }

  @Test func `does not begin with adapters of a model that is not there`() throws {
    let text = #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "lora": {}}]}"#
    try expectRefusal(
      text, mark: "{}", summary: "'sft' has no model to adapt",
      mend: "put a pretrain phase before it, or, with initialization.from, evaluate")
    let imported = text.replacing(
      #"{"kind": "sft""#, with: #"{"kind": "evaluate"}, {"kind": "sft""#)
    #expect(try resolve(imported).plan.phases[2].lora != nil)
  }

  private func expectRefusal(
    _ text: String, mark: String, summary: String, mend: String
  ) throws {
    let error = #expect(throws: PlanError.self) { try resolve(text) }
    let message = try #require(error).message
    let lora = try #require(text.firstRange(of: "\"lora\"")?.lowerBound)
    let rest = text[lora...]
    let place = try #require(rest.ranges(of: mark).last?.lowerBound)
    let column = text.distance(from: text.startIndex, to: place) + 1
    #expect(message.hasPrefix("Error: \(summary) at test.json:1:\(column)\n"), "\(message)")
    #expect(message.contains(mend), "\(message)")
    #expect(error?.exitCode.rawValue == 78)
  }
}
