internal import System

/// Reads a run's records as they grow.
///
/// Only whole lines count; a line that is being written is read at the next call.
public final class RunReader {
  public let runDirectory: String
  public private(set) var log = StepLog()
  public private(set) var events: [RunEvent] = []
  /// Lines that hold no record this program can read.
  public private(set) var unreadableCount = 0
  private var metricsOffset = 0
  private var eventsOffset = 0

  /// - Throws: ``TelemetryError/notARun(path:)``.
  public init(runDirectory: String) throws(TelemetryError) {
    self.runDirectory = runDirectory
    let names = [RunFile.metrics, RunFile.plan]
    guard names.contains(where: { Files.exists("\(runDirectory)/\($0)") }) else {
      throw .notARun(path: runDirectory)
    }
  }

  /// A reader of records that are at hand, not in a folder.
  package init(metrics: [UInt8], events: [UInt8]) {
    runDirectory = ""
    _ = take(metrics: metrics, events: events)
  }

  /// Reads what was added since the last call and returns it.
  public func update() throws(TelemetryError) -> (records: [StepRecord], events: [RunEvent]) {
    take(
      metrics: try newLines(RunFile.metrics, &metricsOffset),
      events: try newLines(RunFile.events, &eventsOffset))
  }

  private func take(
    metrics: [UInt8], events lines: [UInt8]
  ) -> (records: [StepRecord], events: [RunEvent]) {
    let records = jsonLines(StepRecord.self, in: metrics[...])
    let happened = jsonLines(RunEvent.self, in: lines[...])
    for record in records.values { log.append(record) }
    events += happened.values
    unreadableCount += records.unreadableCount + happened.unreadableCount
    return (records.values, happened.values)
  }

  private func newLines(_ name: String, _ offset: inout Int) throws(TelemetryError) -> [UInt8] {
    let path = "\(runDirectory)/\(name)"
    let start = offset
    let bytes = try wrapping { () throws(SystemError) -> [UInt8] in
      guard Files.exists(path) else { return [] }
      let file = try File(path, .read)
      let byteCount = try file.byteCount()
      return byteCount > start ? try file.read(at: start, byteCount: byteCount - start) : []
    }
    guard let last = bytes.lastIndex(of: 0x0A) else { return [] }
    offset += last + 1
    return Array(bytes[...last])
  }
}
