public import Settings
public import Tensors

/// A plan that this machine cannot run. Exits 78.
public struct InfeasiblePlan: ProgramError, Equatable {
  /// What is in the way, one line each.
  public let problems: [String]
  public var exitCode: ExitCode { .badPlan }
  public var message: String {
    problems.map { "Error: the plan is infeasible: \($0)" }.joined(separator: "\n")
  }
}

/// What `cox plan` prints: the resolved plan, and what it will cost.
public struct PlanReport: Sendable {
  /// Where the plan is to run.
  public struct Cluster: Equatable, Sendable {
    public var workerCount: Int
    /// Of each worker.
    public var threadCount: Int
    /// Memory that all workers of this host may use together; nil: not checked.
    public var memoryByteCount: Int?
    /// Nil: unknown, and no time is estimated.
    public var assumptions: TimeEstimate.Assumptions?
    public init(
      workerCount: Int, threadCount: Int, memoryByteCount: Int? = nil,
      assumptions: TimeEstimate.Assumptions? = nil
    ) {
      self.workerCount = workerCount
      self.threadCount = threadCount
      self.memoryByteCount = memoryByteCount
      self.assumptions = assumptions
    }
  }

  /// Characters assumed where only the text will tell how many there are.
  public static let characterCountAssumed = 128
  /// Bytes of text that a token stands for. Of a BPE tokenizer only training tells: with 8192 ids
  /// books have 3.8.
  private static func bytesPerToken(_ plan: ResolvedPlan) -> Double {
    plan.tokenizer.kind == .bpe ? 4 : 1
  }

  public let resolution: PlanResolution
  public let cluster: Cluster
  /// The plan, with an assumed vocabulary where it is not known yet.
  public let plan: ResolvedPlan
  /// Of the policy.
  public let flops: ModelFlops
  /// By the plan's phases.
  public let costs: [PhaseCost]
  public let layout: ParameterLayout
  /// Of each worker, those on standby included.
  public let memory: [MemoryPlan]
  public let wire: WireBytes
  public let time: TimeEstimate?
  /// By the plan's phases; those without a mixture have none.
  public let mixtures: [[MixtureShare]]

  /// - Parameter textByteCount: Bytes of a source's text, about; nil where it is not there.
  /// - Precondition: At least one worker and thread.
  public init(
    _ resolution: PlanResolution, on cluster: Cluster,
    textByteCount: (ResolvedPlan.DataChoice.Source) -> Int? = { _ in nil }
  ) {
    precondition(
      cluster.workerCount > 0 && cluster.threadCount > 0,
      "\(cluster.workerCount) workers of \(cluster.threadCount) threads")
    var plan = resolution.plan
    if plan.model.vocabularySize == 0 { plan.model.vocabularySize = Self.characterCountAssumed }
    self.resolution = resolution
    self.cluster = cluster
    self.plan = plan
    flops = ModelFlops(plan.model)
    costs = plan.phases.indices.map { PhaseCost(plan, phase: $0) }
    layout = ParameterLayout(plan.model)
    memory = MemoryPlan.workers(
      plan: plan, workerCount: cluster.workerCount, threadCount: cluster.threadCount)
    wire = WireBytes(plan: plan, workerCount: cluster.workerCount)
    time = cluster.assumptions.map {
      TimeEstimate(
        plan: plan, workerCount: cluster.workerCount, threadCount: cluster.threadCount,
        assumptions: $0)
    }
    mixtures = plan.phases.indices.map { index in
      let data = plan.phases[index].data
      let bytesPerToken = Self.bytesPerToken(plan)
      let counts = data.sources.map { weighted in
        textByteCount(weighted.source).map {
          Int(Double($0) * (1 - data.split.fraction) / bytesPerToken)
        }
      }
      return MixtureShare.shares(plan, phase: index, sourceTokenCounts: counts)
    }
  }

  /// For workers that all run on this host.
  ///
  /// - Throws: ``InfeasiblePlan`` where they do not fit into its memory together.
  public func checkTogether() throws(InfeasiblePlan) {
    guard let shortage else { return }
    throw InfeasiblePlan(problems: [
      shortage + "; use fewer workers, or a smaller model or batch.microbatch"
    ])
  }

  /// For workers that may each have a host like this one.
  ///
  /// - Throws: ``InfeasiblePlan`` where not even one fits into its memory.
  public func checkEach() throws(InfeasiblePlan) {
    guard let limit = cluster.memoryByteCount, largest.byteCount > limit else { return }
    throw InfeasiblePlan(problems: [
      "a worker needs \(Figures.bytes(largest.byteCount)), this host has \(Figures.bytes(limit)); "
        + "use more workers, or a smaller model or batch.microbatch"
    ])
  }

  /// By how much this host's memory is too small for all workers; nil where it is not.
  public var shortage: String? {
    let needed = memory.reduce(0) { $0 + $1.byteCount }
    guard let limit = cluster.memoryByteCount, needed > limit else { return nil }
    let workers = memory.count == 1 ? "1 worker needs" : "\(memory.count) workers need"
    return "\(workers) \(Figures.bytes(needed)), this host has \(Figures.bytes(limit))"
  }

  /// The worker that needs most.
  private var largest: MemoryPlan { memory.max { $0.byteCount < $1.byteCount } ?? memory[0] }

  // MARK: Text

  /// Everything, for a terminal.
  public var lines: [String] {
    ["plan \(plan.name)  (\(resolution.path))", ""] + derivationLines + [""] + summaryLines
  }

  /// Every value with the rule, file line or option it came from.
  public var derivationLines: [String] {
    let rows = resolution.derivations.map {
      ["  \($0.key)", $0.value, $0.origin.text(path: resolution.path)]
    }
    return Figures.table([["  key", "value", "from"]] + rows)
  }

  /// What the plan costs: parameters, FLOPs, memory, bytes, time.
  public var summaryLines: [String] {
    let idle = memory.count { $0.slices.isEmpty }
    let tail = idle > 0 ? "  (\(idle) on standby: there are \(plan.batch.slices) slices)" : ""
    return [
      "workers     \(cluster.workerCount) x \(counted(cluster.threadCount, "thread"))\(tail)",
      "model       " + modelText,
      "arithmetic  \(Figures.short(flops.perToken))FLOP per token"
        + " (causal \(Figures.short(flops.perTokenCausal))FLOP) = \(flops.formula)",
    ] + phaseLines + memoryLines + wireLines + [checkpointLine] + timeLines
  }

  private func counted(_ count: Int, _ noun: String) -> String {
    count == 1 ? "1 \(noun)" : "\(count) \(noun)s"
  }

  private var modelText: String {
    let shape = plan.model
    // The text decides, or the model that the run starts from.
    let derived = Set(resolution.derivations.filter(\.isDerived).map(\.key))
    let isLeftOpen = plan.initialization.from != nil
      && derived.isSuperset(of: ["model.vocabulary", "tokenizer.vocabulary"])
    let assumed = resolution.plan.model.vocabularySize == 0 || isLeftOpen ? " assumed" : ""
    return "\(Figures.grouped(layout.parameterCount)) parameters: \(shape.layerCount) layers, "
      + "width \(shape.modelWidth), \(shape.headCount) heads of \(shape.headWidth) "
      + "(\(shape.keyValueHeadCount) key-value), feed-forward \(shape.feedForwardWidth), "
      + "vocabulary \(shape.vocabularySize)\(assumed), context \(shape.sequenceLength)"
  }

  private var phaseLines: [String] {
    var lines = plan.phases.indices.filter { plan.phases[$0].kind.takesSteps }.flatMap(lines)
    if plan.phases.contains(where: { $0.kind.readsExamples }) {
      lines.append(
        "            \"at most\": each sequence as long as the context, prompts and answers at "
          + "their limits")
    }
    if mixtures.joined().contains(where: { $0.epochs != nil }) {
      let byteCount = Figures.fixed(Self.bytesPerToken(plan), 0)
      lines.append("            \"about\": a token taken for \(byteCount) of the text's bytes")
    }
    return lines
  }

  private func lines(ofPhase index: Int) -> [String] {
    let (phase, cost) = (plan.phases[index], costs[index])
    let perStep = "\(Figures.grouped(plan.tokensPerStep)) tokens"
    if phase.awaitsRows, let epochs = phase.examples?.epochs {
      return [
        "phase       \(phase.name): \(counted(epochs, "epoch")) of its rows, which decide how many "
          + "steps x \(perStep) that takes"
      ]
    }
    var steps = "phase       \(phase.name): \(phase.steps) steps x \(perStep)"
      + "\(phase.kind.readsExamples ? " at most" : "") = \(text(cost.training))"
    if cost.reference.flops > 0 {
      steps += ", and \(Figures.short(cost.reference.flops))FLOP of the reference"
    }
    steps += seconds(time?.phases[index].steps)
    if let line = adapterLine(ofPhase: index) { return [steps, line] }
    guard let reinforcement = phase.reinforcement else {
      return [steps] + mixtures[index].map(line)
    }
    let rollouts =
      "            rollouts: \(reinforcement.iterations) x \(reinforcement.answerCount) answers = "
      + "\(text(cost.drawing)) to read prompts and draw, "
      + "\(Figures.short(cost.judging.flops))FLOP to judge"
    return [steps, rollouts + seconds(time?.phases[index].rollouts)]
  }

  private func line(of share: MixtureShare) -> String {
    let size = share.sourceTokenCount.map { " of about \(Figures.short(Double($0)))" }
    return "            \(share.text)\(size ?? ", of a source that is not here")"
  }

  /// Parameters that a phase trains.
  private func trainableCount(inPhase index: Int) -> Int {
    let trained = plan.stateLayout(inPhase: index).models.filter(\.isTrained)
    return trained.reduce(0) { $0 + $1.layout.parameterCount }
  }

  /// What a phase of adapters trains, and what a worker needs for it: far less, perhaps, than in
  /// the phase that needs most. Nil for a phase without.
  private func adapterLine(ofPhase index: Int) -> String? {
    guard plan.phases[index].lora != nil else { return nil }
    let memory = MemoryPlan(
      plan: plan, state: plan.stateLayout(inPhase: index), slices: largest.slices,
      workerCount: cluster.workerCount, threadCount: cluster.threadCount)
    return "            trains \(Figures.grouped(trainableCount(inPhase: index))) parameters of "
      + "adapters beside \(Figures.grouped(layout.parameterCount)) frozen ones, "
      + "\(Figures.bytes(memory.byteCount)) per worker"
  }

  private func text(_ part: PhaseCost.Part) -> String {
    "\(Figures.short(Double(part.tokenCount))) tokens, \(Figures.short(part.flops))FLOP"
  }

  private func seconds(_ seconds: Double?) -> String {
    seconds.map { ", about \(Figures.duration(seconds: $0))" } ?? ""
  }

  private var memoryLines: [String] {
    let worker = largest
    let rows = worker.items.map {
      ["            \($0.name)", Figures.bytes($0.byteCount), $0.rule]
    }
    return [
      "memory      \(Figures.bytes(worker.byteCount)) per worker at most"
        + " (slices \(worker.slices.lowerBound)..<\(worker.slices.upperBound))"
    ] + Figures.table(rows, right: [1])
  }

  private var wireLines: [String] {
    guard cluster.workerCount > 1 else { return ["network     none: one worker keeps all slices"] }
    let rows = plan.phases.indices.flatMap { index in
      [("step", wire.steps[index]), ("iteration", wire.rollouts[index])]
        .filter { $0.1.elementCount > 0 }.map { unit, exchange in
          ["            \(plan.phases[index].name)", "per \(unit)",
            Figures.bytes(exchange.sentMax), Figures.bytes(exchange.sentInAll) + " in all, in "
              + counted(exchange.bucketCount, "bucket")]
        }
    }
    return [
      "network     at most \(Figures.bytes(widest?.sentMax ?? 0)) sent per step and worker"
    ] + Figures.table(rows, right: [2])
  }

  /// The exchange of a step of the phase in which a worker sends most.
  private var widest: WireBytes.Exchange? { wire.steps.max { $0.sentMax < $1.sentMax } }

  private var checkpointLine: String {
    "checkpoints \(Figures.bytes(checkpoints.max() ?? 0)) each at most, the newest "
      + "\(plan.checkpoints.keep) kept"
  }

  /// Bytes of a checkpoint in each of the plan's phases; 0 where there is none.
  private var checkpoints: [Int] {
    plan.phases.indices.map { index in
      plan.phases[index].kind == .tokenizer ? 0 : plan.stateLayout(inPhase: index).byteCount
    }
  }

  private var timeLines: [String] {
    guard let time, let assumptions = cluster.assumptions else {
      return ["time        unknown: the peak of this processor is not known"]
    }
    let share = Figures.fixed(assumptions.efficiency * 100, 0)
    let exchange = cluster.workerCount > 1
      ? ", \(Figures.duration(seconds: time.exchangeSeconds)) of exchange beside it" : ""
    let open = plan.phases.filter(\.awaitsRows).map(\.name).joined(separator: ", ")
    let known = "about \(Figures.duration(seconds: time.totalSeconds)) in all"
      + (open.isEmpty ? "" : " without \(open)")
    let all = time.totalSeconds > 0 ? known : "of \(open) unknown until the rows are read"
    return [
      "time        \(all); a step of the policy alone "
        + "\(Figures.duration(seconds: time.computeSeconds)) of arithmetic\(exchange)",
      "            at \(share) % of \(Figures.fixed(assumptions.peakPerThread, 0)) GFLOP/s "
        + "per thread and \(Figures.short(assumptions.linkBytesPerSecond))B/s per link",
    ]
  }

  // MARK: JSON

  /// The same, for programs. Keys are snake_case.
  public var json: JSONNode {
    let items = largest.items.map {
      JSONNode.object([
        ("name", .text($0.name)), ("bytes", .integer($0.byteCount)), ("rule", .text($0.rule)),
      ])
    }
    let origins = resolution.derivations.map {
      ($0.key, JSONNode.text($0.origin.text(path: resolution.path)))
    }
    func optional(_ number: Double?) -> JSONNode { number.map { .decimal($0) } ?? JSONNode(.null) }
    let phases = plan.phases.indices.map { index in
      let (phase, cost, time) = (plan.phases[index], costs[index], time?.phases[index])
      let mixture = mixtures[index].map(\.json)
      // What follows from rows that are not read yet is unknown, not 0.
      func known(_ number: JSONNode) -> JSONNode { phase.awaitsRows ? JSONNode(.null) : number }
      return JSONNode.object([
        ("name", .text(phase.name)),
        ("steps", known(.integer(phase.steps))),
        (
          "trainable_parameters",
          .integer(phase.kind.takesSteps ? trainableCount(inPhase: index) : 0)
        ),
        ("tokens", known(.integer(cost.training.tokenCount))),
        ("flops", known(.decimal(cost.training.flops))),
        ("reference_flops", known(.decimal(cost.reference.flops))),
        ("rollout_tokens", known(.integer(cost.drawing.tokenCount))),
        ("drawing_flops", known(.decimal(cost.drawing.flops))),
        ("judging_flops", known(.decimal(cost.judging.flops))),
        ("wire_bytes_per_step_max", .integer(wire.steps[index].sentMax)),
        ("wire_bytes_per_step", .integer(wire.steps[index].sentInAll)),
        ("rollout_wire_bytes_max", .integer(wire.rollouts[index].sentMax)),
        ("rollout_wire_bytes", .integer(wire.rollouts[index].sentInAll)),
        ("checkpoint_bytes", .integer(checkpoints[index])),
        ("step_seconds", known(optional(time?.steps))),
        ("rollout_seconds", known(optional(time?.rollouts))),
        ("validation_seconds", known(optional(time?.validations))),
      ] + (mixture.isEmpty ? [] : [("mixture", .list(mixture))]))
    }
    return .object([
      ("plan", resolution.plan.jsonNode),
      ("origins", .object(origins)),
      ("workers", .integer(cluster.workerCount)),
      ("threads", .integer(cluster.threadCount)),
      ("parameters", .integer(layout.parameterCount)),
      ("flops_per_token", .decimal(flops.perToken)),
      ("flops_per_token_causal", .decimal(flops.perTokenCausal)),
      ("flops_formula", .text(flops.formula)),
      ("tokens_per_step", .integer(plan.tokensPerStep)),
      ("phases", .list(phases)),
      ("memory_bytes", .integer(largest.byteCount)),
      ("memory", .list(items)),
      ("wire_bytes_per_step_max", .integer(widest?.sentMax ?? 0)),
      ("wire_bytes_per_step", .integer(widest?.sentInAll ?? 0)),
      ("checkpoint_bytes", .integer(checkpoints.max() ?? 0)),
      ("seconds_per_step", optional(time.map { max($0.computeSeconds, $0.exchangeSeconds) })),
      ("seconds", optional(time?.totalSeconds)),
    ])
  }
}
