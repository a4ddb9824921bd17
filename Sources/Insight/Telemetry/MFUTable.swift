/// The lines of `mfu.log` and of the report: fixed columns, one line per step or per second.
///
/// When steps are shorter than a second, a line stands for all steps since the line before: rates
/// and shares are then taken over their sum, loss and step are the last one's.
struct MFUTable {
  static let header =
    "time     phase    step/of     loss    val   tok/s   MFU% (causal)  peak GF  wk "
    + "| fwd bwd exch wait opt other % |  ETA"
  static let headerInterval = 40

  private let outline: RunOutline?
  private var pace = Pace()
  private var pending: [StepRecord] = []
  private var latest: StepRecord?
  private var lastMilliseconds: Int64?
  private var lineCount = 0

  init(outline: RunOutline?) { self.outline = outline }

  /// Takes a record and returns the lines to write now: none while less than a second has passed
  /// since the line before, else one, with a header above every 40th. A validation that comes after
  /// its step was told gets a line of its own, without the step's rates; no line tells of steps of
  /// two phases.
  mutating func append(_ record: StepRecord) -> [String] {
    defer { latest = record }
    if record.isEvaluation { return flush() + withHeader(validationLine(record), record) }
    if let latest, record.completes(latest) {
      guard !pending.isEmpty else { return withHeader(validationLine(record), record) }
      pending[pending.count - 1] = record
      return []
    }
    let ended = pending.last.map { $0.phase != record.phase } == true ? flush() : []
    pending.append(record)
    pace.append(record.seconds)
    let now = Timestamp.unixMilliseconds(record.time)
    if let now, let last = lastMilliseconds, now >= last, now - last < 1000 { return ended }
    lastMilliseconds = now
    return ended + flush()
  }

  /// The line for the steps that no line has told yet.
  mutating func flush() -> [String] {
    guard let last = pending.last else { return [] }
    defer { pending = [] }
    return withHeader(line(last), last)
  }

  private mutating func withHeader(_ line: String, _ record: StepRecord) -> [String] {
    defer { lineCount += 1 }
    guard lineCount % Self.headerInterval == 0 else { return [line] }
    return Self.preamble(record) + [Self.header, line]
  }

  /// What the figures below it mean: the formula and the peaks.
  static func preamble(_ record: StepRecord) -> [String] {
    func rate(_ gigaflops: Double?) -> String {
      gigaflops.map { "\(NumberText.fixed($0, 1)) GFLOP/s" } ?? "n/a"
    }
    let nominal = rate(record.peakNominalGigaflops)
    let measured = rate(record.peakMeasuredGigaflops)
    let denominator = record.mfuNominal == nil ? "measured (m)" : "nominal (n)"
    return [
      "# run \(record.run)  time UTC  MFU% of the \(denominator) peak; nominal \(nominal), "
        + "measured \(measured)",
      "# \(NumberText.prefixed(record.flopsPerToken))FLOP per token: \(record.flopsFormula)",
    ]
  }

  private func line(_ last: StepRecord) -> String {
    let seconds = pending.reduce(0) { $0 + $1.seconds }
    let tokens = pending.reduce(0) { $0 + Double($1.tokens) }
    let rate = seconds > 0 ? tokens / seconds : last.tokensPerSecond
    let isNominal = last.mfuNominal != nil
    let mfu = mean { isNominal ? $0.mfuNominal : $0.mfuMeasured }
    let causal = mean { isNominal ? $0.mfuNominalCausal : $0.mfuMeasuredCausal }
    let peak = isNominal ? last.peakNominalGigaflops : last.peakMeasuredGigaflops
    let left = outline?.remainingSteps(afterPhase: last.phase, step: last.step)
    let column = NumberText.column
    var text = beginning(last, validated: pending.last(where: \.isValidated))
    text += column(rate < 999_999.5 ? NumberText.grouped(rate) : NumberText.prefixed(rate), 8)
    text += column("\(NumberText.percent(mfu)) (\(NumberText.percent(causal)))", 15)
    text += column(peak.map { "\(NumberText.fixed($0, 0)) \(isNominal ? "n" : "m")" } ?? "n/a", 9)
    text += column("\(last.workers)", 3) + "| " + shares(seconds) + "|  "
    text += NumberText.duration(pace.secondsLeft(steps: left))
    if let others = PhaseCells(last)?.others, !others.isEmpty { text += "  \(others)" }
    let skipped = pending.count { $0.skipped }
    return skipped == 0 ? text : text + "  ! \(skipped) skipped"
  }

  /// Whether `line` ends with the step of `record`.
  func isTold(_ record: StepRecord, by line: String) -> Bool { line.hasPrefix(place(record)) }

  /// Time, phase and step.
  private func place(_ record: StepRecord) -> String {
    let stepCount = outline?.stepCount(ofPhase: record.phase)
    let column = NumberText.column
    return column(String(record.time.dropFirst(11).prefix(8)), 9)
      + column(String(record.phase.prefix(8)), 9)
      + column(stepCount.map { "\(record.step)/\($0)" } ?? "\(record.step)", 12)
  }

  /// Time, phase, step and losses, or what tells more than these.
  private func beginning(_ record: StepRecord, validated: StepRecord?) -> String {
    let cells = PhaseCells(record)
    let loss = record.isEvaluation ? "-" : NumberText.fixed(record.loss, 4)
    let validation = validated?.validationLoss.map { NumberText.fixed($0, 3) } ?? "-"
    let column = NumberText.column
    return place(record)
      + column(cells?.trained ?? loss, 8) + column(cells?.heldBack(validated) ?? validation, 6)
  }

  private func validationLine(_ record: StepRecord) -> String {
    var text = beginning(record, validated: record)
    text += NumberText.column("-", 8) + NumberText.column("-", 15) + NumberText.column("-", 9)
    text += NumberText.column("\(record.workers)", 3) + "| validation"
    if let count = record.validationTokens { text += " of \(count) \(record.extra.lossUnit)s" }
    if let bits = record.validationBitsPerByte {
      text += ", \(NumberText.fixed(bits, 4)) bits per byte"
    }
    return text
  }

  /// Percent of the time by cause; data and checkpoints count as other.
  private func shares(_ seconds: Double) -> String {
    func share(_ part: (StepRecord.SecondsBy) -> Double) -> String {
      let sum = pending.reduce(0) { $0 + part($1.secondsBy) }
      return seconds > 0 ? NumberText.percent(sum / seconds, 0) : "n/a"
    }
    let column = NumberText.column
    return column(share(\.forward), 4) + column(share(\.backward), 4)
      + column(share(\.exchange), 5) + column(share(\.wait), 5) + column(share(\.optimizer), 4)
      + column(share { $0.other + $0.data + $0.checkpoint }, 8)
  }

  /// The mean over the pending steps, weighted by their seconds; nil unless every step has it.
  private func mean(_ value: (StepRecord) -> Double?) -> Double? {
    var sum = 0.0
    var weight = 0.0
    for record in pending {
      guard let value = value(record) else { return nil }
      sum += value * record.seconds
      weight += record.seconds
    }
    return weight > 0 ? sum / weight : nil
  }
}

/// Appends to `mfu.log`, the file that plain `tail -f` shows: one line per step or per second,
/// whichever is rarer, a header every 40 lines, never rewritten.
public final class MFULogWriter {
  private let lines: LineWriter
  private var table: MFUTable

  /// Opens or creates the file in the run's folder, cutting off a torn last line.
  public init(runDirectory: String, outline: RunOutline?) throws(TelemetryError) {
    lines = try LineWriter("\(runDirectory)/\(RunFile.mfuLog)")
    table = MFUTable(outline: outline)
  }

  /// Writes the lines that a process which was killed had not come to.
  ///
  /// - Parameter records: Of the whole run, in their order.
  public func catchUp(with records: [StepRecord]) throws(TelemetryError) {
    var first = records.startIndex
    if !lines.isEmpty {
      // Below the last line that tells of a step stand at most a header and what it means.
      let told = try lines.lastLines(4).reversed().lazy.compactMap { [table] line in
        records.suffix(4096).lastIndex { table.isTold($0, by: line) }
      }.first
      // Lines of another plan's steps, or of nobody knows what.
      guard let told else { return }
      first = told + 1
    }
    for record in records[first...] { try append(record) }
    for line in table.flush() { try lines.append(line) }
  }

  /// Takes a step's record; writes a line if it is time for one.
  public func append(_ record: StepRecord) throws(TelemetryError) {
    for line in table.append(record) { try lines.append(line) }
  }

  /// Writes the line for the last steps. Called when the run ends or pauses.
  public func finish() throws(TelemetryError) {
    for line in table.flush() { try lines.append(line) }
    try lines.synchronize()
  }
}
