public import Settings
internal import Tensors

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

  /// Of one step: the slowest worker's arithmetic.
  public let computeSeconds: Double
  /// Of one step: the bytes of the worker that sends most; most of it hides behind arithmetic.
  public let exchangeSeconds: Double
  /// Of all phases, validation included, but for those whose rows decide their steps.
  public let totalSeconds: Double
  /// Tokens that all steps read.
  public let tokenCount: Int
  /// Of all steps, PaLM formula.
  public let flops: Double

  public init(
    plan: ResolvedPlan, workerCount: Int, threadCount: Int, assumptions: Assumptions
  ) {
    let flops = ModelFlops(plan.model)
    let rate = assumptions.peakPerThread * 1e9 * Double(threadCount) * assumptions.efficiency
    let runs = SliceTree(sliceCount: plan.batch.slices).deal(workerCount: workerCount)
    let share = runs.map(\.count).max() ?? 1
    let sequences = Double(share * plan.batch.sequencesPerSlice)
    let tokens = sequences * Double(plan.model.sequenceLength)
    computeSeconds = tokens * flops.perTokenCausal / rate
    exchangeSeconds =
      Double(WireBytes(plan: plan, workerCount: workerCount).sentMax)
      / assumptions.linkBytesPerSecond
    // The last bucket cannot hide; a slow link hides nothing beyond the arithmetic.
    let step = max(computeSeconds, exchangeSeconds)
    let active = Double(max(1, runs.count { !$0.isEmpty }))
    var (steps, total) = (0, 0.0)
    for phase in plan.phases where phase.kind != .tokenizer && !phase.awaitsRows {
      let counts = phase.operationCounts
      // How long the held-back text is shows only once it is read; its cap stands for it.
      let limit = Double(phase.validation.tokenLimit ?? 65_536)
      let validation = limit * flops.perTokenForwardCausal / (rate * active)
      steps += counts.steps
      total += Double(counts.steps) * step + Double(counts.validations) * validation
    }
    totalSeconds = total
    tokenCount = steps * plan.tokensPerStep
    self.flops = Double(tokenCount) * flops.perToken
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
