internal import Tensors

/// Settings of the phases that come after pretraining, derived where a plan leaves them out.
extension Resolver {
  mutating func resolveExamples(_ index: Int) -> ResolvedPlan.Examples {
    let place = "phases[\(index)].examples"
    var examples = ResolvedPlan.Examples()
    if sequenceCounts[index] == nil, entries.isGiven("\(place).epochs") {
      examples.epochs = integer("\(place).epochs", or: 1, "given")
    }
    if readsWorld("phases[\(index)]") {
      examples.count = integer("\(place).count", or: examples.count, "default")
      examples.agreement = number("\(place).agreement", or: examples.agreement, "default")
    }
    examples.isStrict = boolean("\(place).strict", or: false, "default")
    return examples
  }

  /// Steps of a phase that reads examples of the data; nil where only the rows tell how many.
  mutating func resolveExampleSteps(
    _ index: Int, _ kind: ResolvedPlan.Phase.Kind, _ batch: ResolvedPlan.Batch
  ) -> Int? {
    let section = "phases[\(index)]", key = "\(section).steps"
    guard let epochs = entries.entries["\(section).examples.epochs"]?.node.int else {
      return integer(key, or: 200, "default")
    }
    func steps(_ sequences: Int) -> Int { (sequences + batch.sequences - 1) / batch.sequences }
    let text = epochs == 1 ? "1 epoch" : "\(epochs) epochs"
    if let count = sequenceCounts[index] {
      return integer(key, or: steps(count), "\(count) sequences of \(text) / batch.sequences")
    }
    if kind.readsPairs, readsWorld(section) {
      let count = entries.entries["\(section).examples.count"]?.node.int
        ?? ResolvedPlan.Examples().count
      return integer(
        key, or: steps(2 * count * epochs),
        "\(text) of \(count) pairs / batch.sequences, if all of them fit the context")
    }
    note(key, JSONNode(.null), .rule("\(text) of the rows: they decide"))
    return nil
  }

  /// The section of a phase's adapters, or a key of it, whichever was given.
  func givenLoRA(_ section: String) -> String? {
    let place = "\(section).lora"
    let names = PlanSchema.names(inside: "phases[].lora").map { "\(place).\($0)" }
    return ([place] + names).first(where: entries.isGiven)
  }

  mutating func resolveLoRA(_ section: String) -> AdapterChoice {
    let place = "\(section).lora"
    let rank = integer("\(place).rank", or: 8, "default")
    let targets: [AdapterTarget] = value(
      "\(place).targets",
      { $0.elements?.compactMap { $0.string.flatMap(AdapterTarget.init(rawValue:)) } },
      { .list($0.map { .text($0.rawValue) }) }, or: AdapterTarget.allCases, "default")
    return AdapterChoice(
      rank: rank, alpha: number("\(place).alpha", or: Double(2 * rank), "2 x rank"),
      targets: targets)
  }

  mutating func resolvePreference(
    _ section: String, _ kind: ResolvedPlan.Phase.Kind
  ) -> ResolvedPlan.Preference {
    let place = "\(section).preference"
    let pairs: ResolvedPlan.Preference.Pairs = choice("\(place).pairs", or: .given, "default")
    guard kind == .dpo else { return ResolvedPlan.Preference(pairs: pairs) }
    var preference = ResolvedPlan.Preference(
      pairs: pairs,
      loss: choice("\(place).loss", or: .sigmoid, "default"),
      beta: number("\(place).beta", or: 0.1, "default"))
    if preference.loss == .sigmoid {
      preference.labelSmoothing = number("\(place).label_smoothing", or: 0, "default")
    }
    preference.isLengthNormalized = boolean("\(place).length_normalized", or: false, "default")
    return preference
  }

  mutating func resolveReinforcement(
    _ section: String, _ kind: ResolvedPlan.Phase.Kind, _ model: ModelShape,
    _ batch: ResolvedPlan.Batch
  ) -> ResolvedPlan.Reinforcement {
    let place = "\(section).reinforcement"
    let answers = integer(
      "\(place).answers", or: kind == .grpo ? 4 : kind.readsPairs ? 2 : 1, kind.rawValue)
    let prompts = 4 * batch.sequences
    /// What the kind does not use is not told of.
    func own(_ name: String, or unset: Double) -> Double {
      kind.unusedOfReinforcement.contains(name)
        ? unset : number("\(place).\(name)", or: unset, "default")
    }
    return ResolvedPlan.Reinforcement(
      judge: choice(
        "\(place).judge", or: kind == .grpo || kind == .reward ? .rule : .model, kind.rawValue),
      iterations: integer("\(place).iterations", or: 20, "default"),
      prompts: integer(
        "\(place).prompts", or: max(batch.slices, prompts / answers / batch.slices * batch.slices),
        "4 x batch.sequences / answers"),
      answers: answers,
      answerTokens: integer(
        "\(place).answer_tokens", or: max(1, model.sequenceLength / 4), "context / 4"),
      temperature: number("\(place).temperature", or: 1, "default"),
      epochs: integer("\(place).epochs", or: kind == .ppo ? 2 : 1, kind.rawValue),
      beta: own("beta", or: 0.05), clip: own("clip", or: 0.2),
      valueClip: own("value_clip", or: 0.2), gamma: own("gamma", or: 1),
      lambda: own("lambda", or: 0.95),
      missingEndPenalty: number("\(place).missing_end_penalty", or: 1, "default"))
  }

  mutating func resolveSteps(
    _ section: String, _ reinforcement: ResolvedPlan.Reinforcement, _ batch: ResolvedPlan.Batch
  ) -> Int {
    integer(
      "\(section).steps",
      or: reinforcement.iterations * reinforcement.stepsPerIteration(batch),
      "iterations x epochs x answers of an iteration / batch.sequences")
  }

  /// Sets those of a section's limits that are given.
  mutating func resolve<Limits>(
    _ unset: Limits, _ section: String, _ keys: [(String, WritableKeyPath<Limits, Double?>)]
  ) -> Limits {
    var limits = unset
    for (key, path) in keys {
      let name = "\(section).\(key)"
      guard let entry = entries.entries[name], let limit = entry.node.double else { continue }
      note(name, .decimal(limit), entry.origin)
      limits[keyPath: path] = limit
    }
    return limits
  }
}

extension ResolvedPlan.Phase.Kind {
  /// Its rate as a share of pretraining's: what was learned must not be lost again.
  var rateShare: Double {
    switch self {
    case .tokenizer, .pretrain, .anneal, .evaluate: 1
    case .sft, .reward: 0.2
    case .ppo, .dpo, .grpo: 0.02
    }
  }
}

extension ResolvedPlan.Phase.Kind {
  /// Keys of `reinforcement` that only other kinds use: dpo and reward rank pairs and have losses
  /// of their own, and grpo has no values.
  var unusedOfReinforcement: Set<String> {
    switch self {
    case .dpo, .reward: ["beta", "clip", "value_clip", "gamma", "lambda"]
    case .grpo: ["value_clip", "gamma", "lambda"]
    default: []
    }
  }
}

extension ResolvedPlan.Gates {
  /// Names in a plan, in the schema's order.
  static var keys: [(String, WritableKeyPath<Self, Double?>)] {
    let answers: WritableKeyPath<Self, ResolvedPlan.AnswerLimits> = \.answers
    return [("validation_loss", \.validationLoss), ("reward", \.reward)]
      + ResolvedPlan.AnswerLimits.keys.map { ($0, answers.appending(path: $1)) }
  }
}

extension ResolvedPlan.AnswerLimits {
  /// Names in a plan, in the schema's order.
  static var keys: [(String, WritableKeyPath<Self, Double?>)] {
    [("divergence", \.divergence), ("length", \.length), ("entropy", \.entropy)]
  }
}
