internal import Tensors

/// A resolved plan is itself a plan file in which nothing is left out: one schema, one reader.
extension ResolvedPlan {
  /// The plan with every key, in the schema's order.
  public var jsonNode: JSONNode {
    .object([
      ("name", .text(name)),
      ("seed", .integer(seed)),
      ("precision", .text(precision.rawValue)),
      ("dropout", .decimal(dropout)),
      ("model", modelNode),
      ("initialization", initialization.jsonNode),
      (
        "batch",
        .object([
          ("sequences", .integer(batch.sequences)),
          ("slices", .integer(batch.slices)),
          ("microbatch", .integer(batch.microbatch)),
        ])
      ),
      (
        "optimizer",
        .object([
          ("beta1", .decimal(optimizer.beta1)),
          ("beta2", .decimal(optimizer.beta2)),
          ("epsilon", .decimal(optimizer.epsilon)),
          ("weight_decay", .decimal(optimizer.weightDecay)),
          ("gradient_clip", .decimal(optimizer.gradientClip)),
        ])
      ),
      (
        "tokenizer",
        .object(
          [("kind", .text(tokenizer.kind.rawValue))]
            + Self.known("vocabulary", tokenizer.vocabularySize)
            + [("splitter", .text(tokenizer.splitter))])
      ),
      ("phases", .list(phases.map(\.jsonNode))),
      (
        "checkpoints",
        .object([("every", .integer(checkpoints.every)), ("keep", .integer(checkpoints.keep))])
      ),
    ])
  }

  /// A size that is 0 until the text is read is left out.
  private static func known(_ key: String, _ size: Int) -> [(String, JSONNode)] {
    size > 0 ? [(key, .integer(size))] : []
  }

  private var modelNode: JSONNode {
    .object(
      [
        ("layers", .integer(model.layerCount)),
        ("width", .integer(model.modelWidth)),
        ("heads", .integer(model.headCount)),
        ("key_value_heads", .integer(model.keyValueHeadCount)),
        ("head_width", .integer(model.headWidth)),
        ("feed_forward", .integer(model.feedForwardWidth)),
      ] + Self.known("vocabulary", model.vocabularySize) + [
        ("context", .integer(model.sequenceLength)),
        ("tied_head", .flag(model.isHeadTied)),
        ("rope_theta", .decimal(model.ropeTheta)),
        ("norm_epsilon", .decimal(model.normEpsilon)),
      ])
  }

  /// The plan as strict JSON with snake_case keys; ``init(planJSON:path:)`` reads it back equal.
  public func planJSON(isIndented: Bool = true) -> String {
    jsonNode.jsonText(isIndented: isIndented)
  }

  /// Reads what ``planJSON(isIndented:)`` or ``PlanResolution/resolvedJSON`` wrote.
  public init(planJSON text: String, path: String = "plan.resolved.json") throws(PlanError) {
    self = try PlanResolver.resolve(text: text, path: path).plan
  }
}

/// Through any coder, so that a plan can travel inside a message: the same keys as in a file.
extension ResolvedPlan {
  public init(from decoder: any Decoder) throws {
    try self.init(planJSON: JSONNode(from: decoder).jsonText(), path: "message")
  }

  public func encode(to encoder: any Encoder) throws {
    try jsonNode.encode(to: encoder)
  }
}

extension ResolvedPlan.Initialization {
  /// Nothing is drawn where weights come from elsewhere, so the keys of the draws are left out.
  var jsonNode: JSONNode {
    if let from {
      return .object(
        [("from", .text(from))] + (rewardModel.map { [("reward_model", .text($0))] } ?? []))
    }
    return .object([
      ("standard_deviation", .decimal(standardDeviation)),
      ("scales_residual", .flag(scalesResidual)),
    ])
  }
}

extension ResolvedPlan.Phase {
  /// Keys that the phase's kind does not use are left out, and steps that its epochs decide, with
  /// what follows from them.
  var jsonNode: JSONNode {
    var members: [(String, JSONNode)] = [("kind", .text(kind.rawValue)), ("name", .text(name))]
    if kind.takesSteps, examples?.epochs == nil { members.append(("steps", .integer(steps))) }
    members.append(("data", data.jsonNode))
    if kind.takesSteps {
      members.append(("schedule", .object(schedule.members + fromSteps(schedule.lengths))))
    }
    if kind != .tokenizer {
      let every = kind.takesSteps ? fromSteps([("every", validation.every)]) : []
      let limit = validation.tokenLimit.map { JSONNode.integer($0) } ?? .text("full")
      let rest = [("tokens", limit), ("full_at_end", .flag(validation.isFullAtEnd))]
      members.append(("validation", .object(every + rest)))
    }
    if let examples { members.append(("examples", examples.jsonNode(of: data.source))) }
    if let lora { members.append(("lora", lora.jsonNode)) }
    if kind.hasReference { members.append(("starts_from", .text(startsFrom.rawValue))) }
    if let preference { members.append(("preference", preference.jsonNode(of: kind))) }
    if let reinforcement { members.append(("reinforcement", reinforcement.jsonNode(of: kind))) }
    if !gates.isEmpty { members.append(("gates", limits(gates, ResolvedPlan.Gates.keys))) }
    if !brakes.isEmpty {
      members.append(("brakes", limits(brakes, ResolvedPlan.AnswerLimits.keys)))
    }
    return .object(members)
  }

  /// Numbers of steps; 0 is not known where the phase waits for its rows.
  private func fromSteps(_ numbers: [(String, Int)]) -> [(String, JSONNode)] {
    numbers.filter { !awaitsRows || $0.1 > 0 }.map { ($0.0, .integer($0.1)) }
  }
}

extension ResolvedPlan.Examples {
  /// A file has as many as it has, and its own labels.
  func jsonNode(of source: ResolvedPlan.DataChoice.Source) -> JSONNode {
    var members = epochs.map { [("epochs", JSONNode.integer($0))] } ?? []
    if case .world = source {
      members += [("count", .integer(count)), ("agreement", .decimal(agreement))]
    }
    return .object(members + [("strict", .flag(isStrict))])
  }
}

extension AdapterChoice {
  var jsonNode: JSONNode {
    .object([
      ("rank", .integer(rank)),
      ("alpha", .decimal(alpha)),
      ("targets", .list(targets.map { .text($0.rawValue) })),
    ])
  }
}

extension ResolvedPlan.Preference {
  /// Keys that the kind or the loss does not use are left out.
  func jsonNode(of kind: ResolvedPlan.Phase.Kind) -> JSONNode {
    var members: [(String, JSONNode)] = [("pairs", .text(pairs.rawValue))]
    guard kind == .dpo else { return .object(members) }
    members += [("loss", .text(loss.rawValue)), ("beta", .decimal(beta))]
    if loss == .sigmoid { members.append(("label_smoothing", .decimal(labelSmoothing))) }
    return .object(members + [("length_normalized", .flag(isLengthNormalized))])
  }
}

extension ResolvedPlan.Reinforcement {
  /// Keys that a phase of this kind does not use are left out.
  func jsonNode(of kind: ResolvedPlan.Phase.Kind) -> JSONNode {
    let members: [(String, JSONNode)] = [
      ("judge", .text(judge.rawValue)),
      ("iterations", .integer(iterations)),
      ("prompts", .integer(prompts)),
      ("answers", .integer(answers)),
      ("answer_tokens", .integer(answerTokens)),
      ("temperature", .decimal(temperature)),
      ("epochs", .integer(epochs)),
      ("beta", .decimal(beta)),
      ("clip", .decimal(clip)),
      ("value_clip", .decimal(valueClip)),
      ("gamma", .decimal(gamma)),
      ("lambda", .decimal(lambda)),
      ("missing_end_penalty", .decimal(missingEndPenalty)),
    ]
    return .object(members.filter { !kind.unusedOfReinforcement.contains($0.0) })
  }
}

/// The limits that are set.
private func limits<Limits>(
  _ limits: Limits, _ keys: [(String, WritableKeyPath<Limits, Double?>)]
) -> JSONNode {
  .object(keys.compactMap { key, path in limits[keyPath: path].map { (key, .decimal($0)) } })
}

extension ResolvedPlan.Schedule {
  var members: [(String, JSONNode)] {
    [("kind", .text(kind.rawValue)), ("peak", .decimal(peak)), ("final", .decimal(final))]
  }
  /// In steps.
  var lengths: [(String, Int)] { [("warmup", warmupSteps), ("decay", decaySteps)] }
}

extension ResolvedPlan.DataChoice {
  var jsonNode: JSONNode {
    let mixture = sources.map {
      JSONNode.object($0.source.members + [("weight", .decimal($0.weight))])
    }
    return .object(
      (isMixture ? [("mixture", .list(mixture))] : source.members) + [
        ("split", .text(split.text)), ("order", .text(order.rawValue)),
        ("attention", .text(attention.rawValue)),
      ])
  }
}

extension ResolvedPlan.DataChoice.Source {
  fileprivate var members: [(String, JSONNode)] {
    switch self {
    case .world(let seed, let documents):
      [("source", .text("world")), ("seed", .integer(seed)), ("documents", .integer(documents))]
    case .path(let path): [("source", .text(path))]
    }
  }
}
