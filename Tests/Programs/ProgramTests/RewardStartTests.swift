import Settings
import System
import Testing

/// PPO with the reward model of another run: `initialization.reward_model`.
@Suite(.serialized) struct `A reward model from another run` {
  private static func plan(_ more: String, vocabulary: Int = 420, seed: Int = 6) -> String {
    """
    {
      "name": "scored", "seed": \(seed), "checkpoints": { "every": 4 },
      "model": { "layers": 2, "width": 40, "heads": 4, "key_value_heads": 2, "context": 48 },
      "batch": { "sequences": 8, "slices": 4, "microbatch": 2 },
      "tokenizer": { "kind": "bpe", "vocabulary": \(vocabulary) },
      "data": { "source": "world", "documents": 100 }, \(more)
    }
    """
  }

  /// A policy, and behind it a reward model.
  private static let first = """
    "phases": [
      { "kind": "tokenizer" },
      { "kind": "sft", "steps": 4, "examples": { "count": 60 }, "validation": { "every": 0 } },
      { "kind": "reward", "steps": 4, "examples": { "count": 40 }, "validation": { "every": 0 } },
    ]
    """

  private static func second(_ from: String, _ reward: String) -> String {
    """
    "initialization": { "from": "\(from)", "reward_model": "\(reward)" },
    "phases": [
      { "kind": "tokenizer" },
      { "kind": "evaluate", "validation": { "tokens": 256, "full_at_end": false } },
      { "kind": "ppo", "examples": { "count": 40 },
        "reinforcement": { "iterations": 1, "prompts": 16, "epochs": 1, "answer_tokens": 8 },
        "validation": { "every": 0, "tokens": 256, "full_at_end": false } },
    ]
    """
  }

  private func train(
    _ plan: String, in folder: String, workerCount: Int = 1
  ) throws -> (code: Int32, output: String, errors: String) {
    try Files.createDirectory(folder)
    try Files.write(plan, to: "\(folder)/plan.json")
    return command(
      ["cox", "up", "\(folder)/plan.json", "--run", "\(folder)/run", "--threads", "1",
        "--workers", "\(workerCount)"])
  }

  @Test(.timeLimit(.minutes(3))) func `scores, for any workers, and must fit`() throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      let made = try train(Self.plan(Self.first), in: "\(folder)/made")
      try #require(made.code == 0, "\(made.errors)")
      let checkpoints = "\(folder)/made/run/checkpoints"
      let (policy, reward) = ("\(checkpoints)/sft-4", "\(checkpoints)/reward-4")

      var digests: Set<String> = []
      for workerCount in [1, 2] {
        let further = "\(folder)/further-\(workerCount)"
        let found = try train(
          Self.plan(Self.second(policy, reward)), in: further, workerCount: workerCount)
        try #require(found.code == 0, "\(found.errors)")
        #expect(found.errors.contains("initial weights: \(policy), \(reward)"), "\(found.errors)")
        digests.insert(command(["cox", "digest", "\(further)/run"]).output)
        let name = "reward.safetensors"
        #expect(
          try Files.read("\(further)/run/checkpoints/ppo-2/\(name)")
            == Files.read("\(reward)/\(name)"), "it is asked and stays as it is")
      }
      #expect(digests.count == 1)

      let wider = try train(Self.plan(Self.first, vocabulary: 421), in: "\(folder)/wider")
      let reader = try train(Self.plan(Self.first, seed: 7), in: "\(folder)/reader")
      #expect([wider.code, reader.code] == [0, 0], "\(wider.errors)\(reader.errors)")
      for (reward, problem) in [
        (policy, "holds no reward model, only policy; name a checkpoint of a reward phase"),
        ("\(folder)/wider/run", "model.vocabulary: 421, \(policy) 420"),
        ("\(folder)/reader/run", "reads with another tokenizer than \(policy)"),
      ] {
        let refused = try train(Self.plan(Self.second(policy, reward)), in: "\(folder)/refused")
        #expect(refused.code == 78)
        #expect(refused.errors.contains("initialization.reward_model: "), "\(refused.errors)")
        #expect(refused.errors.contains(problem), "\(refused.errors)")
      }
    }
  }
}
