extension RunReader {
  /// Seconds in which the run was under way, by all that was told of it: from each start to the
  /// last thing told before the next one. Validations and checkpoints are within, pauses are not.
  public var wallSeconds: Double {
    let starts: [RunEvent.Kind] = [.started, .resumed]
    let told = events.map { (time: $0.time, isStart: starts.contains($0.event)) }
      + log.records.map { (time: $0.time, isStart: false) }
    let moments = told.compactMap { moment in
      Timestamp.unixMilliseconds(moment.time).map { (time: $0, isStart: moment.isStart) }
    }.sorted { $0.time < $1.time }
    let spans = zip(moments, moments.dropFirst()).map { before, after in
      after.isStart ? 0 : after.time - before.time
    }
    return Double(spans.reduce(0, +)) / 1000
  }
}
