/// Settings of the phases that come after pretraining.
extension ResolvedPlan {
  /// Which model a phase takes for its policy, and for the reference that it may not leave far.
  public enum Start: String, Codable, CaseIterable, Sendable {
    /// The policy that the phase before left.
    case policy
    /// The reference of the phase before: what that one began with, so that two ways from one model
    /// can be compared.
    case reference
  }

  /// Conversations, pairs or prompts, whichever the phase reads.
  public struct Examples: Codable, Equatable, Sendable {
    /// Of the generated world; a file has as many as it has.
    public var count: Int
    /// How often the generated world's labels follow its rule, 0 to 1; of a file nothing.
    public var agreement: Double
    /// Whether a row that cannot be read ends the run; otherwise it is counted and passed over.
    public var isStrict: Bool
    /// How often each is read, which decides the steps of the phase; nil where these were given,
    /// and once the rows were counted.
    public var epochs: Int?
    public init(
      count: Int = 4000, agreement: Double = 1, isStrict: Bool = false, epochs: Int? = nil
    ) {
      self.count = count
      self.agreement = agreement
      self.isStrict = isStrict
      self.epochs = epochs
    }
  }

  /// Learning from pairs of answers. A reward phase has ``pairs`` alone, the rest is of direct
  /// preference optimization.
  public struct Preference: Codable, Equatable, Sendable {
    /// Where pairs come from: the data, or the policy's own answers as a judge ranks them.
    public enum Pairs: String, Codable, CaseIterable, Sendable { case given, sampled }
    /// `sigmoid` is DPO, `identity` IPO.
    public enum Loss: String, Codable, CaseIterable, Sendable { case sigmoid, identity }
    public var pairs: Pairs
    public var loss: Loss
    /// How dear it is to leave the reference.
    public var beta: Double
    /// Share of labels that are taken to be wrong.
    public var labelSmoothing: Double
    /// Whether log-probabilities are means over an answer's tokens, not sums.
    public var isLengthNormalized: Bool
    public init(
      pairs: Pairs = .given, loss: Loss = .sigmoid, beta: Double = 0.1, labelSmoothing: Double = 0,
      isLengthNormalized: Bool = false
    ) {
      self.pairs = pairs
      self.loss = loss
      self.beta = beta
      self.labelSmoothing = labelSmoothing
      self.isLengthNormalized = isLengthNormalized
    }
  }

  /// Learning from the policy's own answers.
  public struct Reinforcement: Codable, Equatable, Sendable {
    /// Who scores an answer: the reward model, or a rule that knows the right one.
    public enum Judge: String, Codable, CaseIterable, Sendable { case model, rule }
    public var judge: Judge
    /// Rounds of answers.
    public var iterations: Int
    /// Prompts of a round.
    public var prompts: Int
    /// Answers to each prompt.
    public var answers: Int
    /// Most tokens of an answer, its end included.
    public var answerTokens: Int
    public var temperature: Double
    /// How often a round's answers are learned from.
    public var epochs: Int
    /// How dear it is to leave the reference.
    public var beta: Double
    /// How far the ratio to the old policy counts.
    public var clip: Double
    /// How far a value may move from the old one.
    public var valueClip: Double
    public var gamma: Double
    public var lambda: Double
    /// Taken off the score of an answer that was cut before its end.
    public var missingEndPenalty: Double

    public init(
      judge: Judge, iterations: Int, prompts: Int, answers: Int, answerTokens: Int,
      temperature: Double = 1, epochs: Int, beta: Double, clip: Double = 0.2,
      valueClip: Double = 0.2, gamma: Double = 1, lambda: Double = 0.95,
      missingEndPenalty: Double = 1
    ) {
      self.judge = judge
      self.iterations = iterations
      self.prompts = prompts
      self.answers = answers
      self.answerTokens = answerTokens
      self.temperature = temperature
      self.epochs = epochs
      self.beta = beta
      self.clip = clip
      self.valueClip = valueClip
      self.gamma = gamma
      self.lambda = lambda
      self.missingEndPenalty = missingEndPenalty
    }

    /// Answers of a round.
    public var answerCount: Int { prompts * answers }

    /// Updates that learn from one round's answers.
    public func stepsPerIteration(_ batch: Batch) -> Int {
      epochs * max(1, answerCount / batch.sequences)
    }
  }

  /// Limits of an iteration's answers; nil: none. Each is compared with what the whole cluster
  /// measured, so that every worker decides alike.
  public struct AnswerLimits: Codable, Equatable, Sendable {
    /// The farthest from the reference, nats per token (k3).
    public var divergence: Double?
    /// The longest mean answer, tokens.
    public var length: Double?
    /// The least entropy of the policy, nats per token.
    public var entropy: Double?

    public init() {}

    public var isEmpty: Bool { self == AnswerLimits() }
  }

  /// Limits at which a phase ends early; nil: none.
  public struct Gates: Codable, Equatable, Sendable {
    /// Ends when a validation's loss is at most this.
    public var validationLoss: Double?
    /// Ends when the mean reward is at least this.
    public var reward: Double?
    /// Ends when answers pass one of them.
    public var answers = AnswerLimits()

    public init() {}

    public var isEmpty: Bool { self == Gates() }
  }
}

extension ResolvedPlan.Phase.Kind {
  /// Whether the phase updates weights, step by step.
  public var takesSteps: Bool { self != .tokenizer && self != .evaluate }

  /// Whether it reads examples, not running text.
  public var readsExamples: Bool {
    switch self {
    case .tokenizer, .pretrain, .anneal, .evaluate: false
    case .sft, .reward, .dpo, .ppo, .grpo: true
    }
  }

  /// Whether the policy that it leaves answers in conversations.
  public var teachesChat: Bool {
    switch self {
    case .tokenizer, .pretrain, .anneal, .reward, .evaluate: false
    case .sft, .ppo, .dpo, .grpo: true
    }
  }

  /// Whether it works on the policy in training alone, as a run's first phase must.
  public var trainsPolicyAlone: Bool {
    switch self {
    case .tokenizer, .pretrain, .anneal, .sft, .evaluate: true
    case .reward, .ppo, .dpo, .grpo: false
    }
  }

  /// Whether it keeps the policy near what it was.
  public var hasReference: Bool { self == .dpo || samples }

  /// Whether it learns from pairs of answers.
  public var readsPairs: Bool { self == .reward || self == .dpo }

  /// Whether it always learns from the policy's own answers.
  var samples: Bool { self == .ppo || self == .grpo }
}

extension ResolvedPlan.Phase {
  /// Whether it learns from the policy's own answers.
  public var samples: Bool { reinforcement != nil }

  /// Whether the policy is what learns from them, not a reward model beside it.
  public var reinforcesPolicy: Bool { samples && kind != .reward }

  /// Whether the reward model that is there goes on with fresh pairs:
  /// given ones make another.
  public var continuesReward: Bool { samples && kind == .reward }

  /// Whether it scores answers with the reward model, starts its value model from it or trains it
  /// further.
  public var asksReward: Bool { reinforcement?.judge == .model || kind == .ppo || continuesReward }

  /// Whether only its rows can tell how many steps it takes: ``steps`` is 0 until they are counted.
  public var awaitsRows: Bool { steps == 0 && examples?.epochs != nil }
}
