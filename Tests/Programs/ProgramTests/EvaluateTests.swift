import Settings
import System
import Telemetry
import Testing

/// `cox evaluate` on questions and pairs, with models of every phase.
@Suite(.serialized) struct `Measuring a run` {
  /// The runs that are measured.
  private struct Runs {
    /// The story with every checkpoint kept, and a gate that stays open.
    var story: String
    /// Only its tokenizer has read the world: a model of another text, and with another tokenizer.
    var other: String
    /// A model of the world that never learned to chat, with room for answered questions.
    var plain: String
  }

  private static func withRuns(_ body: (Runs) throws -> Void) throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      let story = command(
        ["cox", "up", "\(RealCluster.root)/launch/plans/story.json", "--run", "\(folder)/story",
          "--threads", "1", "--set", "checkpoints.keep=40",
          "--set", "phases[3].validation.tokens=1000000", "--set",
          "phases[4].validation.full_at_end=true", "--set", "phases[5].gates.divergence=50"])
      try #require(story.code == 0, "\(story.errors)")
      try Files.write(
        String(repeating: "Ann lives by the sea.\n", count: 40), to: "\(folder)/text.txt")
      try Files.write(otherPlan, to: "\(folder)/plan.json")
      for (name, sets) in [
        ("other", ["tokenizer.kind=characters", "phases[1].data.source=\(folder)/text.txt"]),
        ("plain", ["data.documents=60"]),
      ] {
        let words = ["cox", "up", "\(folder)/plan.json", "--run", "\(folder)/\(name)", "--threads"]
        let found = command(words + ["1"] + sets.flatMap { ["--set", $0] })
        try #require(found.code == 0, "\(found.errors)")
      }
      try body(
        Runs(story: "\(folder)/story", other: "\(folder)/other", plain: "\(folder)/plain"))
    }
  }

  private static let otherPlan = """
    {
      "name": "other", "model": { "layers": 1, "width": 24, "heads": 2, "context": 480 },
      "batch": { "sequences": 2, "slices": 1 }, "tokenizer": { "kind": "bpe", "vocabulary": 320 },
      "phases": [{ "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 1, "validation": { "every": 0 } }],
    }
    """

  private func report(_ words: String..., more: [String] = []) throws -> JSONNode {
    let (code, output, errors) = command(["cox", "evaluate"] + words + more + ["--json"])
    #expect(code == 0, "\(words): \(errors)")
    return try JSONReader.read(output)
  }

  @Test(.timeLimit(.minutes(3))) func `asks, compares and scores`() throws {
    try Self.withRuns { runs in
      let checkpoints = "\(runs.story)/checkpoints"
      try expectQuestions("\(checkpoints)/sft-40", runs.story)
      try expectComparison(checkpoints)
      try expectConversations(checkpoints, runs.story)
      try expectPairs("\(checkpoints)/reward-10", runs.story)
      try expectReport(runs.story)
      try expectPlainReport(runs)
      try expectRefusals(checkpoints, runs.other)
    }
  }

  private func expectQuestions(_ checkpoint: String, _ story: String) throws {
    let limit = ["--limit", "40", "--answer-tokens", "9"]
    let words = ["cox", "evaluate", checkpoint, "--json"] + limit
    let found = command(words + ["--questions", "world", "--threads", "1"])
    #expect(found.code == 0, "\(found.errors)")
    #expect(found.output == command(words + ["--questions", "world", "--threads", "3"]).output)
    let node = try JSONReader.read(found.output)
    #expect(node["count"]?.int == 40 && node["of"]?.int == 507)
    #expect(node["format"]?.string == "chat" && node["checkpoint"]?.string == "sft-40")
    let answers = try #require(node["answers"])
    for key in ["accuracy", "ended"] {
      let share = try #require(answers[key]?["share"]?.double)
      let low = try #require(answers[key]?["low"]?.double)
      #expect(low <= share && share <= (answers[key]?["high"]?.double ?? 0))
      #expect(answers[key]?["total"]?.int == 40)
    }
    #expect(try #require(answers["tokens"]?["mean"]?.double) <= 9)
    let choices = try #require(node["choices"])
    #expect(choices["chance"]?.double == 0.25 && choices["summed"]?["total"]?.int == 40)
    #expect(choices["reported"]?.string == "summed" && choices["per_token"]?["share"] != nil)
    let sentences = try #require(node["choices_in_sentences"])
    #expect(sentences["summed"]?["total"]?.int == 40 && sentences.written != choices.written)
    // A guess has more answers to choose from than a choice.
    #expect(try #require(node["answer_chance"]?.double) < 0.2)
    let topics = try #require(node["topics"]?.elements)
    #expect(topics.compactMap { $0["count"]?.int }.reduce(0, +) == 40)

    // The same questions from a file; draws follow from the seed; plain text after shots.
    #expect(
      command(
        ["cox", "data", "world", "--seed", "5", "--documents", "1", "--out", "\(story)/world",
          "--examples", "\(story)/examples"]
      ).code == 0)
    let file = try JSONReader.read(
      command(words + ["--questions", "\(story)/examples/unseen.jsonl"]).output)
    for key in ["choices", "choices_in_sentences", "answers"] {
      #expect(file[key]?.written == node[key]?.written)
    }
    let drawn = ["--questions", "world", "--temperature", "2"]
    let seeds = ["1", "2", "1"].map { command(words + drawn + ["--seed", $0]).output }
    #expect(seeds[0] == seeds[2] && seeds[0] != seeds[1])
    let text = try JSONReader.read(command(words + ["--questions", "world", "--shots", "0"]).output)
    #expect(text["format"]?.string == "text" && text["shots"]?.int == 0)
    #expect(text["choices"]?.written != node["choices"]?.written)
    // Behind another question and the model's own answer to it.
    let turns = ["--questions", "world", "--turns", "2"]
    let long = command(words + turns)
    #expect(long.code == 65 && long.errors.contains("--turns leave more room"), "\(long)")
    let second = try JSONReader.read(
      command(words.dropLast() + ["1"] + turns).output)
    #expect(node["turns"]?.int == 1 && second["turns"]?.int == 2)
    #expect(second["answers"]?["accuracy"]?["total"]?.int == 40)
    #expect(second["choices"]?["summed"]?["total"]?.int == 40)
    let mixed = command(words + turns + ["--shots", "0"])
    #expect(mixed.code == 64 && mixed.errors.contains("--turns is for conversations"))
    let plain = command(["cox", "evaluate", checkpoint, "--questions", "world"] + limit)
    #expect(plain.output.contains("sft-40: 40 of 507 questions of world, as a conversation"))
    #expect(plain.output.contains("chance 25.0 %"), "\(plain)")
    #expect(!plain.errors.contains("never learned to chat"))
    let untuned = command(
      ["cox", "evaluate", "\(story)/checkpoints/anneal-10", "--questions", "world"] + limit)
    #expect(untuned.errors.contains("anneal-10 never learned to chat: --shots 4"), "\(untuned)")
  }

  private func expectComparison(_ checkpoints: String) throws {
    let limit = ["--limit", "30", "--answer-tokens", "9", "--temperature", "1", "--json"]
    func compare(_ name: String, _ against: String) throws -> JSONNode {
      let found = command(
        ["cox", "evaluate", "\(checkpoints)/\(name)", "--questions", "world", "--against",
          "\(checkpoints)/\(against)"] + limit)
      #expect(found.code == 0, "\(found.errors)")
      return try JSONReader.read(found.output)
    }
    let same = try compare("sft-40", "sft-40")
    for key in ["win_rate", "by_correctness", "by_length"] {
      #expect(same[key]?["share"]?.double == 0.5 && same[key]?["ties"]?.int == 30)
    }
    #expect(same["answers"]?.written == same["answers_against"]?.written)
    #expect(same["accuracy_gain"]?["difference"]?.double == 0)
    let there = try compare("grpo-4", "sft-40"), back = try compare("sft-40", "grpo-4")
    #expect(there["win_rate"]?["wins"]?.int == back["win_rate"]?["losses"]?.int)
    #expect(there["by_length"]?["losses"]?.int == back["by_length"]?["wins"]?.int)
    #expect(there["answers"]?.written == back["answers_against"]?.written)
    let gain = try #require(there["accuracy_gain"]?["difference"]?.double)
    let shares = try ["answers", "answers_against"].map {
      try #require(there[$0]?["accuracy"]?["share"]?.double)
    }
    #expect(abs(gain - (shares[0] - shares[1])) < 1e-15)
    #expect(there["against"]?.string == "sft-40" && there["by_length"]?["ties"]?.int != 30)
  }

  /// The report's figures are those of the records, and those that `cox evaluate` finds.
  private func expectReport(_ story: String) throws {
    let words = ["cox", "report", story, "--limit", "20"]
    let found = command(words + ["--json"])
    #expect(found.code == 0, "\(found.errors)")
    let node = try JSONReader.read(found.output)
    #expect(node["questions"]?.int == 20 && node["chance"]?.double == 0.25)
    let phases = try #require(node["phases"]?.elements)
    #expect(phases.compactMap { $0["phase"]?.string } == `The whole story`.phases)
    func phase(_ name: String) throws -> JSONNode {
      try #require(phases.first { $0["phase"]?.string == name })
    }
    func evaluate(_ name: String, _ more: String...) throws -> JSONNode {
      try report(
        "\(story)/checkpoints/\(name)", "--questions", "world", "--limit", "20", more: more)
    }
    let sft = try evaluate("sft-40")
    #expect(try phase("sft")["answers"]?.written == sft["answers"]?.written)
    for key in ["choices", "choices_in_sentences"] {
      #expect(try phase("sft")[key]?.written == sft[key]?["summed"]?.written && sft[key] != nil)
    }
    #expect(node["answer_chance"]?.double == sft["answer_chance"]?.double)
    #expect(try phase("sft")["win_rate"] == nil && phase("reward")["answers"] == nil)
    for (other, found) in [
      ("sft-40", try phase("grpo")), ("dpo-again-4", try #require(phase("grpo")["over_previous"])),
    ] {
      let against = try evaluate("grpo-4", "--against", "\(story)/checkpoints/\(other)")
      for key in ["win_rate", "by_correctness", "by_length", "accuracy_gain"] {
        #expect(found[key]?.written == against[key]?.written && found[key] != nil)
      }
    }
    #expect(try phase("grpo")["over_previous"]?["phase"]?.string == "dpo-again")
    #expect(try phase("ppo")["over_previous"] == nil, "the one before it is sft")
    for name in ["ppo", "dpo", "grpo"] {
      let distance = try #require(phase(name)["from_reference"], "\(name)")
      #expect(try #require(distance["k3"]?.double) > 0 && #require(distance["tokens"]?.int) > 20)
    }
    #expect(try phase("sft")["from_reference"] == nil && phase("anneal")["from_reference"] == nil)
    #expect(try phase("ppo")["divergence_limit"]?.double == 50)
    #expect(try phase("grpo")["divergence_limit"] == nil)
    let plain = try evaluate("anneal-10", "--shots", "0")
    #expect(try phase("anneal")["shots"]?.int == 0, "no more fit a context of 48")
    #expect(try phase("anneal")["answers"]?.written == plain["answers"]?.written)
    #expect(
      try phase("anneal")["choices"]?.written == plain["choices"]?["summed"]?.written)
    let reader = try RunReader(runDirectory: story)
    _ = try reader.update()
    let steps = reader.log.records.filter { $0.phase == "ppo" }
    let rounds = [steps.first, steps.last].map { $0?.extra["rollout_tokens"] ?? 0 }
    #expect(try phase("ppo")["rollout_tokens"]?.double == rounds[0] + rounds[1])
    #expect(try phase("ppo")["steps"]?.int == 8 && phase("evaluate")["steps"]?.int == 0)
    let share = try #require(phase("ppo")["rollout_share"]?.double)
    #expect(share > 0 && share < 1)
    #expect(node["wall_seconds"]?.double == reader.wallSeconds)
    let text = command(words)
    #expect(text.output.contains("better than sft %"), "\(text)")
    let limit = try #require(text.output.split(separator: "\n").first { $0.hasPrefix("ppo ") })
    #expect(limit.contains(" k3 ") && limit.contains(" of 50.0"), "\(limit)")
    for line in [
      "\ntotal ", "\nwall clock ", "\nMFU by the PaLM formula, of the ", " peak, ",
      "\ngrpo over sft: ", "\ngrpo over dpo-again: ", "\ndpo is k1 ", "likeliest sentence %",
    ] {
      #expect(text.output.contains(line), "\(line)\n\(text)")
    }
    let unasked = command(["cox", "report", story, "--questions", "none"])
    #expect(unasked.code == 0 && !unasked.output.contains("questions"))
  }

  /// Of models that never learned to chat.
  private func expectPlainReport(_ runs: Runs) throws {
    let words = ["--questions", "\(runs.story)/examples/unseen.jsonl", "--limit", "3", "--json"]
    let found = try JSONReader.read(command(["cox", "report", runs.plain] + words).output)
    let phase = try #require(found["phases"]?.elements?.first)
    // Shots are of the world that it has read, wherever the questions are from.
    let unaided = try #require(phase["without_shots"])
    #expect(phase["shots"]?.int == 4 && unaided["shots"]?.int == 0)
    for (shots, trial) in [("4", phase), ("0", unaided)] {
      let same = try JSONReader.read(
        command(["cox", "evaluate", runs.plain, "--shots", shots] + words).output)
      for key in ["choices", "choices_in_sentences"] {
        #expect(trial[key]?.written == same[key]?["summed"]?.written && same[key] != nil)
      }
      #expect(trial["answers"]?.written == same["answers"]?.written)
    }
    // A tokenizer that has read the world tells the model nothing of it.
    let other = command(["cox", "report", runs.other])
    #expect(other.code == 0 && !other.output.contains("questions"), "\(other)")
    #expect(other.errors.contains("no model of \(runs.other) has read the generated world"))
  }

  private func expectPairs(_ checkpoint: String, _ story: String) throws {
    let clean = try report(checkpoint, "--pairs", "world", "--limit", "200")
    #expect(clean["count"]?.int == 200 && clean["ties"]?.int == 0)
    let longer = try #require(clean["longer_preferred"]?["share"]?.double)
    let shorter = try #require(clean["shorter_preferred"]?["share"]?.double)
    #expect(abs(longer + shorter - 1) < 1e-12 && shorter > longer)
    #expect(clean["calibration"]?.elements?.count == 10)
    #expect(clean["calibration_error"]?.double != nil && clean["margin"]?["mean"] != nil)
    let noise = try report(checkpoint, "--pairs", "world", "--limit", "200", "--agreement", "0")
    // Turned labels turn accuracy and margin.
    let (right, wrong) = (clean["accuracy"]?["count"]?.double, noise["accuracy"]?["count"]?.double)
    #expect(try #require(right) + #require(wrong) == 200)
    // They turn what the labels prefer, and not what the model does.
    let written = ["longer_preferred", "shorter_preferred", "longer_wins"].map {
      (clean[$0]?.written, noise[$0]?.written)
    }
    #expect(written[0].0 == written[1].1 && written[1].0 == written[0].1)
    #expect(written[2].0 == written[2].1 && written[2].0 != nil)

    // What training measured at the end of the phase.
    let held = try report(checkpoint, "--pairs", "held-back")
    #expect(held["count"]?.int == held["of"]?.int)
    let reader = try RunReader(runDirectory: story)
    _ = try reader.update()
    let measured = try #require(
      reader.log.records.last { $0.phase == "reward" }?.validationLoss)
    #expect(abs(try #require(held["loss"]?["mean"]?.double) - measured) < 1e-12)
    // A later checkpoint carries the reward model on.
    let later = try report("\(story)/checkpoints/ppo-8", "--pairs", "held-back")
    #expect(later["margin"]?.written == held["margin"]?.written)
    let rows = [
      #"{"prompt": "Big?", "chosen": "Yes.", "rejected": "No."}"#,
      #"{"instruction": "Big?", "response1": "Yes.", "response2": "No.", "annotator1": 0}"#,
      "{}",
    ]
    try Files.write(rows.joined(separator: "\n"), to: "\(story)/pairs.jsonl")
    let file = command(["cox", "evaluate", checkpoint, "--pairs", "\(story)/pairs.jsonl", "--json"])
    let node = try JSONReader.read(file.output)
    #expect(node["count"]?.int == 2 && node["ties"]?.int == 1)
    #expect(node["longer_preferred"]?["share"]?.double == 1)
    #expect(file.errors.contains("1 rows passed over"), "\(file.errors)")
  }

  private func expectConversations(_ checkpoints: String, _ story: String) throws {
    // What training measured at the end of the phase.
    let held = try report("\(checkpoints)/sft-40", "--conversations", "held-back")
    let reader = try RunReader(runDirectory: story)
    _ = try reader.update()
    let measured = try #require(reader.log.records.last { $0.phase == "sft" })
    let loss = try #require(held["loss"]?["mean"]?.double)
    #expect(abs(loss - (measured.validationLoss ?? .nan)) < 1e-12)
    #expect(held["tokens"]?.int == measured.validationTokens)
    #expect(held["count"]?.int == held["of"]?.int)
    // It takes longer than a step, and its forward passes are not those of the step behind it.
    let steps = reader.log.records.filter { $0.phase == "sft" && $0.step > 0 }
    #expect(steps.filter { $0.secondsBy.backward <= 0 }.map(\.step) == [])
    // A checkpoint before the phase reads what it will hold back.
    let before = try report("\(checkpoints)/anneal-10", "--conversations", "held-back")
    let compared = try report(
      "\(checkpoints)/sft-40", "--conversations", "held-back", "--against",
      "\(checkpoints)/anneal-10")
    #expect(compared["against"]?.string == "anneal-10")
    #expect(compared["loss"]?.written == held["loss"]?.written)
    #expect(compared["loss_against"]?.written == before["loss"]?.written)
    let difference = try #require(compared["difference"])
    let earlier = try #require(before["loss"]?["mean"]?.double)
    #expect(abs(try #require(difference["mean"]?.double) - (loss - earlier)) < 1e-12)
    #expect(try #require(difference["high"]?.double) < 0)
    // The world's questions, which this phase held back too, and a file.
    let world = try report("\(checkpoints)/sft-40", "--conversations", "world")
    #expect(world["of"]?.int == held["of"]?.int)
    #expect(world["loss"]?.written == held["loss"]?.written)
    let few = try report(
      "\(checkpoints)/sft-40", "--conversations", "world", "--limit", "20")
    #expect(few["count"]?.int == 20 && few["of"]?.int == held["of"]?.int)
    try Files.write(
      #"{"prompt": "Big?", "completion": "Yes."}"#, to: "\(story)/conversations.jsonl")
    let file = command(
      ["cox", "evaluate", "\(checkpoints)/sft-40", "--conversations",
        "\(story)/conversations.jsonl"])
    #expect(file.code == 0, "\(file.errors)")
    #expect(file.output.hasPrefix("sft-40: 1 of 1 conversations of "), "\(file.output)")
    #expect(file.output.contains(" nats per token"))
  }

  private func expectRefusals(_ checkpoints: String, _ other: String) throws {
    let sft = "\(checkpoints)/sft-40", unseen = "\(checkpoints)/../examples/unseen.jsonl"
    for (words, problem) in [
      ([other, "--questions", "world"], "has not read the generated world"),
      ([other, "--questions", unseen], "<|bos|>"),
      ([other, "--questions", unseen, "--shots", "1"], "--shots"),
      ([sft, "--questions", "world", "--against", other], "another tokenizer"),
      ([sft, "--questions", "world", "--shots", "4"], "the model's context 48"),
      ([sft, "--questions", "\(checkpoints)/../pairs.jsonl"], "pairs.jsonl, line 1"),
      ([sft, "--conversations", "\(checkpoints)/../pairs.jsonl"], "a pair of answers, where"),
      ([sft, "--conversations", "world", "--against", other], "losses per token would not"),
      ([other, "--conversations", "held-back"], "no sft phase on given conversations: name a file"),
      ([sft, "--pairs", "world"], "holds no reward model, only policy"),
    ] {
      let refused = command(["cox", "evaluate"] + words)
      #expect(refused.code == 65, "\(words): \(refused.errors)")
      #expect(refused.errors.contains(problem), "\(words): \(refused.errors)")
      #expect(refused.output.isEmpty)
    }
  }
}

extension JSONNode {
  /// Without the places where it was read.
  fileprivate var written: String { jsonText(isIndented: false) }
}
