internal import Checkpoints
package import ControlProtocol
package import Corpus
internal import Planning
internal import Settings
internal import System
internal import Telemetry

/// Turns workers' reports into the run's records: `metrics.jsonl`, `events.jsonl`, `mfu.log`.
///
/// A step is recorded once it is committed. A validation repeats the record of the step before it
/// with its own figures added: readers keep the last record of a step. A phase that takes no steps
/// gets a record of step 0.
package final class RunRecorder {
  private let folder: RunFolder
  private let plan: ResolvedPlan
  private var program: PhaseProgram { folder.program }
  private let source: TrainingSource
  /// By phase index.
  private let flops: [PhaseFlops]
  private let metrics: MetricsWriter
  private let events: EventWriter
  private let mfuLog: MFULogWriter
  private let board: TensorBoardWriter
  /// Real tokens of all steps up to a position, for positions right after a step. Kept by position
  /// because a run may be rewound, and a checkpoint may stand before the newest step.
  private var totals: [Int: UInt64] = [:]
  /// Seconds of the step before a position, and their sum.
  private var seconds: [Int: Double] = [:]
  private var keptSeconds = 0.0
  /// Operations before it are in the records. After a restart that is more than the newest
  /// checkpoint: workers report again what they did since, which is recorded already.
  private var recordedPosition = 0
  /// By position, then by worker.
  private var reports: [Int: [Int: OperationReport]] = [:]
  private var names: [Int: String] = [:]
  private var peaks: [Int: WorkerPeak] = [:]
  /// The step that was recorded last, for a validation that follows it.
  private var latest: StepRecord?
  private var answers: NewestAnswers
  /// Records that could not be written yet, oldest first.
  private var unwritten: [StepRecord] = []
  /// A disk that stays full this long loses records; the steps stay exact.
  private static let unwrittenCountMax = 4096
  /// Up to when time was given to operations. A commit may come late, and give away what belongs
  /// to the one behind it: then this runs ahead of the clock.
  private var countedSeconds: Double
  /// Whether nothing was committed since the start. Steps may have been taken while there was no
  /// coordinator: the time since its start is not theirs.
  private var isFirstCommit = true
  /// Set when a step passed the measured peak, which is then too low: the processor was slower
  /// when it was probed. Cleared by ``takeProbeWish()``.
  private var wishesProbe = false
  /// Whether there has been a worker ever since the last view began.
  private var isManned = false
  /// Milliseconds since 1970 when the run first started.
  private let firstStartMilliseconds: Int64

  package init(folder: RunFolder, source: TrainingSource) throws(CoordinatorEnd) {
    self.folder = folder
    plan = folder.plan
    self.source = source
    flops = folder.plan.phases.indices.map { PhaseFlops(folder.plan, phase: $0) }
    answers = NewestAnswers(folder.plan)
    countedSeconds = Clock.monotonicSeconds
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
      for record in reader.log.records { note(record) }
      updateViews { try mfuLog.catchUp(with: reader.log.records) }
      if let position = folder.start.checkpointPosition {
        recordedPosition = max(recordedPosition, position)
        totals[position] = folder.start.tokensTotal
      }
    } catch {
      throw CoordinatorEnd(kind: .failed, message: "\(error)", code: 74)
    }
    event(
      folder.start.isResumed ? .resumed : .started,
      folder.start.isResumed
        ? "resumed at position \(folder.start.committedPosition) of "
          + "\(folder.program.operationCount)"
        : "started, \(folder.program.operationCount) operations")
    for passed in folder.passedOver {
      event(.checkpointPassedOver, "checkpoint \(passed.name) passed over: \(passed.reason)")
    }
    for (index, phase) in plan.phases.enumerated() {
      guard let text = source.rowsPassedOver(phase: index) else { continue }
      event(.rowsPassedOver, text, phase: phase.name)
    }
  }

  // MARK: Events

  func event(
    _ kind: RunEvent.Kind, _ text: String, phase: String? = nil, node: String? = nil,
    step: Int? = nil, fromStep: Int? = nil, view: Int? = nil
  ) {
    let time = Timestamp.text(unixMilliseconds: Clock.unixMilliseconds)
    try? events.append(
      RunEvent(
        kind, run: plan.name, time: time, phase: phase, step: step, fromStep: fromStep,
        node: node, view: view,
        text: text))
    writeText("\(time) \(kind.rawValue): \(text)\n", to: 2)
  }

  package func rewind(from: Int, to: Int) {
    let before = program.progress(at: from).steps
    let after = program.progress(at: to).steps
    event(
      .rewound, "every holder of the state after step \(before) is gone; back to step \(after)",
      step: after, fromStep: before)
    forgetRecords(after: to)
    reports = [:]
  }

  /// Steps from `position` on are taken again, and recorded again.
  private func forgetRecords(after position: Int) {
    guard position < recordedPosition else { return }
    recordedPosition = position
    for (later, taken) in seconds where later > position {
      keptSeconds -= taken
      seconds[later] = nil
    }
    latest = nil
  }

  package func beginView(_ resumption: Resumption) {
    forgetRecords(after: resumption.position)
    let slices = resumption.slices.map { "\($0.count)" }.joined(separator: "+")
    event(
      .viewChanged,
      "view \(resumption.view): \(resumption.members.map(\.name).joined(separator: ", ")) "
        + "(slices \(slices)) at position \(resumption.position)",
      view: resumption.view)
    reports = reports.filter { $0.key < resumption.position }
    // A step's seconds include what a change of view cost it, but not the wait for workers.
    if !isManned { countedSeconds = Clock.monotonicSeconds }
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

  package func take(_ report: OperationReport, from worker: Int, name: String) {
    guard report.position >= recordedPosition else { return }
    names[worker] = name
    reports[report.position, default: [:]][worker] = report
  }

  /// Records every operation before `position` that is not recorded yet.
  ///
  /// The time since the last commit is shared out as the workers' own clocks have it. An operation
  /// took no less than its slowest worker says; what that is more than has passed is taken off the
  /// operations behind it, except for those that ran while there was no coordinator.
  package func commit(upTo position: Int) {
    guard recordedPosition < position else { return }
    let now = Clock.monotonicSeconds
    let found = (recordedPosition..<position).map { reports.removeValue(forKey: $0) ?? [:] }
    let weights = found.map { $0.values.map(\.time.total).max() ?? 0 }
    let sum = weights.reduce(0, +)
    let elapsed = max(now - countedSeconds, sum)
    for (reports, weight) in zip(found, weights) {
      let share = sum > 0 ? weight / sum : 1 / Double(found.count)
      record(recordedPosition, reports, seconds: elapsed * share)
      recordedPosition += 1
    }
    countedSeconds = isFirstCommit ? now : countedSeconds + elapsed
    isFirstCommit = false
    flush()
  }

  /// Real tokens of the steps before `position`.
  ///
  /// What the records lack (the disk was full, or lost them) is counted from the tokens themselves:
  /// a step's tokens follow from the plan and the data.
  package func tokensTotal(at position: Int) throws(CorpusError) -> UInt64 {
    var missing: UInt64 = 0
    var before = position
    while before > 0 {
      if let total = totals[before] { return total + missing }
      if let gap = program.gaps[before] {
        before = gap
        continue
      }
      missing += UInt64(try source.trainingTokenCount(at: before - 1))
      before -= 1
    }
    return missing
  }

  /// Takes a record of an earlier start.
  private func note(_ record: StepRecord) {
    guard let phase = plan.phases.firstIndex(where: { $0.name == record.phase }),
      let position = program.position(afterStep: record.step - 1, ofPhase: phase)
    else { return }
    totals[position] = UInt64(max(record.tokensTotal, 0))
    keep(seconds: record.seconds.isFinite ? record.seconds : 0, at: position)
    // The steps to come may learn from the same answers.
    answers.take(record.extra.filter { Measures.rolloutNames.contains($0.key) }, ofPhase: phase)
    // A validation comes right behind its step, but the one behind a gate.
    let behind = record.isValidated ? position + 1 : position
    recordedPosition = program.endOfGap(at: behind) ?? behind
    latest = record
  }

  /// Writes the records that are pending, oldest first.
  private func flush() {
    while let record = unwritten.first {
      do {
        try metrics.append(record)
      } catch {
        unwritten = unwritten.suffix(Self.unwrittenCountMax)
        return writeText(
          "records cannot be written, \(unwritten.count) wait: \(error)\n", to: 2)
      }
      unwritten.removeFirst()
      updateViews {
        try mfuLog.append(record)
        try board.append(record, globalStep: globalStep(record))
      }
    }
  }

  /// Whatever they lack, the records have it.
  private func updateViews(_ update: () throws -> Void) {
    do { try update() } catch {
      writeText("views of the records cannot be written: \(error)\n", to: 2)
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
    // What a gate left out was not done.
    guard program.endOfGap(at: position) == nil else { return }
    if let any = reports.min(by: { $0.key < $1.key })?.value {
      checkAgreement(reports, any)
      checkClocks(reports)
      switch program.operation(at: position) {
      case .train(let phase, let step):
        let record = stepRecord(phase, step, any, reports, seconds: seconds)
        latest = record
        unwritten.append(record)
      case .validate(let phase, let afterStep, let isFull):
        addValidation(phase, afterStep, any, reports, isFull: isFull, seconds: seconds)
      case .rollout(let phase, let iteration):
        noteRollout(phase, iteration, any, reports, seconds: seconds)
      case .enter, .end: break
      }
    }
    noteBoundary(behind: position)
  }

  /// Tells what comes now, where that takes long or is another phase.
  private func noteBoundary(behind position: Int) {
    let phase = program.phase(at: position)
    let next = program.endOfGap(at: position + 1) ?? position + 1
    if let phase, program.phase(at: next) != phase {
      let name = plan.phases[phase].name
      event(.phaseEnded, "phase \(name) is done", phase: name)
    } else if case .validate(let phase, let afterStep, isFull: true) =
      program.operation(at: next)
    {
      let extent = source.extent(phase: phase, isFull: true)
      event(
        .validating, "validating after step \(afterStep), on \(extent)",
        phase: plan.phases[phase].name, step: afterStep)
    }
  }

  /// A worker's causes add up to the time it took, or its clock or its bookkeeping is wrong.
  private func checkClocks(_ reports: [Int: OperationReport]) {
    for (worker, report) in reports where report.time.known > 1.02 * report.time.total + 0.001 {
      event(
        .warning,
        "\(names[worker] ?? "?") accounts for \(report.time.known) s of an operation that took "
          + "\(report.time.total) s (position \(report.position))")
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
    let kind = plan.phases[phase].kind
    let tokens = kind.readsExamples
      ? Int(exactly: any.measures[Measures.tokens].rounded()) ?? 0 : Int(any.tokenCount)
    noteStep(any, tokens, seconds: seconds)
    var record = StepRecord(
      run: plan.name, phase: plan.phases[phase].name, step: step + 1,
      time: Timestamp.text(unixMilliseconds: Clock.unixMilliseconds), loss: any.loss,
      gradNorm: any.gradientNorm, learningRate: any.learningRate, skipped: any.isSkipped,
      tokens: tokens, tokensTotal: Int(clamping: totals[any.position + 1] ?? 0),
      seconds: seconds,
      flopsPerToken: flops[phase].perToken, flopsFormula: flops[phase].formula,
      workers: reports.count, view: any.view, secondsBy: meanTime(reports, seconds: seconds),
      nodes: reports.sorted { $0.key < $1.key }.map { worker, report in
        node(worker, report, phase, tokens: tokens)
      })
    record.extra = kind.figures(any.measures, count: any.tokenCount)
    if reports.count > 1 { record.extra["exchange_bytes"] = Double(byteCount(reports)) }
    let answered = answers.figures(ofPhase: phase, step: step)
    record.extra.merge(answered) { figure, _ in figure }
    record.setPeaks(
      nominalGigaflops: peakNominal, measuredGigaflops: peakMeasured,
      causalFlopsPerToken: flops[phase].perTokenCausal,
      rollout: answers.share(of: answered, phase: phase))
    if let peakMeasured, seconds > 0,
      flops[phase].perTokenCausal * Double(tokens) > peakMeasured * 1e9 * seconds
    {
      wishesProbe = true
    }
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

  /// What is known of the answers that the steps to come learn from.
  private func noteRollout(
    _ phase: Int, _ iteration: Int, _ report: OperationReport,
    _ reports: [Int: OperationReport], seconds: Double
  ) {
    keep(seconds: seconds, at: report.position + 1)
    let time = meanTime(reports, seconds: seconds)
    let cost = PhaseCost(plan, phase: phase).rollout
    let recomputedCount = recomputedCount(reports)
    let figures = Measures.rolloutFigures(
      report.measures,
      Measures.RolloutCosts(
        iteration: iteration, tokenCount: report.tokenCount, seconds: seconds,
        exchangeSeconds: time.exchange + time.wait, byteCount: byteCount(reports),
        flopsPerToken: cost, recomputedCount: recomputedCount))
    if let change = answers.brakeChange(to: figures, ofPhase: phase) {
      event(.brake, change, phase: plan.phases[phase].name)
    }
    answers.take(figures, ofPhase: phase)
    func figure(_ name: String) -> String { Figures.fixed(figures[name] ?? 0, 3) }
    let ranking = plan.phases[phase].reinforcesPolicy
      ? "KL \(figure("kl"))"
      : "ranked rightly \(figure("fresh_accuracy")), ties \(figure("fresh_ties"))"
    event(
      .answered,
      "iteration \(iteration + 1): reward \(figure("reward")), length \(figure("length")), "
        + "ended \(figure("ended")), entropy \(figure("entropy")), \(ranking)"
        + (recomputedCount > 0
          ? ", \(recomputedCount) of \(plan.batch.slices) slices dealt again" : ""),
      phase: plan.phases[phase].name)
    noteUnscored(figures, "iteration \(iteration + 1)", phase: plan.phases[phase].name)
  }

  /// Says so where a judge gave answers no finite score.
  private func noteUnscored(_ figures: [String: Double], _ place: String, phase: String) {
    guard let count = figures["rewards_not_finite"], count > 0 else { return }
    event(
      .warning,
      "\(place): rewards that are not finite, and count as 0: \(Figures.fixed(count, 0))",
      phase: phase)
  }

  private func recomputedCount(_ reports: [Int: OperationReport]) -> Int {
    reports.values.reduce(0) { $0 + $1.recomputedCount }
  }

  /// What workers sent one another, all together.
  private func byteCount(_ reports: [Int: OperationReport]) -> Int {
    reports.values.reduce(0) { $0 + $1.byteCount }
  }

  private func noteStep(_ report: OperationReport, _ tokens: Int, seconds: Double) {
    keep(seconds: seconds, at: report.position + 1)
    // Tokens that cannot be read end the run as soon as a worker or a checkpoint needs them.
    guard let before = try? tokensTotal(at: report.position) else { return }
    totals[report.position + 1] = before + UInt64(max(tokens, 0))
  }

  private func keep(seconds taken: Double, at position: Int) {
    keptSeconds += taken - (seconds.updateValue(taken, forKey: position) ?? 0)
  }

  private func node(
    _ worker: Int, _ report: OperationReport, _ phase: Int, tokens: Int
  ) -> StepRecord.Node {
    let share = Double(report.sliceCount) / Double(plan.batch.slices)
    let busy = max(report.time.forward + report.time.backward, 1e-9)
    return StepRecord.Node(
      name: names[worker] ?? "w\(worker)", seconds: report.time.total,
      wait: report.time.wait + report.time.exchange,
      gflops: share * Double(tokens) * flops[phase].perTokenCausal / busy / 1e9)
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
    _ phase: Int, _ afterStep: Int, _ report: OperationReport,
    _ reports: [Int: OperationReport], isFull: Bool, seconds: Double
  ) {
    let name = plan.phases[phase].name
    if latest?.phase != name || latest?.step != afterStep { latest = recorded(name, afterStep) }
    var record = latest ?? validationRecord(phase, afterStep, report, reports, seconds: seconds)
    let coverage = source.coverage(phase: phase, isFull: isFull)
    let figures = plan.phases[phase].validationFigures(report.measures, count: report.tokenCount)
    for (name, figure) in figures { record.extra["validation_\(name)"] = figure }
    noteUnscored(figures, "validation after step \(afterStep)", phase: name)
    // Answers have no loss, only pairs of them.
    if !plan.phases[phase].reinforcesPolicy { record.validationLoss = report.loss }
    record.validationTokens = Int(report.tokenCount)
    if coverage.byteCount > 0 {
      record.validationBitsPerByte =
        report.lossSum / 0.693_147_180_559_945_3 / Double(coverage.byteCount)
    }
    // A worker may report again, or do again, what it did before a restart.
    let isRepeated = latest.map(record.standsLike) ?? false
    latest = record
    guard !isRepeated else { return }
    unwritten.append(record)
  }

  /// The record of a step that was taken before a restart or a rewind.
  private func recorded(_ phase: String, _ step: Int) -> StepRecord? {
    flush()
    guard let reader = try? RunReader(runDirectory: folder.path),
      (try? reader.update()) != nil
    else { return nil }
    return reader.log.records.last { $0.phase == phase && $0.step == step }
  }

  /// The record of a validation that no step comes before.
  private func validationRecord(
    _ phase: Int, _ step: Int, _ report: OperationReport, _ reports: [Int: OperationReport],
    seconds: Double
  ) -> StepRecord {
    let total = (try? tokensTotal(at: report.position)) ?? 0
    return StepRecord(
      run: plan.name, phase: plan.phases[phase].name, step: step,
      time: Timestamp.text(unixMilliseconds: Clock.unixMilliseconds), loss: .nan,
      gradNorm: .nan, learningRate: 0, skipped: false, tokens: 0,
      tokensTotal: Int(clamping: total), seconds: seconds,
      flopsPerToken: flops[phase].perToken, flopsFormula: flops[phase].formula,
      workers: reports.count, view: report.view,
      secondsBy: meanTime(reports, seconds: seconds))
  }
}
