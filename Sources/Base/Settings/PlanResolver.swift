internal import Tensors

/// One value of a resolved plan and where it came from.
public struct Derivation: Equatable, Sendable {
  /// `model.width`, `phases[1].schedule.peak`.
  public let key: String
  /// As JSON.
  public let value: String
  public let origin: PlanOrigin

  /// Whether nobody gave the value: it follows from a rule.
  public var isDerived: Bool {
    if case .rule = origin { true } else { false }
  }
}

/// A plan with nothing left to derive, and the origin of every value.
public struct PlanResolution: Equatable, Sendable {
  public let plan: ResolvedPlan
  /// In the order of the resolved plan's keys.
  public let derivations: [Derivation]
  /// The plan file, as the user named it.
  public let path: String
  private let entries: PlanEntries

  /// Derives and checks.
  ///
  /// - Parameter sequenceCounts: By phase index, see ``counted(_:)``.
  init(_ entries: PlanEntries, sequenceCounts: [Int: Int] = [:]) throws(PlanError) {
    var resolver = Resolver(entries, sequenceCounts: sequenceCounts)
    plan = resolver.resolve()
    derivations = resolver.derivations
    path = entries.path
    self.entries = entries
    let issues = entries.issues + resolver.issues
    guard issues.isEmpty else { throw PlanError(path: path, issues: PlanIssue.inOrder(issues)) }
  }

  /// The plan once the rows were read: phases that read them a number of times have their steps,
  /// and all that follows from these.
  ///
  /// - Parameter sequenceCounts: By index of the phase, the sequences of all its epochs.
  /// - Throws: ``PlanError`` where a phase does not have the steps that other keys ask for.
  public func counted(_ sequenceCounts: [Int: Int]) throws(PlanError) -> PlanResolution {
    try PlanResolution(entries, sequenceCounts: sequenceCounts)
  }

  /// Where the plan names the source that messages call `name`: the key, and the line or option.
  public func place(ofSource name: String) -> String? {
    for (index, phase) in plan.phases.enumerated() {
      for (place, mixed) in phase.data.sources.enumerated() where mixed.source.name == name {
        let keys = ["mixture[\(place)].source", "source"].map { "phases[\(index)].data.\($0)" }
        guard let found = derivations.first(where: { keys.contains($0.key) }) else { continue }
        return "\(found.key), \(found.origin.text(path: path))"
      }
    }
    return nil
  }

  /// `plan.resolved.json`: the plan, and under `origins` where each value came from.
  public var resolvedJSON: String { resolvedJSON(of: plan) }

  /// The same for a plan that the run completed (its vocabulary) or amended.
  public func resolvedJSON(of plan: ResolvedPlan) -> String {
    let origins = derivations.map { ($0.key, JSONNode.text($0.origin.text(path: path))) }
    guard case .object(var members) = plan.jsonNode.value else { return plan.planJSON() }
    members.append(JSONNode.Member(key: "origins", node: .object(origins)))
    return JSONNode(.object(members)).jsonText()
  }
}

/// Turns a plan file into a ``ResolvedPlan``.
public enum PlanResolver {
  /// Reads, overrides, derives and checks.
  ///
  /// - Parameters:
  ///   - text: The file's content.
  ///   - path: The file as the user named it, for messages; its name is the default of `name`.
  ///   - sets: `--set` options in the order given; the last for a key wins.
  ///   - dataOverride: `--data`, the source of every phase.
  /// - Throws: ``PlanError`` with everything that is wrong, in the order of the file.
  public static func resolve(
    text: String, path: String, sets: [(key: String, value: String)] = [],
    dataOverride: String? = nil
  ) throws(PlanError) -> PlanResolution {
    var entries = try PlanEntries(text: text, path: path)
    for (key, value) in sets { entries.set(key, value) }
    if let dataOverride { entries.setDataSource(dataOverride) }
    return try PlanResolution(entries)
  }
}

/// The state of one resolution: what was given, what was derived, what is wrong.
struct Resolver {
  let entries: PlanEntries
  /// By phase index: the sequences of all epochs, as far as the rows were counted.
  let sequenceCounts: [Int: Int]
  private(set) var derivations: [Derivation] = []
  var issues: [PlanIssue] = []

  init(_ entries: PlanEntries, sequenceCounts: [Int: Int]) {
    self.entries = entries
    self.sequenceCounts = sequenceCounts
  }

  // MARK: Values

  /// The value given for `key`, or for the first of `outer` that is given, or the rule's.
  mutating func value<T>(
    _ key: String, outer: [String] = [], _ read: (JSONNode) -> T?, _ write: (T) -> JSONNode,
    or derived: T, _ rule: String
  ) -> T {
    for name in [key] + outer {
      if let entry = entries.entries[name], let found = read(entry.node) {
        note(key, write(found), entry.origin)
        return found
      }
    }
    note(key, write(derived), .rule(rule))
    checkDerived(key, write(derived), rule)
    return derived
  }

  /// A rule may lead out of what its key allows, and the resolved plan would not be read back then.
  /// 0 stands for a size that the text will tell.
  private mutating func checkDerived(_ key: String, _ node: JSONNode, _ rule: String) {
    guard let schema = PlanSchema.key(at: PlanEntries.pattern(key)), !schema.accepts(node),
      node.int != 0
    else { return }
    issues.append(
      PlanIssue(
        place: .plan, summary: "\(key) would be \(node.jsonText(isIndented: false)) (\(rule))",
        mend: "give \(schema.expectation), or change what it derives from"))
  }

  mutating func note(_ key: String, _ node: JSONNode, _ origin: PlanOrigin) {
    let value = node.jsonText(isIndented: false)
    derivations.append(Derivation(key: key, value: value, origin: origin))
  }

  mutating func integer(
    _ key: String, outer: [String] = [], or derived: Int, _ rule: String
  ) -> Int {
    value(key, outer: outer, \.int, { JSONNode.integer($0) }, or: derived, rule)
  }

  /// A number that follows from a phase's steps; 0 while only its rows can tell how many there are.
  private mutating func derived(
    _ key: String, from steps: Int?, _ rule: String, _ derive: (Int) -> Int
  ) -> Int {
    if steps == nil, !entries.isGiven(key) {
      note(key, JSONNode(.null), .rule(rule))
      return 0
    }
    return integer(key, or: derive(steps ?? 0), rule)
  }

  mutating func number(
    _ key: String, outer: [String] = [], or derived: Double, _ rule: String
  ) -> Double {
    value(key, outer: outer, \.double, JSONNode.decimal, or: derived, rule)
  }

  mutating func boolean(_ key: String, or derived: Bool, _ rule: String) -> Bool {
    value(key, \.bool, JSONNode.flag, or: derived, rule)
  }

  private mutating func text(
    _ key: String, outer: [String] = [], or derived: String, _ rule: String
  ) -> String {
    value(key, outer: outer, \.string, JSONNode.text, or: derived, rule)
  }

  private mutating func seed(
    _ key: String, outer: [String] = [], or derived: UInt64, _ rule: String
  ) -> UInt64 {
    value(key, outer: outer, \.unsigned, { JSONNode.integer($0) }, or: derived, rule)
  }

  mutating func choice<Choice: RawRepresentable>(
    _ key: String, outer: [String] = [], or derived: Choice, _ rule: String
  ) -> Choice where Choice.RawValue == String {
    value(
      key, outer: outer, { $0.string.flatMap(Choice.init(rawValue:)) },
      { JSONNode.text($0.rawValue) }, or: derived, rule)
  }

  // MARK: The plan, top to bottom

  mutating func resolve() -> ResolvedPlan {
    let name = text("name", or: Self.name(ofFile: entries.path), "the file's name")
    let seed = seed("seed", or: 1, "default")
    let precision: Precision = choice("precision", or: .bf16, "default")
    let dropout = number("dropout", or: 0, "default")
    let preset = entries.entries["shape"]?.node.string.flatMap(ModelPreset.init(rawValue:))
    var model = resolveModel(preset)
    let initialization = resolveInitialization()
    let batch = resolveBatch(model, preset)
    let optimizer = resolveOptimizer()
    let tokenizer = resolveTokenizer(model, preset)
    model.vocabularySize = integer(
      "model.vocabulary", or: tokenizer.vocabularySize,
      tokenizer.vocabularySize == 0 ? "as the text has" : "the tokenizer's")
    var phases: [ResolvedPlan.Phase] = []
    for index in 0..<entries.phaseCount {
      phases.append(resolvePhase(index, after: phases.last, seed, model, batch))
    }
    let checkpoints = ResolvedPlan.Checkpoints(
      every: integer("checkpoints.every", or: 100, "default"),
      keep: integer("checkpoints.keep", or: 3, "default"))
    let plan = ResolvedPlan(
      name: name, seed: seed, precision: precision, dropout: dropout, model: model,
      initialization: initialization, batch: batch, optimizer: optimizer, tokenizer: tokenizer,
      phases: phases, checkpoints: checkpoints)
    check(plan)
    return plan
  }

  /// `launch/plans/smoke.json` -> `smoke`.
  private static func name(ofFile path: String) -> String {
    let file = path.split(separator: "/").last.map(String.init) ?? ""
    let stem = file.lastIndex(of: ".").map { String(file[..<$0]) } ?? file
    let plain = stem.unicodeScalars.map { scalar -> Character in
      let isPlain = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9") ~= scalar)
      return isPlain || scalar == "_" ? Character(scalar) : "-"
    }
    return plain.isEmpty ? "plan" : String(plain.prefix(64))
  }

  private mutating func resolveModel(_ preset: ModelPreset?) -> ModelShape {
    let given = entries.entries
    let shape = preset?.model
    let from = preset.map { "shape \($0.rawValue)" } ?? ""
    let depth = given["depth"]?.node.int ?? given["model.layers"]?.node.int ?? 4
    let layers = integer(
      "model.layers", or: shape?.layerCount ?? depth,
      shape != nil ? from : given["depth"] == nil ? "default" : "depth")
    let width = integer(
      "model.width", or: shape?.modelWidth ?? 64 * depth, shape == nil ? "64 x depth" : from)
    // A preset's heads hold for the preset's width only.
    let isPresetWidth = width == shape?.modelWidth
    let heads = integer(
      "model.heads", or: isPresetWidth ? shape?.headCount ?? 1 : Self.heads(forWidth: width),
      isPresetWidth ? from : "width / 64")
    let keyValueHeads = integer("model.key_value_heads", or: heads, "heads")
    let headWidth = integer("model.head_width", or: width / heads, "width / heads")
    let feedForward = integer(
      "model.feed_forward",
      or: isPresetWidth ? shape?.feedForwardWidth ?? 1 : (width * 8 / 3 + 31) / 32 * 32,
      isPresetWidth ? from : "8/3 of width, up to a multiple of 32")
    let context = integer(
      "model.context", or: shape?.sequenceLength ?? 256, shape == nil ? "default" : from)
    return ModelShape(
      layerCount: layers, modelWidth: width, headCount: heads, keyValueHeadCount: keyValueHeads,
      headWidth: headWidth, feedForwardWidth: feedForward, vocabularySize: 0,
      sequenceLength: context,
      isHeadTied: boolean("model.tied_head", or: true, "default"),
      ropeTheta: number("model.rope_theta", or: 10_000, "default"),
      normEpsilon: number("model.norm_epsilon", or: 1e-5, "default"))
  }

  /// About one head per 64 of width, so that heads divide the width and have an even width.
  private static func heads(forWidth width: Int) -> Int {
    let most = max(1, width / 64)
    return (1...most).last { width % $0 == 0 && width / $0 % 2 == 0 } ?? 1
  }

  private mutating func resolveInitialization() -> ResolvedPlan.Initialization {
    let key = "initialization.from"
    if entries.isGiven(key) {
      let reward = "initialization.reward_model"
      return ResolvedPlan.Initialization(
        from: text(key, or: "", "given"),
        rewardModel: entries.isGiven(reward) ? text(reward, or: "", "given") : nil)
    }
    return ResolvedPlan.Initialization(
      standardDeviation: number("initialization.standard_deviation", or: 0.02, "default"),
      scalesResidual: boolean("initialization.scales_residual", or: true, "default"))
  }

  private mutating func resolveBatch(
    _ model: ModelShape, _ preset: ModelPreset?
  ) -> ResolvedPlan.Batch {
    let context = model.sequenceLength
    let sequences = integer(
      "batch.sequences", or: preset?.sequencesPerStep ?? max(8, 4096 / context),
      preset.map { "shape \($0.rawValue)" } ?? "4096 / context, at least 8")
    let slices = integer(
      "batch.slices", or: [8, 4, 2].first { sequences % $0 == 0 } ?? 1,
      "the largest power of two up to 8 that divides sequences")
    let share = max(1, sequences / slices)
    let microbatch = integer(
      "batch.microbatch", or: Self.largestDivisor(of: share, atMost: max(1, 2048 / context)),
      "the largest divisor of a slice's \(share) with at most 2048 tokens")
    return ResolvedPlan.Batch(sequences: sequences, slices: slices, microbatch: microbatch)
  }

  private static func largestDivisor(of number: Int, atMost limit: Int) -> Int {
    (1...min(number, limit)).last { number % $0 == 0 } ?? 1
  }

  private mutating func resolveOptimizer() -> ResolvedPlan.Optimizer {
    ResolvedPlan.Optimizer(
      beta1: number("optimizer.beta1", or: 0.9, "default"),
      beta2: number("optimizer.beta2", or: 0.95, "default"),
      epsilon: number("optimizer.epsilon", or: 1e-8, "default"),
      weightDecay: number("optimizer.weight_decay", or: 0.1, "default"),
      gradientClip: number("optimizer.gradient_clip", or: 1, "default"))
  }

  private mutating func resolveTokenizer(
    _ model: ModelShape, _ preset: ModelPreset?
  ) -> ResolvedPlan.TokenizerChoice {
    let kind: ResolvedPlan.TokenizerChoice.Kind = choice("tokenizer.kind", or: .bpe, "default")
    let derived: (Int, String) =
      switch kind {
      case .bytes: (ResolvedPlan.TokenizerChoice.byteVocabularySize, "256 bytes + 7 special tokens")
      case .characters: (0, "as the text has")
      case .bpe:
        if readsWorld("phases[0]") {
          (1024, "the generated world has few words")
        } else if let preset {
          (preset.model.vocabularySize, "shape \(preset.rawValue)")
        } else {
          (model.layerCount <= 4 ? 2048 : 8192, "2048 up to 4 layers, else 8192")
        }
      }
    return ResolvedPlan.TokenizerChoice(
      kind: kind, vocabularySize: integer("tokenizer.vocabulary", or: derived.0, derived.1),
      splitter: text("tokenizer.splitter", or: "cl100k", "default"))
  }

  /// Whether a phase reads the generated world, and nothing else.
  func readsWorld(_ section: String) -> Bool {
    let given = sourceSection(section)
    let count = entries.elementCount("\(given).mixture")
    let keys = count > 0
      ? (0..<count).map { "\(given).mixture[\($0)].source" } : ["\(given).source"]
    return keys.allSatisfy { entries.entries[$0].map { $0.node.string == "world" } ?? true }
  }

  // MARK: Phases

  private mutating func resolvePhase(
    _ index: Int, after previous: ResolvedPlan.Phase?, _ seed: UInt64, _ model: ModelShape,
    _ batch: ResolvedPlan.Batch
  ) -> ResolvedPlan.Phase {
    let section = "phases[\(index)]"
    if !entries.isGiven("\(section).kind"), !entries.spoiled.contains("\(section).kind"),
      !entries.spoiled.contains(section)
    {
      let summary = "\(section) has no kind"
      issues.append(
        PlanIssue(
          place: entries.place(of: section), summary: summary,
          mend: "add \"kind\": \"pretrain\" or another"))
    }
    let kind: ResolvedPlan.Phase.Kind = choice("\(section).kind", or: .pretrain, "required")
    let name = text("\(section).name", or: kind.rawValue, "its kind")
    guard kind.takesSteps else {
      return ResolvedPlan.Phase(
        kind: kind, name: name, steps: entries.entries["\(section).steps"]?.node.int ?? 0,
        data: resolveData(section, seed), schedule: .unused,
        validation: kind == .tokenizer
          ? ResolvedPlan.Validation(every: 0) : resolveValidation(section, every: 0))
    }
    // An anneal goes on where the phase before it ended.
    let annealed = kind == .anneal ? previous : nil
    let preference = kind.readsPairs ? resolvePreference(section, kind) : nil
    let reinforcement = kind.samples || preference?.pairs == .sampled
      ? resolveReinforcement(section, kind, model, batch) : nil
    let steps: Int? =
      if let reinforcement {
        resolveSteps(section, reinforcement, batch)
      } else if kind.readsExamples {
        resolveExampleSteps(index, kind, batch)
      } else {
        resolveSteps(section, after: annealed, model, batch)
      }
    return ResolvedPlan.Phase(
      kind: kind, name: name, steps: steps ?? 0, data: resolveData(section, seed),
      schedule: annealed.map { resolveAnneal(section, after: $0) }
        ?? resolveSchedule(section, kind, steps, model),
      validation: resolveValidation(
        section,
        every: derived("\(section).validation.every", from: steps, "steps / 10, rounded up") {
          ($0 + 9) / 10
        }),
      examples: kind.readsExamples ? resolveExamples(index) : nil,
      lora: kind == .sft && givenLoRA(section) != nil ? resolveLoRA(section) : nil,
      startsFrom: kind.hasReference
        ? choice("\(section).starts_from", or: .policy, "default") : .policy,
      preference: preference, reinforcement: reinforcement,
      gates: resolve(ResolvedPlan.Gates(), "\(section).gates", ResolvedPlan.Gates.keys),
      brakes: resolve(
        ResolvedPlan.AnswerLimits(), "\(section).brakes", ResolvedPlan.AnswerLimits.keys))
  }

  private mutating func resolveSteps(
    _ section: String, after annealed: ResolvedPlan.Phase?, _ model: ModelShape,
    _ batch: ResolvedPlan.Batch
  ) -> Int {
    if let annealed {
      return integer(
        "\(section).steps", or: (annealed.steps + 9) / 10, "a tenth of \(annealed.name)'s")
    }
    let tokensPerStep = batch.sequences * model.sequenceLength
    let tokenCount = 20 * ParameterLayout(model).parameterCount
    return integer(
      "\(section).steps", or: (tokenCount + tokensPerStep - 1) / tokensPerStep,
      "20 tokens per parameter")
  }

  /// From the rate that `previous` ended with, linearly to 0.
  private mutating func resolveAnneal(
    _ section: String, after previous: ResolvedPlan.Phase
  ) -> ResolvedPlan.Schedule {
    let place = "\(section).schedule"
    return ResolvedPlan.Schedule(
      kind: choice("\(place).kind", or: .linear, "anneal"),
      peak: number(
        "\(place).peak", or: previous.schedule.lastRate, "the rate at the end of \(previous.name)"),
      final: number("\(place).final", or: 0, "anneal"),
      warmupSteps: integer("\(place).warmup", or: 0, "anneal"),
      decaySteps: integer("\(place).decay", or: 0, "wsd only"))
  }

  private mutating func resolveData(_ section: String, _ seed: UInt64) -> ResolvedPlan.DataChoice {
    let place = "\(section).data"
    return ResolvedPlan.DataChoice(
      mixture: resolveSources(section, seed),
      split: value(
        "\(place).split", outer: ["data.split"],
        { $0.string.flatMap(ResolvedPlan.DataChoice.Split.init(text:)) },
        { JSONNode.text($0.text) }, or: .tail(0.1), "default"),
      order: choice("\(place).order", outer: ["data.order"], or: .shuffled, "default"),
      attention: choice("\(place).attention", outer: ["data.attention"], or: .window, "default"))
  }

  /// The section that names a phase's sources: its own where that does, else the plan's.
  func sourceSection(_ section: String) -> String {
    let own = "\(section).data"
    return entries.isGiven("\(own).source") || entries.isGiven("\(own).mixture") ? own : "data"
  }

  private mutating func resolveSources(
    _ section: String, _ seed: UInt64
  ) -> [ResolvedPlan.DataChoice.WeightedSource] {
    let given = sourceSection(section)
    let count = entries.elementCount("\(given).mixture")
    guard count > 0 else {
      return [.init(resolveSource("\(section).data", outer: ["data"], seed))]
    }
    return (0..<count).map { index in
      let key = "\(section).data.mixture[\(index)]", outer = "\(given).mixture[\(index)]"
      return ResolvedPlan.DataChoice.WeightedSource(
        resolveSource(key, outer: [outer, "data"], seed),
        weight: number("\(key).weight", outer: ["\(outer).weight"], or: 1, "default"))
    }
  }

  /// - Parameter outer: Sections that stand for `place`, nearest first.
  private mutating func resolveSource(
    _ place: String, outer: [String], _ seed: UInt64
  ) -> ResolvedPlan.DataChoice.Source {
    func keys(_ name: String) -> [String] { outer.map { "\($0).\(name)" } }
    let source = text("\(place).source", outer: keys("source"), or: "world", "default")
    guard source == "world" else { return .path(source) }
    return .world(
      seed: self.seed("\(place).seed", outer: keys("seed"), or: seed, "seed"),
      documents: integer("\(place).documents", outer: keys("documents"), or: 10_000, "default"))
  }

  private mutating func resolveSchedule(
    _ section: String, _ phase: ResolvedPlan.Phase.Kind, _ steps: Int?, _ model: ModelShape
  ) -> ResolvedPlan.Schedule {
    let place = "\(section).schedule"
    let kind: ResolvedPlan.Schedule.Kind = choice("\(place).kind", or: .cosine, "default")
    // Five decimals are as exact as the rule is.
    let rule = (100 * (384 / Double(model.modelWidth)).squareRoot()).rounded() / 100_000
    // B begins at zero and A is small: a step of this rate moves a weight by far less than it.
    let share = phase == .sft && givenLoRA(section) != nil ? 1 : phase.rateShare
    let peak = number(
      "\(place).peak", or: rule * share,
      "\(share == 1 ? "" : "\(numberText(share)) x ")0.001 x sqrt(384 / width)")
    return ResolvedPlan.Schedule(
      kind: kind, peak: peak,
      final: number(
        "\(place).final", or: kind == .constant ? peak : peak / 10,
        kind == .constant ? "peak" : "peak / 10"),
      warmupSteps: derived("\(place).warmup", from: steps, "steps / 20, at most 500") {
        min(500, $0 / 20)
      },
      decaySteps: kind == .wsd
        ? derived("\(place).decay", from: steps, "steps / 5") { $0 / 5 }
        : integer("\(place).decay", or: 0, "wsd only"))
  }

  private mutating func resolveValidation(
    _ section: String, every: Int
  ) -> ResolvedPlan.Validation {
    let place = "\(section).validation"
    let limit: Int? = value(
      "\(place).tokens", { $0.string == "full" ? .some(nil) : $0.int.map { .some($0) } },
      { $0.map { JSONNode.integer($0) } ?? .text("full") }, or: .some(65_536), "default")
    return ResolvedPlan.Validation(
      every: every, tokenLimit: limit,
      isFullAtEnd: boolean("\(place).full_at_end", or: true, "default"))
  }
}

extension ResolvedPlan.TokenizerChoice {
  /// Ids of the `bytes` tokenizer, and the fewest of a `bpe` one: 256 bytes and 7 special tokens.
  public static var byteVocabularySize: Int { 263 }
}

extension ResolvedPlan.Schedule {
  /// Of a phase without steps.
  public static let unused = Self(kind: .constant, peak: 0, final: 0, warmupSteps: 0)

  /// The rate that a step after the last one would have.
  package var lastRate: Double {
    switch kind {
    case .constant: peak
    case .wsd: decaySteps == 0 ? peak : final
    case .cosine, .linear: final
    }
  }
}
