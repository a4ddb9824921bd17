/// Appends step records to `metrics.jsonl`.
public final class MetricsWriter {
  private let lines: LineWriter

  /// Opens or creates the file in the run's folder, cutting off a torn last line.
  public init(runDirectory: String) throws(TelemetryError) {
    lines = try LineWriter("\(runDirectory)/\(RunFile.metrics)")
  }

  public func append(_ record: StepRecord) throws(TelemetryError) {
    try lines.append(jsonLine(record))
  }

  /// Returns when all records are on the disk.
  public func synchronize() throws(TelemetryError) { try lines.synchronize() }
}

/// Appends events to `events.jsonl`.
public final class EventWriter {
  private let lines: LineWriter

  /// Opens or creates the file in the run's folder, cutting off a torn last line.
  public init(runDirectory: String) throws(TelemetryError) {
    lines = try LineWriter("\(runDirectory)/\(RunFile.events)")
  }

  public func append(_ event: RunEvent) throws(TelemetryError) {
    try lines.append(jsonLine(event))
  }

  /// Returns when all events are on the disk.
  public func synchronize() throws(TelemetryError) { try lines.synchronize() }
}
