internal import Checkpoints
internal import ControlProtocol
internal import Planning
internal import Settings
internal import System
internal import Telemetry

/// Turns workers' reports into the run's records: `metrics.jsonl`, `events.jsonl`, `mfu.log`.
///
/// A step is recorded once it is committed. The record of a step that a validation follows waits
/// for it, so that one line holds both.
final class RunRecorder {
  private let folder: RunFolder
  private let plan: ResolvedPlan
  private let program: PhaseProgram
  private let source: TrainingSource
  private let flops: ModelFlops
  private let metrics: MetricsWriter
  private let events: EventWriter
  private let mfuLog: MFULogWriter
  private let board: TensorBoardWriter
  /// Real tokens of all steps up to a position, for positions right after a step. Kept by position
  /// because a run may be rewound, and a checkpoint may stand before the newest step.
  private var totals: [Int: UInt64] = [:]
  private var recordedPosition: Int
  /// By position, then by worker.
  private var reports: [Int: [Int: OperationReport]] = [:]
  private var names: [Int: String] = [:]
  private var peaks: [Int: WorkerPeak] = [:]
  private var waiting: StepRecord?
  /// Records that could not be written yet, oldest first.
  private var unwritten: [StepRecord] = []
  /// A disk that stays full this long loses records; the steps stay exact.
  private static let unwrittenCountMax = 4096
  private var lastCommitSeconds: Double
  /// Set when a step passed the measured peak, which is then too low: the processor was slower
  /// when it was probed. Cleared by ``takeProbeWish()``.
  private var wishesProbe = false
  private var keptSeconds = 0.0
  /// Whether there has been a worker ever since the last view began.
  private var isManned = false
  /// Milliseconds since 1970 when the run first started.
  private let firstStartMilliseconds: Int64

  init(folder: RunFolder, program: PhaseProgram, source: TrainingSource) throws(CoordinatorEnd) {
    self.folder = folder
    plan = folder.plan
    self.program = program
    self.source = source
    flops = ModelFlops(plan.model)
    recordedPosition = folder.start.checkpointPosition ?? 0
    lastCommitSeconds = Clock.monotonicSeconds
    do {
      metrics = try MetricsWriter(runDirectory: folder.path)
      events = try EventWriter(runDirectory: folder.path)
      mfuLog = try MFULogWriter(
        runDirectory: folder.path, outline: Telemetry.RunOutline(folder.plan))
      board = try TensorBoardWriter(
        runDirectory: folder.path, unixMilliseconds: Clock.unixMilliseconds, host: Host.name,
        process: currentProcessIdentifier)
      let reader = try RunReader(runDirectory: folder.path)
      _ = try reader.update()
      let first = reader.events.first.flatMap { Timestamp.unixMilliseconds($0.time) }
      firstStartMilliseconds = first ?? Clock.unixMilliseconds
      keptSeconds = reader.log.records.reduce(0) { $0 + $1.seconds }
      for record in reader.log.records { noteTotal(of: record) }
      if let position = folder.start.checkpointPosition {
        totals[position] = folder.start.tokensTotal
      }
    } catch {
      throw CoordinatorEnd(kind: .failed, message: "\(error)", code: 74)
    }
    event(
      folder.start.isResumed ? .resumed : .started,
      folder.start.isResumed
        ? "resumed at position \(folder.start.committedPosition) of \(program.operationCount)"
        : "started, \(program.operationCount) operations")
  }

  // MARK: Events

  func event(
    _ kind: RunEvent.Kind, _ text: String, node: String? = nil, step: Int? = nil,
    fromStep: Int? = nil, view: Int? = nil
  ) {
    let time = Timestamp.text(unixMilliseconds: Clock.unixMilliseconds)
    try? events.append(
      RunEvent(
        kind, run: plan.name, time: time, step: step, fromStep: fromStep, node: node, view: view,
        text: text))
    writeText("\(time) \(kind.rawValue): \(text)\n", to: 2)
  }

  func rewind(from: Int, to: Int) {
    let before = program.progress(at: from).steps
    let after = program.progress(at: to).steps
    event(
      .rewound, "every holder of the state after step \(before) is gone; back to step \(after)",
      step: after, fromStep: before)
    recordedPosition = min(recordedPosition, to)
    reports = [:]
    waiting = nil
  }

  func beginView(_ resumption: Resumption) {
    let slices = resumption.slices.map { "\($0.count)" }.joined(separator: "+")
    event(
      .viewChanged,
      "view \(resumption.view): \(resumption.members.map(\.name).joined(separator: ", ")) "
        + "(slices \(slices)) at position \(resumption.position)",
      view: resumption.view)
    reports = reports.filter { $0.key < resumption.position }
    // A step's seconds include what a change of view cost it, but not the wait for workers.
    if !isManned { lastCommitSeconds = Clock.monotonicSeconds }
    isManned = true
  }

  // MARK: Peaks

  func notePeak(
    worker: Int, hello: WorkerHello, peakNominalGigaflops: Double?, gigaflops: Double,
    cores: String
  ) {
    peaks[worker] = WorkerPeak(
      host: hello.host, threadCount: hello.threadCount, cores: CoreList.numbers(cores),
      coreCount: hello.coreCount, measured: max(peaks[worker]?.measured ?? 0, gigaflops),
      nominal: peakNominalGigaflops)
  }

  /// Whether the peak should be probed again; asks once.
  func takeProbeWish() -> Bool {
    defer { wishesProbe = false }
    return wishesProbe
  }

  func forget(worker: Int) {
    peaks[worker] = nil
    if peaks.isEmpty { isManned = false }
  }

  private var peakMeasured: Double? { WorkerPeak.measured(Array(peaks.values)) }
  private var peakNominal: Double? { WorkerPeak.nominal(Array(peaks.values)) }

  // MARK: Steps

  func take(_ report: OperationReport, from worker: Int, name: String) {
    guard report.position >= recordedPosition else { return }
    names[worker] = name
    reports[report.position, default: [:]][worker] = report
  }

  /// Records every operation before `position` that is not recorded yet.
  ///
  /// Where several are committed at once, the time since the last commit is shared out as the
  /// workers' own clocks have it.
  func commit(upTo position: Int) {
    guard recordedPosition < position else { return }
    let now = Clock.monotonicSeconds
    let found = (recordedPosition..<position).map { reports.removeValue(forKey: $0) ?? [:] }
    let weights = found.map { $0.values.map(\.time.total).max() ?? 0 }
    let sum = weights.reduce(0, +)
    for (reports, weight) in zip(found, weights) {
      let share = sum > 0 ? weight / sum : 1 / Double(found.count)
      record(recordedPosition, reports, seconds: (now - lastCommitSeconds) * share)
      recordedPosition += 1
    }
    lastCommitSeconds = now
    let next = program.operation(at: position)
    if case .validate = next {} else { flush() }
  }

  /// Real tokens of the steps before `position`.
  func tokensTotal(at position: Int) -> UInt64 {
    // At most validations lie between a position and the step before it.
    for before in stride(from: position, to: 0, by: -1) {
      if let total = totals[before] { return total }
    }
    return 0
  }

  private func noteTotal(of record: StepRecord) {
    guard let phase = plan.phases.firstIndex(where: { $0.name == record.phase }),
      let position = program.position(afterStep: record.step - 1, ofPhase: phase)
    else { return }
    totals[position] = UInt64(max(record.tokensTotal, 0))
  }

  /// Writes the record that waits for a validation, if any, after those that found no room.
  func flush() {
    if let record = waiting { unwritten.append(record) }
    waiting = nil
    while let record = unwritten.first {
      do {
        try metrics.append(record)
      } catch {
        unwritten = unwritten.suffix(Self.unwrittenCountMax)
        return writeText(
          "records cannot be written, \(unwritten.count) wait: \(error)\n", to: 2)
      }
      unwritten.removeFirst()
      do {
        try mfuLog.append(record)
        try board.append(record, globalStep: globalStep(record))
      } catch {
        writeText("views of the records cannot be written: \(error)\n", to: 2)
      }
    }
  }

  /// Steps of all phases counted through.
  private func globalStep(_ record: StepRecord) -> Int {
    let before = plan.phases.prefix { $0.name != record.phase }
    return before.reduce(record.step) { $0 + $1.steps }
  }

  /// Writes what is pending and waits until it is on the disk.
  func finish(_ kind: RunEvent.Kind, _ text: String) {
    flush()
    event(kind, text)
    try? mfuLog.finish()
    try? metrics.synchronize()
    try? events.synchronize()
  }

  private func record(_ position: Int, _ reports: [Int: OperationReport], seconds: Double) {
    guard let any = reports.min(by: { $0.key < $1.key })?.value else { return }
    checkAgreement(reports, any)
    switch program.operation(at: position) {
    case .train(let phase, let step):
      flush()
      waiting = stepRecord(phase, step, any, reports, seconds: seconds)
    case .validate(let phase, let afterStep, let isFull):
      addValidation(phase, afterStep, any, isFull: isFull)
    case .end: break
    }
  }

  /// All members computed the same numbers, or the run is not exact and says so.
  private func checkAgreement(_ reports: [Int: OperationReport], _ any: OperationReport) {
    for (worker, report) in reports
    where report.lossSum.bitPattern != any.lossSum.bitPattern
      || report.gradientNorm.bitPattern != any.gradientNorm.bitPattern
    {
      event(
        .warning,
        "workers disagree at position \(any.position): \(names[worker] ?? "?") has loss "
          + "\(report.loss), norm \(report.gradientNorm); another \(any.loss), "
          + "\(any.gradientNorm). One of them computes wrongly.")
    }
  }

  private func stepRecord(
    _ phase: Int, _ step: Int, _ any: OperationReport, _ reports: [Int: OperationReport],
    seconds: Double
  ) -> StepRecord {
    let tokens = Int(any.tokenCount)
    let total = tokensTotal(at: any.position) + UInt64(max(tokens, 0))
    totals[any.position + 1] = total
    keptSeconds += seconds
    var record = StepRecord(
      run: plan.name, phase: plan.phases[phase].name, step: step + 1,
      time: Timestamp.text(unixMilliseconds: Clock.unixMilliseconds), loss: any.loss,
      gradNorm: any.gradientNorm, learningRate: any.learningRate, skipped: any.isSkipped,
      tokens: tokens, tokensTotal: Int(clamping: total), seconds: seconds,
      flopsPerToken: flops.perToken, flopsFormula: flops.formula, workers: reports.count,
      view: any.view, secondsBy: meanTime(reports, seconds: seconds),
      nodes: reports.sorted { $0.key < $1.key }.map { worker, report in
        node(worker, report, tokens: tokens)
      })
    record.setPeaks(
      nominalGigaflops: peakNominal, measuredGigaflops: peakMeasured,
      causalFlopsPerToken: flops.perTokenCausal)
    if let share = record.mfuMeasuredCausal, share > 1 { wishesProbe = true }
    record.slicesRecomputed = reports.values.reduce(0) { $0 + $1.recomputedCount }
    record.exchangeHidden =
      reports.values.reduce(0) { $0 + $1.time.hiddenExchange } / Double(reports.count)
    let elapsed = Double(Clock.unixMilliseconds - firstStartMilliseconds) / 1000
    record.goodput = elapsed > 0 ? min(1, keptSeconds / elapsed) : 1
    if any.isSkipped {
      event(
        .stepSkipped, "step \(step + 1): gradient norm \(any.gradientNorm), "
          + "\(tokens) tokens; weights stay", step: step + 1)
    }
    return record
  }

  private func node(_ worker: Int, _ report: OperationReport, tokens: Int) -> StepRecord.Node {
    let share = Double(report.sliceCount) / Double(plan.batch.slices)
    let busy = max(report.time.forward + report.time.backward, 1e-9)
    return StepRecord.Node(
      name: names[worker] ?? "w\(worker)", seconds: report.time.total,
      wait: report.time.wait + report.time.exchange,
      gflops: share * Double(tokens) * flops.perTokenCausal / busy / 1e9)
  }

  /// Mean over workers, fitted to the step's seconds.
  private func meanTime(
    _ reports: [Int: OperationReport], seconds: Double
  ) -> StepRecord.SecondsBy {
    var mean = StepRecord.SecondsBy()
    let count = Double(reports.count)
    for report in reports.values {
      mean.data += report.time.data / count
      mean.forward += report.time.forward / count
      mean.backward += report.time.backward / count
      mean.exchange += report.time.exchange / count
      mean.wait += report.time.wait / count
      mean.optimizer += report.time.optimizer / count
      mean.checkpoint += report.time.checkpoint / count
    }
    return mean.fitted(to: seconds)
  }

  private func addValidation(
    _ phase: Int, _ afterStep: Int, _ report: OperationReport, isFull: Bool
  ) {
    let coverage = source.coverage(phase: phase, isFull: isFull)
    waiting?.validationLoss = report.loss
    waiting?.validationTokens = Int(report.tokenCount)
    if coverage.byteCount > 0 {
      waiting?.validationBitsPerByte =
        report.lossSum / 0.693_147_180_559_945_3 / Double(coverage.byteCount)
    }
    flush()
  }
}
