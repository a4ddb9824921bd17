/// The steps of a run as its records tell them, after rewinds.
///
/// A step may have been recorded more than once, because it was taken again or because its
/// validation came later: the last record counts. Records beyond the last one written belong to
/// steps that were taken back and have not been taken again; they are left out.
public struct StepLog: Equatable, Sendable {
  private struct Key: Hashable {
    let phase: String
    let step: Int
  }

  /// The phases' names, in the order in which they began.
  public private(set) var phases: [String] = []
  /// The last record written.
  public private(set) var latest: StepRecord?
  /// Repeated steps whose loss or gradient norm was not what it was before. Always empty, unless
  /// the run is not exact.
  public private(set) var differences: [(phase: String, step: Int)] = []
  /// Records that repeat a step.
  public private(set) var repeatedCount = 0
  private var recordOfKey: [Key: StepRecord] = [:]

  public init() {}

  /// Takes the next record of the file.
  public mutating func append(_ record: StepRecord) {
    if !phases.contains(record.phase) { phases.append(record.phase) }
    let key = Key(phase: record.phase, step: record.step)
    if let before = recordOfKey.updateValue(record, forKey: key), !record.completes(before) {
      repeatedCount += 1
      let isSame = before.loss.bitPattern == record.loss.bitPattern
        && before.gradNorm.bitPattern == record.gradNorm.bitPattern
      if !isSame { differences.append((record.phase, record.step)) }
    }
    latest = record
  }

  /// One record per step, in the order of phases and steps, up to the last one written.
  public var records: [StepRecord] {
    guard let latest else { return [] }
    let order = Dictionary(uniqueKeysWithValues: phases.enumerated().map { ($1, $0) })
    func position(_ record: StepRecord) -> (Int, Int) { (order[record.phase] ?? 0, record.step) }
    return recordOfKey.values.filter { position($0) <= position(latest) }
      .sorted { position($0) < position($1) }
  }

  public static func == (left: StepLog, right: StepLog) -> Bool {
    left.phases == right.phases && left.latest == right.latest && left.records == right.records
  }
}
