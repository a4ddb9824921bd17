internal import Checkpoints
internal import Corpus
internal import Operators
internal import Phases
internal import Planning
internal import Settings
internal import System
internal import Telemetry
internal import Tensors
internal import Tokenization
internal import Transformer

/// A worker's step, without a coordinator: the same plan, tokens, replica, gradients and update.
struct StepBench {
  private let plan: ResolvedPlan
  private let phase: Int
  private let engine: Engine
  private let times = OperatorTimes()
  private let isBreakdownWanted: Bool
  private let corpus: Corpus
  private let metrics: MetricsWriter
  private let replica: Replica
  private let work: GradientWork
  private let gradients: NodeStore
  private let peak: Double

  private static let warmUpCount = 2

  static func run(_ invocation: Invocation) throws {
    let preset = BenchCommand.shape(invocation)
    let text = planText(preset, invocation)
    if invocation.has("print-plan") { return writeText(text, to: 1) }
    let plan = try PlanResolver.resolve(text: text, path: "bench-\(preset.rawValue).json").plan
    let folder = try Files.createTemporaryDirectory(prefix: "cox-bench-")
    let outcome = Result {
      let bench = try StepBench(plan: plan, folder: folder, invocation)
      return try withProgress("taking steps") { try bench.measure(preset, $0) }
    }
    try Files.removeTree(folder)
    BenchCommand.print(try outcome.get(), asJSON: invocation.has("json"))
  }

  /// The plan of which this measures steps. Slices are single micro-batches unless they are
  /// accumulated, as long as the shape's sequences allow.
  private static func planText(_ preset: ModelPreset, _ invocation: Invocation) -> String {
    let precision = BenchCommand.precision(invocation)
    let context = invocation.integer("context") ?? preset.model.sequenceLength
    let sequences = (invocation.integer("sequences") ?? preset.sequencesPerStep)
      * (invocation.integer("accumulate") ?? 1)
    let slices = invocation.integer("slices") ?? 4
    let steps = invocation.integer("steps") ?? 10
    let isPreset = context == preset.model.sequenceLength && invocation.integer("sequences") == nil
      && slices == 4
    let microbatch = isPreset ? "\n    \"microbatch\": \(preset.sequencesPerStep / 4)," : ""
    return """
    // One step of this plan is what `cox bench step --shape \(preset.rawValue)` measures.
    {
      "name": "bench-\(preset.rawValue)",
      "seed": 1,
      "precision": "\(precision.rawValue)",
      "shape": "\(preset.rawValue)",
      "model": { "vocabulary": \(preset.model.vocabularySize), "context": \(context) },
      "batch": {
        "sequences": \(sequences),
        "slices": \(slices),\(microbatch)
      },
      "tokenizer": { "kind": "bpe", "vocabulary": 1024 },
      "data": { "source": "world", "documents": 4000 },
      "phases": [
        { "kind": "tokenizer" },
        {
          "kind": "pretrain",
          "steps": \(steps),
          "schedule": { "kind": "constant", "peak": 3e-4, "warmup": 0 },
          "validation": { "every": 0, "tokens": 4096, "full_at_end": false },
        },
      ],
      "checkpoints": { "every": 0, "keep": 1 },
    }

    """
  }

  private init(plan: ResolvedPlan, folder: String, _ invocation: Invocation) throws {
    let phase = plan.phases.firstIndex { $0.kind == .pretrain } ?? 0
    let data = plan.phases[phase].data
    let tokenizer = try Corpus.trainTokenizer(plan.tokenizer, on: data)
    corpus = try Corpus(
      data: data, tokenizer: tokenizer, cacheDirectories: ["\(folder)/data"],
      sequenceLength: plan.model.sequenceLength)
    metrics = try MetricsWriter(runDirectory: folder)
    isBreakdownWanted = invocation.has("breakdown")
    engine = try BenchCommand.engine(
      invocation, times: times, apart: BenchCommand.apart(invocation))
    peak = engine.teamPeakGigaflops()
    self.plan = plan
    self.phase = phase
    replica = Replica(plan: plan, engine: engine, phaseIndex: phase)
    work = GradientWork(replica)
    gradients = NodeStore(work, sliceCount: plan.batch.slices)
    replica.initialize()
  }

  // MARK: Measuring

  private struct Step {
    var seconds: Double
    var loss: Double
    var tokenCount: Int
  }

  private func measure(
    _ preset: ModelPreset, _ progress: ProgressLine
  ) throws -> [(String, JSONNode)] {
    var steps: [Step] = []
    var tokensTotal = 0
    let stepCount = plan.phases[phase].steps
    let warmUpCount = min(Self.warmUpCount, stepCount - 1)
    var forwardSeconds = 0.0
    for index in 0..<stepCount {
      // The coordinator cuts the slices of a run, ahead of the workers.
      let slices = try (0..<plan.batch.slices).map {
        try corpus.slice(
          step: index, slice: $0, batch: plan.batch, sequenceLength: plan.model.sequenceLength,
          seed: plan.seed, phase: phase)
      }
      if index == warmUpCount {
        times.reset()
        _ = replica.takeForwardSeconds()
      }
      steps.append(try take(index, slices, &tokensTotal))
      progress.update(Double(index + 1) / Double(stepCount))
      if index >= warmUpCount {
        forwardSeconds += replica.takeForwardSeconds()
      }
    }
    let timed = steps[warmUpCount...]
    // Whatever disturbs a probe only slows it, so the better of two counts.
    var figures = rates(
      preset, timed.map(\.seconds), peak: max(peak, engine.teamPeakGigaflops()))
    figures += [
      ("loss_first", .decimal(steps[0].loss)),
      ("loss_last", .decimal(steps[stepCount - 1].loss)),
      ("steps", .integer(stepCount)),
      ("data", .text("world \(plan.seed), 1024 ids of \(plan.model.vocabularySize)")),
      ("digest", .text(digest(stepCount, tokensTotal))),
    ]
    figures += memory()
    let seconds = timed.reduce(0) { $0 + $1.seconds }
    figures += [
      ("without", .list(engine.apart.map(\.rawValue).sorted().map { .text($0) })),
      ("bytes_moved_per_step", .integer(times.byteCount / timed.count)),
    ]
    if isBreakdownWanted {
      figures += breakdown(seconds: seconds, forward: forwardSeconds, stepCount: timed.count)
    }
    return figures
  }

  /// One step as a worker takes it, its record included.
  private func take(
    _ index: Int, _ slices: [TokenSlice], _ tokensTotal: inout Int
  ) throws -> Step {
    let start = Clock.monotonicSeconds
    gradients.begin(step: index, slices: slices)
    _ = gradients.compute(
      0..<plan.batch.slices, tokens: { slices[$0] }, isCancelled: { false }, ready: { _ in })
    guard let root = gradients.nodes[gradients.tree.root],
      let statistics = gradients.statistics[gradients.tree.root]
    else { preconditionFailure("one worker holds every slice") }
    let outcome = replica.update(
      work.windows(of: root), statistics: statistics, step: index)
    gradients.release()
    let seconds = Clock.monotonicSeconds - start
    tokensTotal += Int(statistics.tokenCount)
    let flops = ModelFlops(plan.model)
    var record = StepRecord(
      run: plan.name, phase: plan.phases[phase].name, step: index, time: "", loss: outcome.loss,
      gradNorm: outcome.gradNorm, learningRate: outcome.learningRate, skipped: outcome.skipped,
      tokens: Int(statistics.tokenCount), tokensTotal: tokensTotal, seconds: seconds,
      flopsPerToken: flops.perToken, flopsFormula: flops.formula, workers: 1, view: 1)
    record.setPeaks(
      nominalGigaflops: nil, measuredGigaflops: peak, causalFlopsPerToken: flops.perTokenCausal)
    try metrics.append(record)
    return Step(
      seconds: Clock.monotonicSeconds - start, loss: outcome.loss,
      tokenCount: Int(statistics.tokenCount))
  }

  // MARK: Figures

  private func rates(
    _ preset: ModelPreset, _ seconds: [Double], peak: Double
  ) -> [(String, JSONNode)] {
    let flops = ModelFlops(plan.model)
    let tokens = Double(plan.tokensPerStep)
    let best = tokens / (seconds.min() ?? 1)
    let worst = tokens / (seconds.max() ?? 1)
    let median = tokens / BenchCommand.median(seconds)
    let gigaflops = median * flops.perToken * 1e-9
    return [
      ("shape", .text(preset.rawValue)), ("world", .integer(1)),
      ("threads", .integer(engine.team.memberCount)),
      ("dtype", .text(plan.precision == .f32 ? "fp32" : "bf16")),
      ("parameters", .integer(replica.policy.layout.parameterCount)),
      ("flops_per_token", .decimal(flops.perToken)),
      ("tokens_per_step", .integer(plan.tokensPerStep)),
      ("tokens_per_s_best", BenchCommand.rounded(best, 1)),
      ("tokens_per_s_median", BenchCommand.rounded(median, 1)),
      ("tokens_per_s_worst", BenchCommand.rounded(worst, 1)),
      ("gflops_median", BenchCommand.rounded(gigaflops, 1)),
      ("mfu_median", BenchCommand.rounded(gigaflops / peak, 4)),
      (
        "mfu_median_causal",
        BenchCommand.rounded(median * flops.perTokenCausal * 1e-9 / peak, 4)
      ),
      ("peak_measured_gflops", BenchCommand.rounded(peak, 1)),
      ("kernels", .text(engine.variant.name)), ("profile", .text(engine.profile)),
      ("slices", .integer(plan.batch.slices)),
      ("microbatch", .integer(plan.batch.microbatch)),
    ]
  }

  private func digest(_ stepCount: Int, _ tokensTotal: Int) -> String {
    Digest.hex(
      layout: replica.stateLayout, parts: replica.parts, phaseIndex: phase, step: stepCount,
      tokensTotal: UInt64(tokensTotal))
  }

  private func memory() -> [(String, JSONNode)] {
    let planned = MemoryPlan.workers(
      plan: plan, workerCount: 1, threadCount: engine.team.memberCount)
    var figures: [(String, JSONNode)] = [
      ("memory_planned_bytes", .integer(planned.reduce(0) { $0 + $1.byteCount }))
    ]
    if let held = Host.peakResidentByteCount {
      figures.append(("memory_peak_bytes", .integer(held)))
    }
    return figures
  }

  /// Seconds of a step by what they were spent on; `other` is the caller's own work, during which
  /// the other members wait.
  private func breakdown(
    seconds: Double, forward: Double, stepCount: Int
  ) -> [(String, JSONNode)] {
    let share = 1 / Double(stepCount)
    var parts = OperatorPart.allCases.map { ($0.rawValue, times.seconds(of: $0) * share) }
    parts.append(("other", seconds * share - parts.reduce(0) { $0 + $1.1 }))
    return [
      ("seconds_per_step", BenchCommand.rounded(seconds * share, 4)),
      ("forward_seconds", BenchCommand.rounded(forward * share, 4)),
      (
        "seconds_by", .object(parts.map { ($0.0, BenchCommand.rounded($0.1, 4)) })
      ),
      ("dispatches_per_step", .integer(times.dispatchCount / stepCount)),
    ]
  }
}
