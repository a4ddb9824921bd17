/// Where a run stands and what it made of its hardware: the figures of the tail report.
public struct RunSummary: Codable, Equatable, Sendable {
  /// One worker over the recent steps.
  public struct Node: Codable, Equatable, Sendable {
    public var name: String
    /// Means per step.
    public var seconds: Double
    public var wait: Double
    public var gflops: Double
  }

  /// What a phase that only evaluates came to.
  public struct Evaluation: Codable, Equatable, Sendable {
    public var phase: String
    /// Nats per token.
    public var loss: Double
    public var bitsPerByte: Double?
  }

  public var run: String
  /// Whether the run said that it finished or stopped.
  public var isEnded: Bool
  /// Whether it stopped with work left.
  public var isStopped: Bool
  public var phase: String
  /// Steps of the phase that were taken, and how many it has.
  public var step: Int
  public var stepCount: Int?
  public var workers: Int
  public var view: Int
  public var flopsPerToken: Double
  public var flopsFormula: String
  public var peakNominalGflops: Double?
  public var peakMeasuredGflops: Double?
  /// Over all steps of the phase: sum of tokens / sum of seconds, and the MFU of that rate.
  public var tokens: Int
  public var seconds: Double
  public var tokensPerS: Double
  public var mfuNominal: Double?
  public var mfuMeasured: Double?
  public var mfuNominalCausal: Double?
  public var mfuMeasuredCausal: Double?
  /// Of single steps, against the nominal peak where it is known, else the measured one.
  public var mfuP10: Double?
  public var mfuP90: Double?
  public var lossFirst: Double?
  public var lossLast: Double?
  public var gradNorm: Double?
  public var validationLoss: Double?
  public var validationBitsPerByte: Double?
  public var validationStep: Int?
  public var validationCount: Int
  /// Validations of phases that take no steps.
  public var evaluations: [Evaluation]
  /// Shares of the phase's seconds.
  /// What the phase tells of its latest step besides, by name.
  public var figures: [String: Double]
  /// Share of the phase's time, steps and answers, that went into answers; and into passing them on
  /// and waiting, as a share of the same. nil where there are none.
  public var rolloutShare: Double?
  public var rolloutExchangeShare: Double?
  public var secondsBy: StepRecord.SecondsBy
  public var exchangeHidden: Double
  public var tokensTotal: Int
  public var goodput: Double?
  public var slicesRecomputed: Int
  public var stepsSkipped: Int
  public var stepsRepeated: Int
  /// Repeated steps whose loss or norm differed: 0 for an exact run.
  public var stepsDiffering: Int
  public var workersLost: Int
  public var etaSeconds: Double?
  public var nodes: [Node]

  /// - Returns: nil before the first step.
  public init?(_ log: StepLog, events: [RunEvent], outline: RunOutline?) {
    let all = log.records
    guard let latest = all.last(where: { !$0.isEvaluation }) else { return nil }
    let records = all.filter { $0.phase == latest.phase }
    func sum(_ value: (StepRecord) -> Double) -> Double { records.reduce(0) { $0 + value($1) } }
    let seconds = sum(\.seconds)
    let tokens = saturatingSum(records.map(\.tokens))
    let rate = seconds > 0 ? Double(tokens) / seconds : 0
    func mean(_ value: (StepRecord) -> Double?) -> Double? {
      guard seconds > 0, value(latest) != nil else { return nil }
      return sum { (value($0) ?? 0) * $0.seconds } / seconds
    }

    run = latest.run
    let ends: [RunEvent.Kind] = [.finished, .stopped]
    let begins: [RunEvent.Kind] = [.started, .resumed]
    let last = events.last { (ends + begins).contains($0.event) }?.event
    isEnded = last.map(ends.contains) ?? false
    isStopped = last == .stopped
    phase = latest.phase
    step = latest.step
    stepCount = outline?.stepCount(ofPhase: latest.phase)
    workers = latest.workers
    view = latest.view
    flopsPerToken = latest.flopsPerToken
    flopsFormula = latest.flopsFormula
    peakNominalGflops = latest.peakNominalGigaflops
    peakMeasuredGflops = latest.peakMeasuredGigaflops
    self.tokens = tokens
    self.seconds = seconds
    tokensPerS = rate
    mfuNominal = mean(\.mfuNominal)
    mfuMeasured = mean(\.mfuMeasured)
    mfuNominalCausal = mean(\.mfuNominalCausal)
    mfuMeasuredCausal = mean(\.mfuMeasuredCausal)
    let single = records.compactMap { $0.mfuNominal ?? $0.mfuMeasured }.filter(\.isFinite).sorted()
    mfuP10 = single.isEmpty ? nil : single[(single.count - 1) / 10]
    mfuP90 = single.isEmpty ? nil : single[(single.count - 1) * 9 / 10]
    lossFirst = records.first.flatMap { $0.loss.isFinite ? $0.loss : nil }
    lossLast = latest.loss.isFinite ? latest.loss : nil
    gradNorm = latest.gradNorm.isFinite ? latest.gradNorm : nil
    let validated = records.filter { $0.validationLoss != nil }
    validationLoss = validated.last?.validationLoss
    validationBitsPerByte = validated.last?.validationBitsPerByte
    validationStep = validated.last.map { $0.step }
    validationCount = validated.count
    evaluations = all.filter(\.isEvaluation).compactMap { record in
      record.validationLoss.map {
        Evaluation(phase: record.phase, loss: $0, bitsPerByte: record.validationBitsPerByte)
      }
    }
    figures = latest.extra
    let costs = PhaseSummary(latest.phase, records)
    rolloutShare = costs?.rolloutShare
    rolloutExchangeShare = costs?.rolloutExchangeShare
    secondsBy = Self.shares(records, seconds)
    exchangeHidden = seconds > 0 ? sum(\.exchangeHidden) / seconds : 0
    tokensTotal = latest.tokensTotal
    goodput = latest.goodput.isFinite ? latest.goodput : nil
    slicesRecomputed = saturatingSum(
      records.map(\.slicesRecomputed)
        + records.iterations.map {
          Int(exactly: $0.extra["rollout_slices_recomputed"] ?? 0) ?? 0
        })
    stepsSkipped = records.count { $0.skipped }
    stepsRepeated = log.repeatedCount
    stepsDiffering = log.differences.count
    workersLost = events.count { $0.event == .workerLost }
    var pace = Pace()
    for record in records.suffix(50) { pace.append(record.seconds) }
    etaSeconds = pace.secondsLeft(
      steps: outline?.remainingSteps(afterPhase: latest.phase, step: latest.step))
    nodes = Self.nodes(records.suffix(50))
  }

  private static func shares(
    _ records: [StepRecord], _ seconds: Double
  ) -> StepRecord.SecondsBy {
    var result = StepRecord.SecondsBy()
    guard seconds > 0 else { return result }
    for cause in StepRecord.SecondsBy.causes {
      result[keyPath: cause] =
        records.reduce(0) { $0 + $1.secondsBy[keyPath: cause] } / seconds
    }
    return result
  }

  private static func nodes(_ records: some Collection<StepRecord>) -> [Node] {
    var sums: [String: (count: Double, node: Node)] = [:]
    for node in records.flatMap(\.nodes) {
      var (count, sum) = sums[node.name]
        ?? (0, Node(name: node.name, seconds: 0, wait: 0, gflops: 0))
      count += 1
      sum.seconds += node.seconds
      sum.wait += node.wait
      sum.gflops += node.gflops
      sums[node.name] = (count, sum)
    }
    return sums.values.map { count, sum in
      Node(
        name: sum.name, seconds: sum.seconds / count, wait: sum.wait / count,
        gflops: sum.gflops / count)
    }.sorted { $0.name < $1.name }
  }
}
