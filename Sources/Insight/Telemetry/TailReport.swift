internal import FoundationEssentials
internal import System

/// The MFU report: what `cox tail` prints.
public struct TailReport: Sendable {
  /// How many of the latest lines the report shows.
  public static let lineCount = 20

  public let summary: RunSummary?
  private let run: String
  private let lines: [String]

  /// Reads a run's folder as it is now.
  public init(runDirectory: String) throws(TelemetryError) {
    let reader = try RunReader(runDirectory: runDirectory)
    _ = try reader.update()
    self.init(reader)
  }

  init(_ reader: RunReader) {
    self.init(reader, RunOutline.read(runDirectory: reader.runDirectory))
  }

  package init(_ reader: RunReader, _ outline: RunOutline?) {
    run = outline?.run ?? Files.name(of: reader.runDirectory)
    summary = RunSummary(reader.log, events: reader.events, outline: outline)
    lines = Self.lines(reader, outline)
  }

  /// The latest lines of the table, with the events that fell between them.
  static func lines(_ reader: RunReader, _ outline: RunOutline?) -> [String] {
    var table = MFUTable(outline: outline)
    let records = reader.log.records
    var told: [(time: String, text: String)] = []
    for record in records {
      for line in table.append(record) where isRow(line) { told.append((record.time, line)) }
    }
    if let last = records.last {
      for line in table.flush() where isRow(line) { told.append((last.time, line)) }
    }
    told = told.suffix(lineCount)
    if let first = told.first?.time {
      let events = reader.events.filter { $0.time >= first || told.count < lineCount }
      told += events.map { ($0.time, line($0)) }
      // Equal times keep their order: steps were appended before events.
      told = told.enumerated()
        .sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
        .map(\.element)
    } else {
      told = reader.events.suffix(lineCount).map { ($0.time, line($0)) }
    }
    return told.map(\.text)
  }

  private static func isRow(_ line: String) -> Bool {
    !line.hasPrefix("#") && line != MFUTable.header
  }

  /// An event as a line of the table.
  static func line(_ event: RunEvent) -> String {
    "\(String(event.time.dropFirst(11).prefix(8))) ! \(event.text)"
  }

  /// The report as text.
  ///
  /// - Parameters:
  ///   - withNodes: Adds a table of the workers.
  ///   - withLines: Shows the latest lines; false where the reader has seen them.
  public func text(withNodes: Bool = false, withLines: Bool = true) -> String {
    guard let summary else {
      return (["run \(run)   no step has been taken yet"] + lines).joined(separator: "\n") + "\n"
    }
    var text = Self.title(summary)
    if !lines.isEmpty, withLines { text += ["", MFUTable.header] + lines }
    if withNodes { text += [""] + Self.nodeTable(summary.nodes) }
    text += [""] + Self.closing(summary)
    return text.joined(separator: "\n") + "\n"
  }

  /// The summary as JSON, keys in snake_case, one line.
  public func json() throws(TelemetryError) -> String {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return String(decoding: try encoder.encode(summary), as: UTF8.self)
    } catch {
      throw .notEncodable(key: "summary")
    }
  }

  private static func title(_ summary: RunSummary) -> [String] {
    let position = summary.stepCount.map { "\(summary.step) of \($0)" } ?? "\(summary.step)"
    let nominal = summary.peakNominalGflops.map { "\(NumberText.fixed($0, 1)) GFLOP/s" }
      ?? "n/a (processor's name hidden or unknown)"
    let measured = summary.peakMeasuredGflops.map { "\(NumberText.fixed($0, 1)) GFLOP/s" } ?? "n/a"
    return [
      "run \(summary.run)   phase \(summary.phase)   step \(position)   "
        + "\(summary.workers) \(summary.workers == 1 ? "worker" : "workers")   "
        + "view \(summary.view)   \(summary.isEnded ? "ended" : "running")",
      "formula   \(NumberText.prefixed(summary.flopsPerToken))FLOP per token: "
        + summary.flopsFormula,
      "peak      measured \(measured)   nominal \(nominal)",
    ]
  }

  static func nodeTable(_ nodes: [RunSummary.Node]) -> [String] {
    let width = max(8, (nodes.map(\.name.count).max() ?? 0) + 2)
    let total = nodes.reduce(0) { $0 + $1.gflops }
    let header = NumberText.column("worker", width) + "  s/step  wait %   GFLOP/s  share %"
    return [header] + nodes.map { node in
      NumberText.column(node.name, width)
        + NumberText.right(NumberText.fixed(node.seconds, 3), 8)
        + NumberText.right(
          NumberText.percent(node.seconds > 0 ? node.wait / node.seconds : nil), 8)
        + NumberText.right(NumberText.fixed(node.gflops, 1), 10)
        + NumberText.right(NumberText.percent(total > 0 ? node.gflops / total : nil), 9)
    }
  }

  private static func closing(_ summary: RunSummary) -> [String] {
    func figures(_ mfu: Double?, _ causal: Double?) -> String {
      guard let mfu else { return "n/a" }
      return "\(NumberText.percent(mfu)) % (causal \(NumberText.percent(causal)) %)"
    }
    let by = summary.secondsBy
    let parts = [
      ("data", by.data), ("forward", by.forward), ("backward", by.backward),
      ("exchange", by.exchange), ("wait", by.wait), ("optimizer", by.optimizer),
      ("checkpoint", by.checkpoint), ("other", by.other),
    ]
    var loss = "loss      \(NumberText.fixed(summary.lossFirst, 4)) -> "
      + NumberText.fixed(summary.lossLast, 4)
    if let validation = summary.validationLoss {
      let unit = summary.figures.lossUnit
      loss += "   validation \(NumberText.fixed(validation, 4)) nats per \(unit)"
      if let bits = summary.validationBitsPerByte {
        loss += ", \(NumberText.fixed(bits, 4)) bits per byte"
      }
      loss += " (after step \(summary.validationStep ?? 0))"
    }
    let evaluations = summary.evaluations.map { evaluation in
      "evaluated \(evaluation.phase): \(NumberText.fixed(evaluation.loss, 4)) nats per token"
        + (evaluation.bitsPerByte.map { ", \(NumberText.fixed($0, 4)) bits per byte" } ?? "")
    }
    // Four decimals say nothing of thousands.
    let ownFigures = summary.figures.sorted { $0.key < $1.key }.map { name, value in
      "\(name) \(value < 1000 ? NumberText.fixed(value, 4) : NumberText.grouped(value))"
    }
    let own = ownFigures.isEmpty
      ? [] : [NumberText.column(summary.phase, 10) + ownFigures.joined(separator: "  ")]
    var answers: [String] = []
    if let share = summary.rolloutShare {
      let exchange = NumberText.percent(summary.rolloutExchangeShare)
      answers = [
        "answers   \(NumberText.percent(share)) % of the phase's time, steps and answers; passing "
          + "them on \(exchange) %"
      ]
    }
    var lines = [loss] + own + answers + evaluations + [
      "rate      \(NumberText.grouped(summary.tokensPerS)) tokens/s: "
        + "\(NumberText.grouped(Double(summary.tokens))) tokens in "
        + NumberText.duration(summary.seconds),
      "MFU       measured \(figures(summary.mfuMeasured, summary.mfuMeasuredCausal))   "
        + "nominal \(figures(summary.mfuNominal, summary.mfuNominalCausal))   "
        + "p10 \(NumberText.percent(summary.mfuP10))  p90 \(NumberText.percent(summary.mfuP90))",
      "time      "
        + parts.map { "\($0.0) \(NumberText.percent($0.1)) %" }.joined(separator: "  ")
        + "   (hidden exchange \(NumberText.percent(summary.exchangeHidden)) %)",
      "goodput   \(NumberText.percent(summary.goodput)) %   slices recomputed "
        + "\(summary.slicesRecomputed)   steps skipped \(summary.stepsSkipped)   workers lost "
        + "\(summary.workersLost)",
    ]
    if summary.stepsRepeated > 0 {
      lines.append(
        "repeated  \(summary.stepsRepeated) steps, of which \(summary.stepsDiffering) differ"
          + (summary.stepsDiffering > 0 ? "  ! THE RUN IS NOT EXACT" : ""))
    }
    let left = NumberText.duration(summary.etaSeconds)
    let isDone = summary.isEnded || summary.etaSeconds == 0
    lines.append(
      "ETA       \(summary.isStopped ? "stopped, \(left) to go" : isDone ? "done" : left)")
    return lines
  }
}

extension RunOutline {
  /// That of the plan in a run's folder; nil where there is none.
  public static func read(runDirectory: String) -> RunOutline? {
    guard let json = try? Files.read("\(runDirectory)/\(RunFile.plan)", byteCountMax: 1 << 26)
    else { return nil }
    return RunOutline(json: json)
  }
}
