public import Settings

/// How long a plan takes, by arithmetic: the largest share of a step at a share of the peak.
///
/// The estimate is as good as its two assumptions, which are printed with it.
public struct TimeEstimate: Equatable, Sendable {
  /// What share of the peak a step is expected to reach, and how fast workers' links are.
  public struct Assumptions: Equatable, Sendable {
    /// GFLOP/s of one thread's multiply instruction.
    public var peakPerThread: Double
    /// Of that peak, in a step (docs/performance.md).
    public var efficiency: Double
    public var linkBytesPerSecond: Double
    public init(
      peakPerThread: Double, efficiency: Double = 0.5, linkBytesPerSecond: Double = 1e9
    ) {
      self.peakPerThread = peakPerThread
      self.efficiency = efficiency
      self.linkBytesPerSecond = linkBytesPerSecond
    }
  }

  /// Seconds that a phase takes.
  public struct Phase: Equatable, Sendable {
    /// All its steps.
    public let steps: Double
    /// All its rollouts, and the exchange of their answers.
    public let rollouts: Double
    public let validations: Double
    public var total: Double { steps + rollouts + validations }
  }

  /// Of one step that trains the policy alone: the slowest worker's arithmetic.
  public let computeSeconds: Double
  /// Of such a step: the bytes of the worker that sends most; most of it hides behind arithmetic.
  public let exchangeSeconds: Double
  /// By the plan's phases.
  public let phases: [Phase]
  /// Of all phases, validation included, but for those whose rows decide their steps.
  public let totalSeconds: Double
  /// Tokens that all steps read.
  public let tokenCount: Int
  /// Of all steps and rollouts, PaLM formula.
  public let flops: Double

  public init(
    plan: ResolvedPlan, workerCount: Int, threadCount: Int, assumptions: Assumptions
  ) {
    let rate = assumptions.peakPerThread * 1e9 * Double(threadCount) * assumptions.efficiency
    let runs = SliceTree(sliceCount: plan.batch.slices).deal(workerCount: workerCount)
    // The slowest worker has this share of the work.
    let share = Double(runs.map(\.count).max() ?? 1) / Double(plan.batch.slices)
    let active = Double(max(1, runs.count { !$0.isEmpty }))
    let tokens = share * Double(plan.tokensPerStep)
    let wire = WireBytes(plan: plan, workerCount: workerCount)
    func seconds(_ exchange: WireBytes.Exchange) -> Double {
      Double(exchange.sentMax) / assumptions.linkBytesPerSecond
    }
    let costs = plan.phases.indices.map { PhaseCost(plan, phase: $0) }
    phases = zip(plan.phases, costs).enumerated().map { index, found in
      let (phase, cost) = found
      guard phase.kind != .tokenizer, !phase.awaitsRows else {
        return Phase(steps: 0, rollouts: 0, validations: 0)
      }
      let counts = phase.operationCounts
      let compute = share * (cost.training.causalFlops + cost.reference.causalFlops) / rate
      let sent = Double(counts.steps) * seconds(wire.steps[index])
      let answering = share * (cost.drawing.causalFlops + cost.judging.causalFlops) / rate
      let iterations = Double(phase.reinforcement?.iterations ?? 0)
      // How long the held-back text is shows only once it is read; its cap stands for it.
      let limit = Double(phase.validation.tokenLimit ?? 65_536)
      let validation = limit * cost.validationCausalFlops / (rate * active)
      return Phase(
        // The last bucket cannot hide; a slow link hides nothing beyond the arithmetic.
        steps: max(compute, sent),
        // Answers leave when the last of them is there.
        rollouts: answering + iterations * seconds(wire.rollouts[index]),
        validations: Double(counts.validations) * validation)
    }
    computeSeconds = tokens * ModelFlops(plan.model).perTokenCausal / rate
    exchangeSeconds = seconds(wire.policy)
    totalSeconds = phases.reduce(0) { $0 + $1.total }
    tokenCount = costs.reduce(0) { $0 + $1.training.tokenCount }
    flops = costs.reduce(0) { $0 + $1.flops }
  }
}

extension ResolvedPlan.Phase {
  /// Steps, and validations in all.
  var operationCounts: (steps: Int, validations: Int) {
    let steps = kind.takesSteps ? self.steps : 0
    let inner = validation.every > 0 && steps > 0 ? (steps - 1) / validation.every : 0
    return (steps, kind == .tokenizer ? 0 : inner + 1)
  }
}
