/// The live report: first the latest lines, then every new line as the files grow.
public final class TailFollower {
  public enum Format: Sendable {
    /// The table; `withNodes` adds the workers below every line.
    case text(withNodes: Bool)
    /// Every record and event as it stands in its file.
    case json
  }

  private let reader: RunReader
  private let format: Format
  private let endsWithReport: Bool
  private var table: MFUTable
  private var latest: StepRecord?
  private var isFirst = true
  /// Whether the run has said that it finished or stopped.
  public private(set) var isEnded = false

  /// - Parameters:
  ///   - skipsHistory: Leaves out what is there already: only new lines are told.
  ///   - endsWithReport: Whether the closing summary is told when the run ends.
  public init(
    runDirectory: String, format: Format, skipsHistory: Bool = false, endsWithReport: Bool = true
  ) throws(TelemetryError) {
    reader = try RunReader(runDirectory: runDirectory)
    self.format = format
    self.endsWithReport = endsWithReport
    table = MFUTable(outline: RunOutline.read(runDirectory: runDirectory))
    guard skipsHistory else { return }
    _ = try reader.update()
    isFirst = false
  }

  /// The lines to print since the last call; the closing summary is among them when the run ends.
  public func poll() throws(TelemetryError) -> [String] {
    let (records, events) = try reader.update()
    for event in events {
      switch event.event {
      case .finished, .stopped: isEnded = true
      case .started, .resumed:
        isEnded = false
        // A run that was taken up again may have another plan by now.
        if !isFirst {
          table = MFUTable(outline: RunOutline.read(runDirectory: reader.runDirectory))
        }
      default: break
      }
    }
    defer { isFirst = false }
    guard case .text(let withNodes) = format else {
      var lines: [String] = []
      for record in records { lines.append(try jsonLine(record)) }
      for event in events { lines.append(try jsonLine(event)) }
      return lines
    }
    var lines = isFirst ? opening() : rows(records, events, withNodes: withNodes)
    if isEnded, isFirst || !events.isEmpty, endsWithReport {
      let report = TailReport(reader).text(withNodes: withNodes, withLines: isFirst)
      lines = isFirst ? [] : lines + [""]
      lines += report.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        .map(String.init)
    }
    return lines
  }

  /// What was there before: preamble, header and the latest lines.
  private func opening() -> [String] {
    let rows = TailReport.lines(reader, RunOutline.read(runDirectory: reader.runDirectory))
    for record in reader.log.records.suffix(50) { _ = table.append(record) }
    _ = table.flush()
    guard let latest = reader.log.latest else { return rows }
    return MFUTable.preamble(latest) + [MFUTable.header] + rows
  }

  private func rows(
    _ records: [StepRecord], _ events: [RunEvent], withNodes: Bool
  ) -> [String] {
    var lines: [(time: String, texts: [String])] = []
    for record in records {
      var texts = table.append(record)
      let isStep = !record.isEvaluation && !(latest.map(record.completes) ?? false)
      latest = record
      if withNodes, isStep, !texts.isEmpty {
        let nodes = record.nodes.map {
          RunSummary.Node(name: $0.name, seconds: $0.seconds, wait: $0.wait, gflops: $0.gflops)
        }
        texts += TailReport.nodeTable(nodes).map { "         \($0)" }
      }
      if !texts.isEmpty { lines.append((record.time, texts)) }
    }
    lines += events.map { ($0.time, [TailReport.line($0)]) }
    return lines.enumerated()
      .sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
      .flatMap(\.element.texts)
  }
}
