import Operators
import Phases
import Planning
import Settings
import Tensors
import Testing

/// What phases minimize, and its gradient, beside PyTorch's of the same weights and tokens
/// (Tests/Parity/objectives.py): two slices of two micro-batches with sequences of many lengths,
/// through everything that a worker does between them and an update.
@Suite struct `Objectives of phases` {
  /// Relative. PyTorch computes in f64, the models here in f32: some ten roundings of 6e-8.
  private static let tolerance = 1e-5

  private let rows: JSONNode

  init() throws { rows = try parityFile("objectives.json") }

  // MARK: Comparing

  private func expect(_ found: [Double], _ expected: [Double], _ what: String) {
    #expect(found.count == expected.count, "\(what)")
    func length(_ numbers: [Double]) -> Double {
      numbers.reduce(0) { $0 + $1 * $1 }.squareRoot()
    }
    let error = length(zip(found, expected).map { $0 - $1 })
    #expect(
      error <= Self.tolerance * length(expected), "\(what): \(found), PyTorch \(expected)")
  }

  /// A step of one worker: its loss and its mean gradients are those of `row`.
  private func expectStep(
    _ replica: Replica, _ slices: [TokenSlice], _ row: JSONNode
  ) throws -> [String: Double] {
    let gradients = Gradients(replica)
    let first = gradients.whole(slices, step: 0).1
    // The reference is asked at a pair's first visit alone.
    let (root, sum) = gradients.whole(slices, step: 0)
    #expect(first == sum)
    let windows = gradients.work.windows(of: root)
    // It adds the parts of the look-up table.
    let outcome = replica.update(windows, statistics: sum, step: 0)
    expect([outcome.loss], [try row.number("loss")], "loss")
    for (index, model) in replica.trained.enumerated() {
      let expected = try #require(row[model.role.rawValue])
      if index == 0 { expect([outcome.gradNorm], [try expected.number("length")], "norm") }
      for parameter in model.layout.parameters {
        let mean = windows[2 * index][parameter.range].array.map {
          Double($0) / Double(sum.tokenCount)
        }
        expect(
          mean, try expected.numbers(parameter.role.key), "\(model.role) \(parameter.name)")
      }
    }
    return replica.phase.kind.figures(sum.measures, count: sum.tokenCount)
  }

  // MARK: Models

  /// A plan whose phase 2 is of this kind. Its models have no layers, and would have dropout.
  private func plan(_ kind: ResolvedPlan.Phase.Kind) -> ResolvedPlan {
    var plan = tinyPlan(precision: .f32)
    plan.model = ModelShape(
      layerCount: 0, modelWidth: 4, headCount: 1, keyValueHeadCount: 1, headWidth: 4,
      feedForwardWidth: 4, vocabularySize: 9, sequenceLength: 9, isHeadTied: true)
    plan.batch = .init(sequences: 8, slices: 2, microbatch: 2)
    // A phase after it may ask its model.
    plan.phases[1].kind = .reward
    plan.phases.append(plan.phases[1])
    plan.phases[2].kind = kind
    return plan
  }

  private func load(_ models: [ModelRole: String], into replica: Replica) throws {
    for (role, name) in models {
      let weights = try #require(try rows.list("models").first { $0["model"]?.string == name })
      for parameter in replica[role].layout.parameters {
        let values = try weights.numbers(parameter.role.key)
        for (index, value) in values.enumerated() {
          replica[role].master[parameter.offset + index] = Float(value)
        }
      }
    }
    replica.repack()
  }

  // MARK: Pairs

  private func pairs() throws -> [TokenSlice] {
    let sequences = try rows.list("pairs").enumerated().flatMap { index, pair in
      try ["chosen", "rejected"].map { key in
        let (prompt, answer) = (try pair.tokens("prompt"), try pair.tokens(key))
        return TokenSlice.Sequence(
          tokens: prompt + answer,
          isTarget: prompt.dropFirst().map { _ in false } + answer.map { _ in true },
          row: UInt32(index), isTie: try pair.flag("tie"))
      }
    }
    return [TokenSlice(sequences: Array(sequences[..<4])),
      TokenSlice(sequences: Array(sequences[4...]))]
  }

  @Test func `that scores pairs are PyTorch's`() throws {
    try withReplica(plan(.reward)) { replica in
      replica.enter(2)
      try load([.reward: "reward"], into: replica)
      let slices = try pairs().map(replica.prepared)
      _ = try expectStep(replica, slices, try #require(try rows.list("reward").first))
    }
  }

  @Test(arguments: ResolvedPlan.Preference.Loss.allCases)
  func `that prefers answers are PyTorch's`(loss: ResolvedPlan.Preference.Loss) throws {
    for row in try rows.list(loss == .sigmoid ? "dpo" : "ipo") {
      var plan = plan(.dpo)
      plan.phases[2].preference = .init(
        loss: loss, beta: try row.number("beta"),
        labelSmoothing: try row.number("label_smoothing"),
        isLengthNormalized: try row.flag("length_normalized"))
      try withReplica(plan) { replica in
        replica.enter(2)
        try load([.policy: "policy", .reference: "reference"], into: replica)
        let figures = try expectStep(replica, try pairs(), row)
        expect([try #require(figures["margin"])], [try row.number("margin")], "margin")
      }
    }
  }

  // MARK: Answers

  /// A plan whose phase 2 learns from the answers of `row`, four to each of two prompts.
  private func plan(_ kind: ResolvedPlan.Phase.Kind, _ row: JSONNode) throws -> ResolvedPlan {
    var plan = plan(kind)
    plan.phases[2].reinforcement = .init(
      judge: .model, iterations: 1, prompts: 2, answers: 4, answerTokens: 5, epochs: 1,
      beta: try row.number("beta"), clip: try row.number("clip"),
      valueClip: try row.number("value_clip"), gamma: try row.number("gamma"),
      lambda: try row.number("lambda"), missingEndPenalty: try row.number("missing_end_penalty"))
    return plan
  }

  /// The answers of `row` as the policy drew them.
  private func drawn(_ row: JSONNode) throws -> [Rollouts.Answer] {
    try row.list("answers").map { answer in
      let prompt = try answer.tokens("prompt")
      return Rollouts.Answer(
        row: 0, tokens: prompt + (try answer.tokens("answer")), promptCount: prompt.count,
        isEnded: try answer.flag("ended"), logProbabilities: try answer.numbers("old"))
    }
  }

  private func judged(
    _ answers: [Rollouts.Answer], _ replica: Replica
  ) throws -> [Rollouts.Answer] {
    let work = RolloutWork(replica, judge: nil, stopToken: 8, idCount: 9)
    return try #require(
      work.judged(answers, expected: answers.map { _ in [] }, isCancelled: { false }))
  }

  /// Has the answers judged and puts them into the state, where they are those of `row`.
  private func take(_ row: JSONNode, into replica: Replica) throws {
    let shape = try #require(replica.plan.rolloutShape(ofPhase: 2))
    let memory = AlignedStorage(count: shape.count, filledWith: Float(0)).rows
    for (index, answer) in try judged(try drawn(row), replica).enumerated() {
      Rollouts(shape, memory)[index] = answer
    }
    replica.takeRollouts(memory)
    let kept = Rollouts(shape, try #require(replica.rollouts))
    for (index, expected) in try row.list("answers").enumerated() {
      let answer = kept[index]
      expect([answer.score], [try expected.number("score")], "score of \(index)")
      expect(answer.reference, try expected.numbers("reference"), "reference of \(index)")
      expect(answer.advantages, try expected.numbers("advantages"), "advantages of \(index)")
      guard replica.model(.value) != nil else { continue }
      expect(answer.values, try expected.numbers("values"), "values of \(index)")
      expect(answer.returns, try expected.numbers("returns"), "returns of \(index)")
    }
  }

  @Test func `that learn from answers with a value model are PyTorch's`() throws {
    let row = try #require(try rows.list("ppo").first)
    try withReplica(try plan(.ppo, row)) { replica in
      replica.enter(2)
      try load(
        [.policy: "old policy", .reference: "reference", .reward: "reward", .value: "old value"],
        into: replica)
      try take(row, into: replica)
      try load([.policy: "policy", .value: "value"], into: replica)
      let figures = try expectStep(replica, replica.answerBatch(step: 0), row)
      expect([try #require(figures["value_loss"])], [try row.number("value_loss")], "value loss")
    }
  }

  @Test func `that learn from groups of answers are PyTorch's`() throws {
    let row = try #require(try rows.list("grpo").first)
    try withReplica(try plan(.grpo, row)) { replica in
      replica.enter(2)
      try load(
        [.policy: "old policy", .reference: "reference", .reward: "reward"], into: replica)
      try take(row, into: replica)
      try load([.policy: "policy"], into: replica)
      _ = try expectStep(replica, replica.answerBatch(step: 0), row)
    }
  }

  @Test func `take a score that is no number for 0, and charge a cut answer all the same`() throws {
    let row = try #require(try rows.list("ppo").first)
    try withReplica(try plan(.ppo, row)) { replica in
      replica.enter(2)
      try load(
        [.policy: "policy", .reference: "reference", .reward: "reward", .value: "value"],
        into: replica)
      let (reward, penalty) = (replica[.reward], try row.number("missing_end_penalty"))
      // What ends with token 7 has a NaN for its score: the second answer, which was cut.
      reward.master[reward.layout[.embedding].offset + 7 * 4] = .nan
      replica.repack()
      let answers = try judged(try drawn(row), replica)
      let expected = try row.list("answers").map { try $0.number("score") }
      #expect(answers.map(\.isUnscored) == expected.indices.map { $0 == 1 })
      #expect(answers[1].score == -penalty)
      for index in expected.indices where index != 1 {
        expect([answers[index].score], [expected[index]], "score of \(index)")
      }
      #expect(answers.allSatisfy { $0.advantages.allSatisfy(\.isFinite) })

      // Now every answer has.
      reward.master[reward.layout[.head].offset] = .nan
      replica.repack()
      let work = RolloutWork(replica, judge: nil, stopToken: 8, idCount: 9)
      let prompts = TokenSlice(
        sequences: [[0, 3, 5], [0, 7]].map { prompt in
          TokenSlice.Sequence(tokens: prompt, isTarget: prompt.dropFirst().map { _ in false })
        })
      let sum = try #require(work.evaluate(prompts, isCancelled: { false }))
      let figures = Measures.rolloutFigures(sum.measures)
      #expect(figures["rewards_not_finite"] == 2)
      #expect(figures["reward"] == (try #require(figures["ended"]) - 1) * penalty)
    }
  }
}

extension ParameterRole {
  /// What objectives.json calls it.
  fileprivate var key: String {
    switch self {
    case .embedding: "embedding"
    case .finalNorm: "norm"
    default: "head"
    }
  }
}
