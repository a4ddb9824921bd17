/// What a phase of a run cost and came to, by its records.
public struct PhaseSummary: Codable, Equatable, Sendable {
  public let phase: String
  /// Steps that were taken.
  public let steps: Int
  /// Of the steps and of the answers that they learned from, validations apart.
  public let seconds: Double
  public let tokens: Int
  /// Over all steps, the answers that they learned from included.
  public let mfuNominal: Double?
  public let mfuMeasured: Double?
  /// Answers that the phase learned from; 0 for one that makes none.
  public let rolloutTokens: Int
  public let rolloutSeconds: Double
  /// Of the last validation, nats per token or per pair.
  public let validationLoss: Double?
  /// What the last validation told besides, by the names of the records.
  public let validationFigures: [String: Double]
  /// Nats per token from the reference in the last step, where the phase tells it.
  public let divergence: Double?

  /// Answers' tokens per second of making them; nil where there are none.
  public var rolloutTokensPerS: Double? {
    rolloutSeconds > 0 ? Double(rolloutTokens) / rolloutSeconds : nil
  }

  /// The phases that have records, in the order in which they began.
  public static func all(_ log: StepLog) -> [PhaseSummary] {
    let records = log.records
    return log.phases.compactMap { phase in
      Self(phase, records.filter { $0.phase == phase })
    }
  }

  private init?(_ phase: String, _ records: [StepRecord]) {
    guard let latest = records.last else { return nil }
    self.phase = phase
    let steps = records.filter { !$0.isEvaluation }
    self.steps = steps.count
    tokens = saturatingSum(steps.map(\.tokens))
    // Every step of an iteration has the figures of its answers.
    let iterations = Dictionary(grouping: steps) { $0.extra["iteration"] ?? 0 }.values
    func sum(_ name: String) -> Double {
      iterations.reduce(0) { $0 + ($1[0].extra[name] ?? 0) }
    }
    rolloutTokens = Int(exactly: sum("rollout_tokens").rounded()) ?? 0
    rolloutSeconds = sum("rollout_seconds")
    let seconds = steps.reduce(0) { $0 + $1.seconds } + rolloutSeconds
    self.seconds = seconds
    func mean(_ value: (StepRecord) -> Double?) -> Double? {
      guard seconds > 0, let last = steps.last, value(last) != nil else { return nil }
      let sum = iterations.reduce(0.0) { sum, steps in
        let share = (steps[0].extra["rollout_seconds"] ?? 0) / Double(steps.count)
        return sum + steps.reduce(0) { $0 + (value($1) ?? 0) * ($1.seconds + share) }
      }
      return sum / seconds
    }
    mfuNominal = mean(\.mfuNominal)
    mfuMeasured = mean(\.mfuMeasured)
    let validated = records.last(where: \.isValidated)
    validationLoss = validated?.validationLoss
    validationFigures = (validated?.extra ?? [:]).filter { $0.key.hasPrefix("validation_") }
    divergence = latest.extra["divergence"]
  }
}
