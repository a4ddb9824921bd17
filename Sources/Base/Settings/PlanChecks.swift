internal import Tensors

/// Checks across keys: each names the keys it is about, the place of the first one that was given,
/// and how to mend it.
extension Resolver {
  /// Notes an issue unless `holds`, or unless one of `keys` was already refused.
  private mutating func require(
    _ holds: Bool, _ keys: String..., summary: @autoclosure () -> String, mend: String
  ) {
    guard !holds, keys.allSatisfy({ !entries.spoiled.contains($0) }) else { return }
    let given = keys.first(where: entries.isGiven)
    let place = given.map { entries.place(of: $0) } ?? .plan
    let issue = PlanIssue(place: place, summary: summary(), mend: mend)
    // What several phases take from the plan is wrong once.
    if !issues.contains(issue) { issues.append(issue) }
  }

  mutating func check(_ plan: ResolvedPlan) {
    require(
      !(entries.isGiven("depth") && entries.isGiven("shape")), "depth", "shape",
      summary: "depth and shape are both given", mend: "keep one of them")
    checkScale(plan)
    checkModel(plan.model)
    checkInitialization(plan)
    checkBatch(plan.batch, plan.model)
    checkTokenizer(plan)
    checkPhases(plan)
  }

  /// Each size is bounded by its key; their products are bounded here, so that whatever is computed
  /// of a plan (bytes, FLOPs, tokens of all steps) stays far from where 64 bits overflow.
  private mutating func checkScale(_ plan: ResolvedPlan) {
    let tokens = plan.tokensPerStep
    require(
      tokens <= 1 << 26, "batch.sequences", "model.context",
      summary: "a step of \(tokens) tokens is out of reach",
      mend: "sequences x context may be \(1 << 26) at most")
    let parameters = ParameterLayout(plan.model).parameterCount
    require(
      parameters <= 1 << 40, "model.layers", "model.width", "model.feed_forward", "model.heads",
      "model.head_width", "model.vocabulary", "depth",
      summary: "a model of \(parameters) parameters is out of reach",
      mend: "make the model smaller: \(1 << 40) parameters are the most")
  }

  private mutating func checkModel(_ model: ModelShape) {
    let heads = model.headCount
    require(
      entries.isGiven("model.head_width") || model.modelWidth % heads == 0,
      "model.heads", "model.width", "shape", "depth",
      summary: "\(heads) heads do not divide width \(model.modelWidth)",
      mend: "choose a divisor, or give model.head_width")
    require(
      model.headWidth % 2 == 0 && model.headWidth > 0,
      "model.head_width", "model.heads", "model.width",
      summary: "head width \(model.headWidth) is odd",
      mend: "rotary positions turn pairs: make model.head_width even")
    require(
      heads % model.keyValueHeadCount == 0, "model.key_value_heads", "model.heads",
      summary: "\(model.keyValueHeadCount) key-value heads do not divide \(heads) heads",
      mend: "choose a divisor of model.heads")
  }

  /// A setting that nothing would read is refused rather than ignored.
  private mutating func checkInitialization(_ plan: ResolvedPlan) {
    let reward = "initialization.reward_model"
    if entries.isGiven(reward) {
      require(
        entries.isGiven("initialization.from"), reward,
        summary: "a reward model from elsewhere reads with a tokenizer that this run does not have",
        mend: "give initialization.from, a model with the same tokenizer, too")
      require(
        plan.phases.prefix { $0.kind != .reward }.contains(where: \.asksReward), reward,
        summary: "no phase asks the reward model of \(reward)",
        mend: "remove it, or let a ppo phase come before any reward phase")
    }
    guard let from = entries.entries["initialization.from"]?.node.string else { return }
    for name in ["standard_deviation", "scales_residual"] {
      let key = "initialization.\(name)"
      require(
        !entries.isGiven(key), key,
        summary: "\(key) is for weights that are drawn, and these come from '\(from)'",
        mend: "remove it")
    }
  }

  private mutating func checkBatch(_ batch: ResolvedPlan.Batch, _ model: ModelShape) {
    let (sequences, slices) = (batch.sequences, batch.slices)
    let isPower = slices & (slices - 1) == 0
    require(
      isPower, "batch.slices", summary: "\(slices) slices are no power of two",
      mend: "slices are summed in a binary tree: 1, 2, 4, 8, ...")
    require(
      !isPower || sequences % slices == 0, "batch.slices", "batch.sequences",
      summary: "\(slices) slices do not divide \(sequences) sequences",
      mend: "leave batch.slices out for \([8, 4, 2].first { sequences % $0 == 0 } ?? 1)")
    require(
      sequences % slices != 0 || sequences / slices % batch.microbatch == 0,
      "batch.microbatch", "batch.sequences", "batch.slices",
      summary: "a micro-batch of \(batch.microbatch) does not divide the "
        + "\(sequences / max(1, slices)) sequences of a slice",
      mend: "leave batch.microbatch out, or choose a divisor")
  }

  private mutating func checkTokenizer(_ plan: ResolvedPlan) {
    let tokenizer = plan.tokenizer
    let least = ResolvedPlan.TokenizerChoice.byteVocabularySize
    switch tokenizer.kind {
    case .bpe:
      require(
        tokenizer.vocabularySize >= least, "tokenizer.vocabulary",
        summary: "a vocabulary of \(tokenizer.vocabularySize) cannot hold every byte",
        mend: "256 bytes and 7 special tokens need at least \(least)")
    case .bytes:
      require(
        tokenizer.vocabularySize == least, "tokenizer.vocabulary",
        summary: "bytes have \(least) ids, not \(tokenizer.vocabularySize)",
        mend: "leave tokenizer.vocabulary out")
    case .characters:
      break
    }
    require(
      plan.model.vocabularySize >= tokenizer.vocabularySize, "model.vocabulary",
      "tokenizer.vocabulary",
      summary: "\(plan.model.vocabularySize) embedding rows are too few for "
        + "\(tokenizer.vocabularySize) ids",
      mend: "leave model.vocabulary out")
  }

  private mutating func checkPhases(_ plan: ResolvedPlan) {
    require(
      !plan.phases.isEmpty, "phases", summary: "the plan has no phase",
      mend: "leave phases out for tokenizer and pretrain")
    require(
      plan.phases.count <= 64, "phases", summary: "\(plan.phases.count) phases are out of reach",
      mend: "64 are the most")
    var names: Set<String> = []
    for (index, phase) in plan.phases.enumerated() {
      let section = "phases[\(index)]"
      require(
        names.insert(phase.name).inserted, "\(section).name", section,
        summary: "a second phase is named '\(phase.name)'",
        mend: "names tell checkpoints apart: give it another \"name\"")
      checkKind(phase, index, plan)
      checkUnused(phase, section)
      checkSteps(phase, section)
      checkData(phase, section, plan)
      checkTuning(phase, section, plan)
      let limit = phase.validation.tokenLimit ?? Int.max
      require(
        limit >= plan.model.sequenceLength, "\(section).validation.tokens", "model.context",
        summary: "\(limit) validation tokens are less than one window",
        mend: "give at least \(plan.model.sequenceLength), the context, or \"full\"")
    }
  }

  private mutating func checkKind(
    _ phase: ResolvedPlan.Phase, _ index: Int, _ plan: ResolvedPlan
  ) {
    let key = "phases[\(index)].kind"
    guard entries.isGiven(key) else { return }
    let before = index > 0 ? plan.phases[index - 1].kind : .tokenizer
    require(
      phase.kind != .anneal || before == .pretrain || before == .anneal, key,
      summary: "an anneal follows '\(before.rawValue)'",
      mend: "it goes on where a pretrain or an anneal ends: put it right behind one")
    require(
      (phase.kind == .tokenizer) == (index == 0), key,
      summary: index == 0
        ? "the first phase is '\(phase.kind.rawValue)'" : "phase \(index) is a second tokenizer",
      mend: index == 0
        ? "put { \"kind\": \"tokenizer\" } before it" : "a plan has one tokenizer, its first phase")
  }

  /// A setting that nothing would read is refused rather than ignored.
  private mutating func checkUnused(_ phase: ResolvedPlan.Phase, _ section: String) {
    guard !phase.kind.takesSteps else { return }
    var idle = ["schedule.kind", "schedule.peak", "schedule.final"].map { "\(section).\($0)" }
    idle += ["schedule.warmup", "schedule.decay", "validation.every"].map { "\(section).\($0)" }
    if phase.kind == .tokenizer {
      idle += ["validation.tokens", "validation.full_at_end"].map { "\(section).\($0)" }
    }
    for key in idle where entries.isGiven(key) {
      require(
        false, key, summary: "\(phase.kind.rawValue) does not use \(key)", mend: "remove it")
    }
  }

  private mutating func checkSteps(_ phase: ResolvedPlan.Phase, _ section: String) {
    let schedule = phase.schedule
    // Any number will do for those that the rows have not told yet.
    let steps = phase.awaitsRows ? Int.max / 2 : phase.steps
    require(
      phase.kind.takesSteps || steps == 0, "\(section).steps", "\(section).kind",
      summary: "\(phase.kind.rawValue) takes no steps", mend: "remove steps")
    require(
      !phase.kind.takesSteps || steps > 0, "\(section).steps",
      summary: "\(phase.kind.rawValue) has no steps", mend: "give at least 1")
    require(
      schedule.warmupSteps <= steps, "\(section).schedule.warmup", "\(section).steps",
      summary: "warm-up of \(schedule.warmupSteps) is longer than \(steps) steps",
      mend: "give at most \(steps)")
    require(
      schedule.kind == .wsd || schedule.decaySteps == 0, "\(section).schedule.decay",
      summary: "decay steps are for the wsd schedule only",
      mend: "remove them, or set \"kind\": \"wsd\"")
    require(
      schedule.warmupSteps > steps || schedule.warmupSteps + schedule.decaySteps <= steps,
      "\(section).schedule.decay", "\(section).schedule.warmup", "\(section).steps",
      summary: "warm-up and decay of \(schedule.warmupSteps) + \(schedule.decaySteps) are longer "
        + "than \(steps) steps", mend: "shorten one of them")
    require(
      schedule.final <= schedule.peak, "\(section).schedule.final", "\(section).schedule.peak",
      summary: "final rate \(numberText(schedule.final)) is above the peak "
        + numberText(schedule.peak), mend: "the rate falls from peak to final")
  }

  /// What a phase after pretraining needs of the plan, and keys that its kind does not use.
  private mutating func checkTuning(
    _ phase: ResolvedPlan.Phase, _ section: String, _ plan: ResolvedPlan
  ) {
    let sections = [
      ("examples", phase.examples != nil), ("preference", phase.preference != nil),
      ("reinforcement", phase.reinforcement != nil), ("gates", phase.kind.takesSteps),
      ("brakes", phase.reinforcesPolicy),
    ]
    for (name, isUsed) in sections {
      let keys = PlanSchema.names(inside: "phases[].\(name)").map { "\(name).\($0)" }
      let used = !isUsed ? [] : phase.kind == .reward && name == "preference"
        ? ["preference.pairs"] : keys
      for key in keys.filter({ !used.contains($0) }).map({ "\(section).\($0)" }) {
        require(
          !entries.isGiven(key), key, summary: "\(phase.kind.rawValue) does not use \(key)",
          mend: "remove it")
      }
    }
    for (name, _) in ResolvedPlan.Gates.keys where phase.kind.takesSteps {
      let isRead = (name == "validation_loss") != phase.reinforcesPolicy
      let key = "\(section).gates.\(name)"
      require(
        isRead || !entries.isGiven(key), key,
        summary: "'\(phase.kind.rawValue)' measures no \(name)", mend: "remove it")
    }
    checkStart(phase, section, plan)
    checkLoRA(phase, section, plan)
    guard phase.kind.readsExamples else { return }
    checkEpochs(phase, section)
    require(
      plan.tokenizer.kind != .characters, "tokenizer.kind", "\(section).kind",
      summary: "'\(phase.kind.rawValue)' needs the special tokens of conversations, which a "
        + "characters tokenizer does not have", mend: "set tokenizer.kind to \"bpe\" or \"bytes\"")
    let first = plan.phases.first { $0.kind != .tokenizer }
    require(
      phase.kind.trainsPolicyAlone || first?.name != phase.name, "\(section).kind", section,
      summary: "'\(phase.kind.rawValue)' has no policy to begin with",
      mend: "put a pretrain or sft phase before it, or, with initialization.from, evaluate")
    if phase.kind.readsPairs { checkPairs(phase, plan.batch) }
    let smoothing = "\(section).preference.label_smoothing"
    require(
      phase.preference?.loss != .identity || !entries.isGiven(smoothing), smoothing,
      summary: "the identity loss does not use \(smoothing)",
      mend: "remove it, or set loss to \"sigmoid\"")
    if let reinforcement = phase.reinforcement {
      checkReinforcement(reinforcement, phase, section, plan)
    }
  }

  private mutating func checkStart(
    _ phase: ResolvedPlan.Phase, _ section: String, _ plan: ResolvedPlan
  ) {
    let key = "\(section).starts_from"
    require(
      phase.kind.hasReference || !entries.isGiven(key), key,
      summary: "\(phase.kind.rawValue) does not use \(key)", mend: "remove it")
    let before = plan.phases.prefix { $0.name != phase.name }.last(where: \.kind.takesSteps)
    require(
      phase.startsFrom == .policy || before?.kind.hasReference == true, key,
      summary: "the phase before '\(phase.name)' has no reference",
      mend: "remove it, or put ppo, dpo or grpo right before")
  }

  private mutating func checkLoRA(
    _ phase: ResolvedPlan.Phase, _ section: String, _ plan: ResolvedPlan
  ) {
    guard let given = givenLoRA(section) else { return }
    require(
      phase.kind == .sft, given, summary: "\(phase.kind.rawValue) does not use \(given)",
      mend: "remove it: adapters are for sft")
    guard let lora = phase.lora else { return }
    if let (target, sides) = lora.narrowest(in: plan.model) {
      let most = min(sides[0], sides[1])
      require(
        lora.rank <= most, "\(section).lora.rank", "\(section).lora.targets",
        summary: "rank \(lora.rank) is larger than the smaller side of \"\(target.rawValue)\", "
          + "\(sides[0]) x \(sides[1])", mend: "give at most \(most)")
    }
    require(
      plan.phases.first { $0.kind != .tokenizer }?.name != phase.name, given,
      summary: "'\(phase.name)' has no model to adapt",
      mend: "put a pretrain phase before it, or, with initialization.from, evaluate")
  }

  private mutating func checkEpochs(_ phase: ResolvedPlan.Phase, _ section: String) {
    let key = "\(section).examples.epochs"
    guard entries.isGiven(key) else { return }
    require(
      !phase.samples, key,
      summary: "'\(phase.kind.rawValue)' reads prompts iteration by iteration, and does not use "
        + key,
      mend: "remove it; reinforcement.epochs is how often answers are learned from")
    require(
      phase.samples || !entries.isGiven("\(section).steps"), key, "\(section).steps",
      summary: "\(key) and \(section).steps are both given",
      mend: "keep one of them: the epochs say how many steps there are")
  }

  private mutating func checkPairs(_ phase: ResolvedPlan.Phase, _ batch: ResolvedPlan.Batch) {
    require(
      batch.microbatch % 2 == 0, "batch.microbatch", "batch.sequences", "batch.slices",
      summary: "'\(phase.kind.rawValue)' computes pairs, and a micro-batch of \(batch.microbatch) "
        + "sequences holds no whole number of them",
      mend: "give an even batch.microbatch, and twice as many sequences as pairs per step")
  }

  private mutating func checkReinforcement(
    _ reinforcement: ResolvedPlan.Reinforcement, _ phase: ResolvedPlan.Phase, _ section: String,
    _ plan: ResolvedPlan
  ) {
    let place = "\(section).reinforcement"
    let batch = plan.batch
    for name in phase.kind.unusedOfReinforcement.sorted() {
      let key = "\(place).\(name)"
      require(
        !entries.isGiven(key), key, summary: "\(phase.kind.rawValue) does not use \(key)",
        mend: phase.kind == .dpo && name == "beta"
          ? "remove it: the beta of dpo is preference.beta" : "remove it")
    }
    require(
      reinforcement.prompts % batch.slices == 0, "\(place).prompts", "batch.slices",
      summary: "\(batch.slices) slices do not divide \(reinforcement.prompts) prompts",
      mend: "give a multiple of batch.slices")
    require(
      reinforcement.answerCount % batch.sequences == 0, "\(place).prompts", "\(place).answers",
      "batch.sequences",
      summary: "a round of \(reinforcement.answerCount) answers is no whole number of batches of "
        + "\(batch.sequences)", mend: "make prompts x answers a multiple of batch.sequences")
    require(
      !phase.kind.readsPairs || reinforcement.answers % 2 == 0, "\(place).answers",
      summary: "\(reinforcement.answers) answers to a prompt are no whole number of pairs",
      mend: "leave answers out, or give an even number")
    require(
      phase.kind != .grpo || reinforcement.answers > 1, "\(place).answers",
      summary: "one answer to a prompt is no group", mend: "give at least 2")
    require(
      reinforcement.answerTokens < plan.model.sequenceLength, "\(place).answer_tokens",
      "model.context",
      summary: "answers of \(reinforcement.answerTokens) tokens leave no room for a prompt",
      mend: "give less than the context of \(plan.model.sequenceLength)")
    let perIteration = reinforcement.stepsPerIteration(batch)
    require(
      phase.steps == reinforcement.iterations * perIteration, "\(section).steps",
      "\(place).iterations",
      summary: "\(phase.steps) steps are not \(reinforcement.iterations) iterations of "
        + "\(perIteration)", mend: "leave steps out")
    let before = plan.phases.prefix { $0.name != phase.name }
    require(
      reinforcement.judge == .rule || phase.kind != .reward, "\(place).judge", section,
      summary: "'\(phase.name)' would learn from what its own reward model says",
      mend: "set judge to \"rule\", or leave it out")
    require(
      reinforcement.judge == .rule || phase.kind == .reward
        || before.contains { $0.kind == .reward } || plan.initialization.rewardModel != nil,
      "\(place).judge", section, summary: "no phase before '\(phase.name)' makes a reward model",
      mend: "put a reward phase before it, name one in initialization.reward_model, or set judge "
        + "to \"rule\"")
  }

  private mutating func checkData(
    _ phase: ResolvedPlan.Phase, _ section: String, _ plan: ResolvedPlan
  ) {
    let given = sourceSection(section)
    let mixed = (0..<entries.elementCount("\(given).mixture")).map { "\(given).mixture[\($0)]" }
    checkMixture(given, mixed, section)
    require(
      !phase.data.isMixture || !phase.kind.readsExamples, "\(given).mixture",
      summary: "'\(phase.kind.rawValue)' reads the examples of one source, not of a mixture",
      mend: "give the phase \"data\": { \"source\": ... } of its own")
    guard !entries.isDataOverridden else { return }
    for (place, mixed) in zip(mixed, phase.data.sources) { checkWorld([place], mixed.source) }
    guard phase.data.sources.allSatisfy(\.source.isPath) else { return }
    let isWorldRead = plan.phases.contains { $0.data.sources.contains { !$0.source.isPath } }
    checkWorld(
      (mixed.isEmpty ? ["\(section).data"] : []) + (isWorldRead ? [] : ["data"]),
      phase.data.source)
    guard phase.examples != nil else { return }
    checkWorld(["\(section).examples"], phase.data.source, ["count", "agreement"])
  }

  /// - Parameter mixed: The places of the mixture's sources.
  private mutating func checkMixture(_ given: String, _ mixed: [String], _ section: String) {
    let list = "\(given).mixture"
    require(
      !entries.isGiven(list) || !entries.isGiven("\(given).source"), list, "\(given).source",
      summary: "\(given).source and \(list) are both given",
      mend: "keep one of them: a mixture names all its sources itself")
    require(
      !entries.isGiven(list) || !mixed.isEmpty, list, summary: "\(list) is empty",
      mend: "give { \"source\": ..., \"weight\": ... } for each source, or remove it")
    for place in mixed {
      require(
        entries.isGiven("\(place).source"), place, "\(place).source",
        summary: "\(place) has no source",
        mend: "add \"source\": \"world\", or a file or folder of text")
    }
    for key in ["seed", "documents"].map({ "\(section).data.\($0)" }) where !mixed.isEmpty {
      require(
        !entries.isGiven(key), key, summary: "\(key) says nothing of a mixture",
        mend: "write it beside the source that it is about")
    }
  }

  /// Refuses what is said of a generated world where there is a file.
  private mutating func checkWorld(
    _ places: [String], _ source: ResolvedPlan.DataChoice.Source,
    _ names: [String] = ["seed", "documents"]
  ) {
    guard source.isPath else { return }
    for key in names.flatMap({ name in places.map { "\($0).\(name)" } }) {
      require(
        !entries.isGiven(key), key,
        summary: "\(key) is for the generated world, not for '\(source.name)'", mend: "remove it")
    }
  }
}
