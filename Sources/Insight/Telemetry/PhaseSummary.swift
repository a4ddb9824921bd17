/// What a phase of a run cost and came to, by its records.
public struct PhaseSummary: Equatable, Sendable {
  public let phase: String
  /// Steps that were taken.
  public let steps: Int
  /// Steps that the plan has, if a gate ended the phase before it had taken them.
  public let stepsPlanned: Int?
  /// Of the steps and of the answers that they learned from, validations apart.
  public let seconds: Double
  public let tokens: Int
  /// Over all steps, the answers that they learned from included.
  public let mfuNominal: Double?
  public let mfuMeasured: Double?
  /// What these are shares of, GFLOP/s: means over the seconds.
  public let peakNominalGigaflops: Double?
  public let peakMeasuredGigaflops: Double?
  /// Of a step's arithmetic; empty for a phase without steps.
  public let flopsFormula: String
  /// Answers that the phase learned from; 0 for one that makes none.
  public let rolloutTokens: Int
  /// Of drawing and judging the answers, and of passing them to everyone.
  public let rolloutSeconds: Double
  /// Of these, what workers spent on passing and waiting; nil where the records do not tell.
  public let rolloutExchangeSeconds: Double?
  /// Of the last validation, nats per token or per pair.
  public let validationLoss: Double?
  /// What the last validation told besides, by the names of the records.
  public let validationFigures: [String: Double]

  /// `6 of 12 (gate)`, or the steps alone.
  public var stepsText: String {
    stepsPlanned.map { "\(steps) of \($0) (gate)" } ?? "\(steps)"
  }

  /// Answers' tokens per second of making them; nil where there are none.
  public var rolloutTokensPerS: Double? {
    rolloutSeconds > 0 ? Double(rolloutTokens) / rolloutSeconds : nil
  }

  /// Share of ``seconds`` that went into answers; nil where there are none.
  public var rolloutShare: Double? { rolloutSeconds > 0 ? rolloutSeconds / seconds : nil }

  /// The part of it that workers spent on passing answers on and waiting; nil where the records do
  /// not tell.
  public var rolloutExchangeShare: Double? {
    rolloutShare == nil ? nil : rolloutExchangeSeconds.map { $0 / seconds }
  }

  /// The phases that have records, in the order in which they began.
  public static func all(
    _ log: StepLog, events: [RunEvent] = [], outline: RunOutline? = nil
  ) -> [PhaseSummary] {
    let records = log.records
    let gated = Set(events.filter { $0.event == .gate }.compactMap(\.phase))
    return log.phases.compactMap { phase in
      Self(
        phase, records.filter { $0.phase == phase },
        stepsPlanned: gated.contains(phase) ? outline?.stepCount(ofPhase: phase) : nil)
    }
  }

  init?(_ phase: String, _ records: [StepRecord], stepsPlanned: Int? = nil) {
    guard !records.isEmpty else { return nil }
    self.phase = phase
    let steps = records.filter { !$0.isEvaluation }
    self.steps = steps.count
    self.stepsPlanned = stepsPlanned.flatMap { steps.count < $0 ? $0 : nil }
    tokens = saturatingSum(steps.map(\.tokens))
    let iterations = steps.iterations
    func sum(_ name: String) -> Double {
      iterations.reduce(0) { $0 + ($1.extra[name] ?? 0) }
    }
    rolloutTokens = Int(exactly: sum("rollout_tokens").rounded()) ?? 0
    rolloutSeconds = sum("rollout_seconds")
    let isKnown = iterations.contains { $0.extra["rollout_exchange_seconds"] != nil }
    rolloutExchangeSeconds = isKnown ? sum("rollout_exchange_seconds") : nil
    seconds = steps.reduce(0) { $0 + $1.seconds } + rolloutSeconds
    let flops = steps.reduce(0) { $0 + $1.flopsPerToken * Double($1.tokens) }
      + sum("rollout_flops")
    let total = seconds
    func mean(_ peak: (StepRecord) -> Double?) -> Double? {
      guard let last = steps.last, peak(last) != nil, total > 0 else { return nil }
      let possible = steps.reduce(0) { $0 + $1.seconds * (peak($1) ?? 0) }
        + iterations.reduce(0) { $0 + ($1.extra["rollout_seconds"] ?? 0) * (peak($1) ?? 0) }
      return possible > 0 ? possible / total : nil
    }
    peakNominalGigaflops = mean(\.peakNominalGigaflops)
    peakMeasuredGigaflops = mean(\.peakMeasuredGigaflops)
    mfuNominal = peakNominalGigaflops.map { flops / (total * $0 * 1e9) }
    mfuMeasured = peakMeasuredGigaflops.map { flops / (total * $0 * 1e9) }
    flopsFormula = steps.last?.flopsFormula ?? ""
    let validated = records.last(where: \.isValidated)
    validationLoss = validated?.validationLoss
    validationFigures = (validated?.extra ?? [:]).filter { $0.key.hasPrefix("validation_") }
  }
}

extension [StepRecord] {
  /// Of each iteration of a phase the first step; every step has the figures of its answers.
  var iterations: [StepRecord] {
    Dictionary(grouping: self) { $0.extra["iteration"] ?? 0 }
      .sorted { $0.key < $1.key }.map { $0.value[0] }
  }
}
