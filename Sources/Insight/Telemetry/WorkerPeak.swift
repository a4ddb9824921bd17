/// What a worker's threads can compute at most, and on which cores.
///
/// A host counts once: where the threads of its workers outnumber the cores that these may use
/// together, the host's peak is that of the cores.
public struct WorkerPeak: Equatable, Sendable {
  /// Identifies the machine.
  public var host: String
  public var threadCount: Int
  /// Physical cores under its affinity mask.
  public var cores: Set<Int>
  /// How many of them it may use at once.
  public var coreCount: Double
  /// Sum over its threads, each measured as if it had a core to itself, GFLOP/s.
  public var measured: Double
  /// Of the cores that its threads fill, GFLOP/s; nil where the processor is not known.
  public var nominal: Double?

  public init(
    host: String, threadCount: Int, cores: Set<Int>, coreCount: Double, measured: Double,
    nominal: Double?
  ) {
    self.host = host
    self.threadCount = threadCount
    self.cores = cores
    self.coreCount = coreCount
    self.measured = measured
    self.nominal = nominal
  }

  /// Of all hosts, GFLOP/s; nil without workers.
  public static func measured(_ workers: [WorkerPeak]) -> Double? {
    total(workers, peak: \.measured, unitCount: { Double($0.threadCount) })
  }

  /// Of all hosts, GFLOP/s; nil unless every worker's processor is known.
  public static func nominal(_ workers: [WorkerPeak]) -> Double? {
    total(workers, peak: \.nominal, unitCount: { min(Double($0.threadCount), $0.coreCount) })
  }

  /// - Parameter unitCount: How many cores' worth a worker's peak claims.
  private static func total(
    _ workers: [WorkerPeak], peak: (WorkerPeak) -> Double?, unitCount: (WorkerPeak) -> Double
  ) -> Double? {
    guard !workers.isEmpty else { return nil }
    var sum = 0.0
    for host in Set(workers.map(\.host)).sorted() {
      let members = workers.filter { $0.host == host }
      let shared = members.reduce(into: Set<Int>()) { $0.formUnion($1.cores) }
      let coreCount = min(Double(shared.count), members.reduce(0) { $0 + $1.coreCount })
      let claimed = members.reduce(0) { $0 + unitCount($1) }
      for member in members {
        guard let value = peak(member) else { return nil }
        sum += claimed > coreCount ? value * coreCount / claimed : value
      }
    }
    return sum
  }
}

/// Numbers of cores as short text: `0-3,8`.
public enum CoreList {
  /// No machine has more; a longer range from a peer is not expanded.
  private static let numberMax = 1 << 16

  /// - Parameter numbers: Ascending.
  public static func text(_ numbers: [Int]) -> String {
    var ranges: [ClosedRange<Int>] = []
    for number in numbers {
      if let last = ranges.last, last.upperBound + 1 == number {
        ranges[ranges.count - 1] = last.lowerBound...number
      } else {
        ranges.append(number...number)
      }
    }
    return ranges.map {
      $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
    }.joined(separator: ",")
  }

  /// The numbers of a text; parts that are none are left out.
  public static func numbers(_ text: String) -> Set<Int> {
    var found: Set<Int> = []
    for part in text.split(separator: ",") {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
      guard let first = ends.first, let low = first, let last = ends.last, let high = last,
        ends.count <= 2, low >= 0, low <= high, high < numberMax
      else { continue }
      found.formUnion(low...high)
    }
    return found
  }
}
