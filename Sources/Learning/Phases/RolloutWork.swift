public import Corpus
internal import Evaluation
internal import Operators
internal import Planning
internal import Settings
internal import System
public import Tensors
public import Tokenization
internal import Transformer

/// Who scores answers by a rule, and how answers become text for it.
public struct RuleJudge {
  public let rule: AnswerRule
  public let tokenizer: Tokenizer

  public init(rule: AnswerRule, tokenizer: Tokenizer) {
    self.rule = rule
    self.tokenizer = tokenizer
  }
}

/// The slices of a rollout: the policy answers prompts, and its answers are scored.
///
/// An answer is a function of the weights, (seed, phase, iteration) and its place in the iteration:
/// whoever generates it, and beside whatever others, gets the same tokens and numbers.
public final class RolloutWork: SliceWork {
  private let replica: Replica
  private let shape: RolloutShape
  private let settings: ResolvedPlan.Reinforcement
  private let judge: RuleJudge?
  private let stopToken: UInt32
  private let idCount: Int
  private var iteration = 0
  private var generator: Generator?

  /// Texts that are continued at once, and tokens of them in one pass.
  private static let streamCapacity = 32
  private static let rowCapacity = 256

  /// - Parameters:
  ///   - judge: Of a phase whose judge is a rule.
  ///   - stopToken: Ends an answer.
  ///   - idCount: Ids that the tokenizer has.
  public init(_ replica: Replica, judge: RuleJudge?, stopToken: UInt32, idCount: Int) {
    guard let settings = replica.phase.reinforcement,
      let shape = replica.plan.rolloutShape(ofPhase: replica.phaseIndex)
    else { preconditionFailure("phase \(replica.phase.name) has no rollouts") }
    self.replica = replica
    self.settings = settings
    self.shape = shape
    self.judge = judge
    self.stopToken = stopToken
    self.idCount = idCount
  }

  public func makeSum() -> NodeSum { NodeSum(counts: [shape.count]) }

  public func windows(of sum: NodeSum) -> [SharedRows<Float>] { sum.windows }

  public var buckets: [Range<Int>] { BucketPlan.buckets(elementCount: shape.count) }

  public func begin(step: Int, slices: [TokenSlice]) { iteration = step }

  public func isJoinable(_ tokens: TokenSlice) -> Bool { false }

  public func add(_ range: Range<Int>, of right: NodeSum, into left: NodeSum) {
    replica.engine.add(right.windows[0][range], into: left.windows[0][range])
  }

  public func compute(
    _ tokens: TokenSlice, slice: Int, into sum: NodeSum, accumulate: Bool,
    isCancelled: () -> Bool, finished: (Range<Int>) -> Void
  ) -> SliceStatistics? {
    let first = slice * tokens.sequences.count * settings.answers
    let purpose = Self.answerPurpose
    guard
      let answers = answer(tokens, first: first, purpose: purpose, isCancelled: isCancelled)
    else { return nil }
    let window = sum.windows[0]
    window.fill(with: 0)
    let rollouts = Rollouts(shape, window)
    for (index, answer) in answers.enumerated() { rollouts[first + index] = answer }
    Failpoint.inRollout.pass(step: iteration)
    finished(0..<shape.count)
    return statistics(answers)
  }

  /// How good answers to prompts that were held back are; of a reward phase, how its model ranks
  /// pairs of them.
  public func evaluate(
    _ tokens: TokenSlice, isCancelled: () -> Bool
  ) -> SliceStatistics? {
    answer(tokens, first: 0, purpose: Self.validationPurpose, isCancelled: isCancelled)
      .map(replica.phase.reinforcesPolicy ? statistics : ranking)
  }

  /// Apart from all other draws of a run.
  private static let answerPurpose: UInt64 = 0x414E_5357  // "ANSW"
  private static let validationPurpose: UInt64 = 0x4845_4C44  // "HELD"

  // MARK: Answering

  /// - Parameter first: Place of the first answer among those of the iteration.
  private func answer(
    _ prompts: TokenSlice, first: Int, purpose: UInt64, isCancelled: () -> Bool
  ) -> [Rollouts.Answer]? {
    guard let drawn = draw(prompts, first: first, purpose: purpose, isCancelled: isCancelled)
    else { return nil }
    let repeats = drawn.count / max(prompts.sequences.count, 1)
    let expected = prompts.sequences.flatMap { sequence in
      [[UInt32]](repeating: Array(sequence.answer), count: repeats)
    }
    return judged(drawn, expected: expected, isCancelled: isCancelled)
  }

  /// Answers of the policy, not judged yet.
  private func draw(
    _ prompts: TokenSlice, first: Int, purpose: UInt64, isCancelled: () -> Bool
  ) -> [Rollouts.Answer]? {
    let isHeldBack = purpose == Self.validationPurpose
    let draws = RandomStream(
      seed: replica.plan.seed, phase: replica.phaseIndex, step: isHeldBack ? 0 : iteration,
      purpose: purpose)
    let repeats = !isHeldBack ? settings.answers : replica.phase.reinforcesPolicy ? 1 : 2
    var requests: [Generator.Request] = []
    for sequence in prompts.sequences {
      for index in 0..<repeats {
        // A validation's answers are named by their prompt, so that slices do not matter.
        let place = isHeldBack ? repeats * Int(sequence.row) + index : first + requests.count
        let draw = UInt64(2 * place)
        let seed = UInt64(draws.bits(at: draw)) << 32 | UInt64(draws.bits(at: draw + 1))
        requests.append(
          Generator.Request(
            prompt: Array(sequence.prompt),
            sampler: Sampler(temperature: settings.temperature, seed: seed),
            tokenLimit: settings.answerTokens, stopTokens: [stopToken]))
      }
    }
    return generate(requests, isCancelled: isCancelled)?.enumerated().map { index, continuation in
      let prompt = requests[index].prompt
      return Rollouts.Answer(
        row: prompts.sequences[index / repeats].row, tokens: prompt + continuation.tokens,
        promptCount: prompt.count, isEnded: continuation.ending == .stopToken,
        logProbabilities: continuation.logProbabilities.map { Double(Float($0)) })
    }
  }

  private func generate(
    _ requests: [Generator.Request], isCancelled: () -> Bool
  ) -> [Generator.Continuation]? {
    let generator = generator
      ?? Generator(
        decoder: StreamDecoder(
          weights: replica.policy.transformer.weights, engine: replica.engine,
          rowCapacity: Self.rowCapacity, streamCapacity: Self.streamCapacity), idCount: idCount)
    self.generator = generator
    let found = generator.generate(
      requests, givesLogProbabilities: true, isCancelled: isCancelled)
    return found.contains { $0.ending == .cancelled } ? nil : found
  }

  // MARK: Judging

  /// The answers with all that an update needs to know of them.
  ///
  /// - Parameters:
  ///   - drawn: Their tokens, and the log-probabilities that the policy drew them with; those to
  ///     one prompt follow one another.
  ///   - expected: Of each, the answer that a rule compares it with.
  /// - Returns: nil when cancelled.
  package func judged(
    _ drawn: [Rollouts.Answer], expected: [[UInt32]], isCancelled: () -> Bool
  ) -> [Rollouts.Answer]? {
    var answers = drawn
    for start in stride(from: 0, to: answers.count, by: replica.plan.batch.microbatch) {
      if isCancelled() { return nil }
      let end = min(start + replica.plan.batch.microbatch, answers.count)
      measure(&answers[start..<end], expected[start..<end])
    }
    estimateAdvantages(&answers)
    return answers
  }

  /// Asks the other models about a few answers.
  private func measure(
    _ answers: inout ArraySlice<Rollouts.Answer>, _ expected: ArraySlice<[UInt32]>
  ) {
    let sequences = answers.map { $0.sequence(row: 0) }
    func ask(_ model: ModelReplica, _ sequences: [TokenSlice.Sequence]) -> [[Double]] {
      let slice = TokenSlice(sequences: sequences)
      replica.batch.load(sequences.indices, of: slice, firstToken: 0)
      let values = model.transformer.values(replica.batch)
      return RowRanges(slice, sequences.indices).ranges.map { values[$0].array }
    }
    let reference = replica.model(.reference).map { ask($0, sequences) }
    let values = replica.model(.value).map { ask($0, sequences) }
    let scores: [Double]
    if settings.judge == .model {
      let whole = sequences.map { $0.readToEnd(sequenceLength: shape.sequenceLength) }
      scores = ask(replica[.reward], whole).map { $0[$0.count - 1] }
    } else {
      scores = zip(answers, expected).map(ruleScore)
    }
    for (index, place) in answers.indices.enumerated() {
      // The row before a token predicts it.
      let rows = answers[place].promptCount - 1..<answers[place].tokens.count - 1
      answers[place].reference = reference.map { $0[index][rows].map { Double(Float(-$0)) } }
        ?? answers[place].logProbabilities
      answers[place].values = values.map { $0[index][rows].map { Double(Float($0)) } }
        ?? rows.map { _ in 0 }
      // A score that is no number teaches nothing: its answer counts as one of score 0.
      answers[place].isUnscored = !scores[index].isFinite
      answers[place].score = (answers[place].isUnscored ? 0 : scores[index])
        - (answers[place].isEnded ? 0 : settings.missingEndPenalty)
    }
  }

  private func ruleScore(_ answer: Rollouts.Answer, _ expected: [UInt32]) -> Double {
    guard let judge else { preconditionFailure("no rule was given") }
    func text(_ tokens: some Sequence<UInt32>) -> [UInt8] {
      judge.tokenizer.decode(tokens.filter { $0 != stopToken })
    }
    return judge.rule.score(
      row: answer.row, answer: text(answer.tokens[answer.promptCount...]),
      expected: text(expected))
  }

  private func estimateAdvantages(_ answers: inout [Rollouts.Answer]) {
    if replica.phase.kind == .grpo {
      for start in stride(from: 0, to: answers.count, by: settings.answers) {
        let group = start..<min(start + settings.answers, answers.count)
        let advantages = Advantages.group(group.map { answers[$0].score })
        for (index, advantage) in zip(group, advantages) {
          answers[index].advantages = answers[index].values.map { _ in advantage }
          answers[index].returns = answers[index].values.map { _ in answers[index].score }
        }
      }
      return
    }
    for index in answers.indices {
      let answer = answers[index]
      let estimate = Advantages(
        rewards: Advantages.rewards(
          score: answer.score, logProbabilities: answer.logProbabilities,
          reference: answer.reference, beta: settings.beta),
        values: answer.values, gamma: settings.gamma, lambda: settings.lambda)
      answers[index].advantages = estimate.advantages
      answers[index].returns = estimate.returns
    }
  }

  private func statistics(_ answers: [Rollouts.Answer]) -> SliceStatistics {
    var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
    for answer in answers {
      sum.tokenCount += Int64(answer.answerCount)
      sum.measures += answer.measures
    }
    if !replica.phase.reinforcesPolicy {
      let ranking = ranking(answers)
      sum.measures += Measures.ranking(ranking.measures, count: ranking.tokenCount)
    }
    return sum
  }

  /// What the reward model in training makes of the answers as pairs.
  private func ranking(_ answers: [Rollouts.Answer]) -> SliceStatistics {
    let pairs = stride(from: 0, to: answers.count, by: 2).flatMap {
      Rollouts.Answer.pair(answers[$0], answers[$0 + 1], firstRow: $0)
    }
    return replica.evaluate(replica.prepared(TokenSlice(sequences: pairs)))
  }
}
