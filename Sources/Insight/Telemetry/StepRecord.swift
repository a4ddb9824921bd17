/// What is known of one step: one line of `metrics.jsonl`, the source of every other view.
///
/// Every line has every key; what does not apply is null. A number that is not finite is null too
/// and reads back as NaN. Doubles are printed so that they read back exactly: `loss` and
/// `grad_norm` are part of the promise that a run is a function of its plan.
public struct StepRecord: Equatable, Sendable {
  /// Where the time of a step went: mean over workers of the seconds a core was exposed to it.
  /// The parts sum to ``StepRecord/seconds`` within 2 %.
  public struct SecondsBy: Codable, Equatable, Sendable {
    public var data = 0.0
    public var forward = 0.0
    public var backward = 0.0
    public var exchange = 0.0
    public var wait = 0.0
    public var optimizer = 0.0
    public var checkpoint = 0.0
    public var other = 0.0
    public init() {}

    public var total: Double {
      data + forward + backward + exchange + wait + optimizer + checkpoint + other
    }

    /// The same causes over a step that took `seconds`: what is left is `other`. Causes are
    /// measured by workers, the step by the arrival of their reports; where a late report makes
    /// the next step look shorter than its causes, these shrink with it.
    public func fitted(to seconds: Double) -> SecondsBy {
      var result = self
      if total <= seconds {
        result.other += seconds - total
      } else {
        for cause in Self.causes { result[keyPath: cause] *= seconds / total }
      }
      return result
    }

    static var causes: [WritableKeyPath<SecondsBy, Double>] {
      [\.data, \.forward, \.backward, \.exchange, \.wait, \.optimizer, \.checkpoint, \.other]
    }
  }

  /// One worker's part in a step.
  public struct Node: Codable, Equatable, Sendable {
    public var name: String
    /// Seconds the worker took for the step.
    public var seconds: Double
    /// Of those, seconds it waited for others.
    public var wait: Double
    /// Its arithmetic rate over those seconds, GFLOP/s.
    public var gflops: Double
    public init(name: String, seconds: Double, wait: Double, gflops: Double) {
      self.name = name
      self.seconds = seconds
      self.wait = wait
      self.gflops = gflops
    }
  }

  public var run: String
  public var phase: String
  /// Steps of the phase that were taken, this one included: 1 for the first, as in the names of
  /// checkpoints; 0 for the validation of a phase that takes no steps.
  public var step: Int
  /// RFC 3339 UTC with milliseconds, see ``Timestamp``.
  public var time: String
  /// Mean over the step's valid tokens, nats.
  public var loss: Double
  public var validationLoss: Double?
  public var validationBitsPerByte: Double?
  public var validationTokens: Int?
  /// Norm of the whole gradient before clipping.
  public var gradNorm: Double
  public var learningRate: Double
  public var skipped: Bool
  /// Real tokens of this step, all workers.
  public var tokens: Int
  /// Real tokens since the run began, this step included.
  public var tokensTotal: Int
  /// Wall time since the commit before, validation apart.
  public var seconds: Double
  public var tokensPerSecond: Double
  /// By the PaLM formula.
  public var flopsPerToken: Double
  /// The formula in words and numbers.
  public var flopsFormula: String
  /// Fractions of the peaks, PaLM formula; nil where the peak is unknown.
  public var mfuNominal: Double?
  public var mfuMeasured: Double?
  /// The same with the attention term halved: the work really done.
  public var mfuNominalCausal: Double?
  public var mfuMeasuredCausal: Double?
  /// All workers together, GFLOP/s.
  public var peakNominalGigaflops: Double?
  public var peakMeasuredGigaflops: Double?
  public var workers: Int
  public var view: Int
  /// Slices computed again because a worker was lost.
  public var slicesRecomputed: Int
  public var secondsBy: SecondsBy
  /// Mean over workers of the seconds of exchange that passed while the cores computed.
  public var exchangeHidden: Double
  public var nodes: [Node]
  /// Seconds of steps that were kept / seconds since the run first started.
  public var goodput: Double
  /// What a phase adds of its own, by key.
  public var extra: [String: Double]

  public init(
    run: String, phase: String, step: Int, time: String, loss: Double, gradNorm: Double,
    learningRate: Double, skipped: Bool, tokens: Int, tokensTotal: Int, seconds: Double,
    flopsPerToken: Double, flopsFormula: String, workers: Int, view: Int,
    secondsBy: SecondsBy = SecondsBy(), nodes: [Node] = [], extra: [String: Double] = [:]
  ) {
    self.run = run
    self.phase = phase
    self.step = step
    self.time = time
    self.loss = loss
    self.gradNorm = gradNorm
    self.learningRate = learningRate
    self.skipped = skipped
    self.tokens = tokens
    self.tokensTotal = tokensTotal
    self.seconds = seconds
    self.tokensPerSecond = seconds > 0 ? Double(tokens) / seconds : 0
    self.flopsPerToken = flopsPerToken
    self.flopsFormula = flopsFormula
    self.workers = workers
    self.view = view
    self.slicesRecomputed = 0
    self.secondsBy = secondsBy
    self.exchangeHidden = 0
    self.nodes = nodes
    self.goodput = 1
    self.extra = extra
  }

  /// Whether it tells of a validation that no step comes before: the phase takes none.
  public var isEvaluation: Bool { step == 0 }

  /// Whether it is `other`, of a step that was taken once, with a validation added: the record of a
  /// step is written again when the validation that follows is done. Where that one closes a gate,
  /// the phase's last follows it, and takes its place.
  public func completes(_ other: StepRecord) -> Bool {
    (phase, step, time) == (other.phase, other.step, other.time) && isValidated
  }

  /// Whether both are the same line of `metrics.jsonl`, where a number that is none equals itself.
  public func standsLike(_ other: StepRecord) -> Bool {
    guard let line = try? jsonLine(self) else { return false }
    return line == (try? jsonLine(other))
  }

  /// Whether a validation followed the step. Not every one has a loss.
  public var isValidated: Bool { validationTokens != nil || validationLoss != nil }

  /// A step's share of the answers that its iteration learns from.
  public struct Rollout: Equatable, Sendable {
    public var flops: Double
    /// The attention term halved.
    public var causalFlops: Double
    public var seconds: Double

    public init(flops: Double, causalFlops: Double, seconds: Double) {
      self.flops = flops
      self.causalFlops = causalFlops
      self.seconds = seconds
    }
  }

  /// Sets the four MFU figures from the record's own rate and the two peaks. With a rollout they
  /// are those of both together, and `mfu_update` is that of the update alone.
  ///
  /// - Parameter causalFlopsPerToken: With the attention term halved.
  public mutating func setPeaks(
    nominalGigaflops: Double?, measuredGigaflops: Double?, causalFlopsPerToken: Double,
    rollout: Rollout? = nil
  ) {
    peakNominalGigaflops = nominalGigaflops
    peakMeasuredGigaflops = measuredGigaflops
    let whole = seconds + (rollout?.seconds ?? 0)
    func fraction(_ perToken: Double, _ besides: Double?, _ peak: Double?) -> Double? {
      MFU.fraction(
        flopsPerToken: perToken * Double(tokens) + (besides ?? 0),
        tokensPerSecond: whole > 0 ? 1 / whole : 0, peakGigaflops: peak)
    }
    mfuNominal = fraction(flopsPerToken, rollout?.flops, nominalGigaflops)
    mfuMeasured = fraction(flopsPerToken, rollout?.flops, measuredGigaflops)
    mfuNominalCausal = fraction(causalFlopsPerToken, rollout?.causalFlops, nominalGigaflops)
    mfuMeasuredCausal = fraction(causalFlopsPerToken, rollout?.causalFlops, measuredGigaflops)
    guard rollout != nil else { return }
    extra["mfu_update"] = MFU.fraction(
      flopsPerToken: flopsPerToken, tokensPerSecond: tokensPerSecond,
      peakGigaflops: nominalGigaflops ?? measuredGigaflops)
  }
}

extension StepRecord: Codable {
  private enum CodingKeys: String, CodingKey, CaseIterable {
    case run, phase, step, time, loss
    case validationLoss = "validation_loss"
    case validationBitsPerByte = "validation_bits_per_byte"
    case validationTokens = "validation_tokens"
    case gradNorm = "grad_norm"
    case learningRate = "learning_rate"
    case skipped, tokens
    case tokensTotal = "tokens_total"
    case seconds
    case tokensPerSecond = "tokens_per_s"
    case flopsPerToken = "flops_per_token"
    case flopsFormula = "flops_formula"
    case mfuNominal = "mfu_nominal"
    case mfuMeasured = "mfu_measured"
    case mfuNominalCausal = "mfu_nominal_causal"
    case mfuMeasuredCausal = "mfu_measured_causal"
    case peakNominalGigaflops = "peak_nominal_gflops"
    case peakMeasuredGigaflops = "peak_measured_gflops"
    case workers, view
    case slicesRecomputed = "slices_recomputed"
    case secondsBy = "seconds_by"
    case exchangeHidden = "exchange_hidden"
    case nodes, goodput
  }

  private struct ExtraKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  /// Names that ``extra`` may not use.
  public static let reservedKeys: Set<String> = Set(CodingKeys.allCases.map(\.rawValue))

  public func encode(to encoder: any Encoder) throws {
    var line = encoder.container(keyedBy: CodingKeys.self)
    func put(_ value: Double?, _ key: CodingKeys) throws {
      try line.encode(value.flatMap { $0.isFinite ? $0 : nil }, forKey: key)
    }
    try line.encode(run, forKey: .run)
    try line.encode(phase, forKey: .phase)
    try line.encode(step, forKey: .step)
    try line.encode(time, forKey: .time)
    try put(loss, .loss)
    try put(validationLoss, .validationLoss)
    try put(validationBitsPerByte, .validationBitsPerByte)
    try line.encode(validationTokens, forKey: .validationTokens)
    try put(gradNorm, .gradNorm)
    try put(learningRate, .learningRate)
    try line.encode(skipped, forKey: .skipped)
    try line.encode(tokens, forKey: .tokens)
    try line.encode(tokensTotal, forKey: .tokensTotal)
    try put(seconds, .seconds)
    try put(tokensPerSecond, .tokensPerSecond)
    try put(flopsPerToken, .flopsPerToken)
    try line.encode(flopsFormula, forKey: .flopsFormula)
    try put(mfuNominal, .mfuNominal)
    try put(mfuMeasured, .mfuMeasured)
    try put(mfuNominalCausal, .mfuNominalCausal)
    try put(mfuMeasuredCausal, .mfuMeasuredCausal)
    try put(peakNominalGigaflops, .peakNominalGigaflops)
    try put(peakMeasuredGigaflops, .peakMeasuredGigaflops)
    try line.encode(workers, forKey: .workers)
    try line.encode(view, forKey: .view)
    try line.encode(slicesRecomputed, forKey: .slicesRecomputed)
    try line.encode(secondsBy, forKey: .secondsBy)
    try put(exchangeHidden, .exchangeHidden)
    try line.encode(nodes, forKey: .nodes)
    try put(goodput, .goodput)
    var more = encoder.container(keyedBy: ExtraKey.self)
    for (key, value) in extra where !Self.reservedKeys.contains(key) {
      try more.encode(value.isFinite ? value : nil, forKey: ExtraKey(stringValue: key))
    }
  }

  public init(from decoder: any Decoder) throws {
    let line = try decoder.container(keyedBy: CodingKeys.self)
    func number(_ key: CodingKeys) throws -> Double {
      try line.decode(Double?.self, forKey: key) ?? .nan
    }
    func optional(_ key: CodingKeys) throws -> Double? {
      try line.decodeIfPresent(Double.self, forKey: key)
    }
    run = try line.decode(String.self, forKey: .run)
    phase = try line.decode(String.self, forKey: .phase)
    step = try line.decode(Int.self, forKey: .step)
    time = try line.decode(String.self, forKey: .time)
    loss = try number(.loss)
    validationLoss = try optional(.validationLoss)
    validationBitsPerByte = try optional(.validationBitsPerByte)
    validationTokens = try line.decodeIfPresent(Int.self, forKey: .validationTokens)
    gradNorm = try number(.gradNorm)
    learningRate = try number(.learningRate)
    skipped = try line.decode(Bool.self, forKey: .skipped)
    tokens = try line.decode(Int.self, forKey: .tokens)
    tokensTotal = try line.decode(Int.self, forKey: .tokensTotal)
    seconds = try number(.seconds)
    tokensPerSecond = try number(.tokensPerSecond)
    flopsPerToken = try number(.flopsPerToken)
    flopsFormula = try line.decode(String.self, forKey: .flopsFormula)
    mfuNominal = try optional(.mfuNominal)
    mfuMeasured = try optional(.mfuMeasured)
    mfuNominalCausal = try optional(.mfuNominalCausal)
    mfuMeasuredCausal = try optional(.mfuMeasuredCausal)
    peakNominalGigaflops = try optional(.peakNominalGigaflops)
    peakMeasuredGigaflops = try optional(.peakMeasuredGigaflops)
    workers = try line.decode(Int.self, forKey: .workers)
    view = try line.decode(Int.self, forKey: .view)
    slicesRecomputed = try line.decode(Int.self, forKey: .slicesRecomputed)
    secondsBy = try line.decode(SecondsBy.self, forKey: .secondsBy)
    exchangeHidden = try number(.exchangeHidden)
    nodes = try line.decode([Node].self, forKey: .nodes)
    goodput = try number(.goodput)
    extra = [:]
    let more = try decoder.container(keyedBy: ExtraKey.self)
    for key in more.allKeys where !Self.reservedKeys.contains(key.stringValue) {
      if let value = try? more.decode(Double.self, forKey: key) { extra[key.stringValue] = value }
    }
  }
}
