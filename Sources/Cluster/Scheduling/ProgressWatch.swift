/// Finds workers that live and stand still: how long they may do so follows from the run's own
/// speed. Times are given by the caller, in seconds of any clock that only rises.
///
/// A worker that waits for others counts as one that makes progress; so of those who stand still
/// together only the one that keeps the others waiting is found.
public struct ProgressWatch: Sendable {
  private struct Sign: Sendable {
    var progress: Int?
    var seconds: Double
  }

  private var signs: [Int: Sign] = [:]
  /// How long the newest operations took, seconds.
  private var durations: [Double] = []

  private static let durationCountMax = 32
  /// Before an operation has been done nobody knows how long a part of one takes.
  private static let firstLimit = 600.0
  /// An operation has dozens of signs of progress: twenty operations without one are no slowness.
  private static let operationCount = 20.0
  /// Short operations say little about a machine that is busy with something else for a while.
  private static let limitMin = 30.0

  public init() {}

  /// How long a worker may stand still, seconds.
  public var limit: Double {
    guard !durations.isEmpty else { return Self.firstLimit }
    let median = durations.sorted()[durations.count / 2]
    return max(Self.limitMin, Self.operationCount * median)
  }

  /// A worker says how far it is; `progress` is a count of its own that rises. nil: any other
  /// message, which is a sign of progress as such.
  public mutating func note(worker: Int, progress: Int?, at seconds: Double) {
    if let progress, signs[worker]?.progress == progress { return }
    signs[worker] = Sign(progress: progress ?? signs[worker]?.progress, seconds: seconds)
  }

  /// An operation was done by everybody, `duration` seconds after the one before.
  public mutating func noteOperation(duration: Double) {
    durations = (durations + [duration]).suffix(Self.durationCountMax)
  }

  public mutating func forget(worker: Int) { signs[worker] = nil }

  /// Those of the workers that stand still for longer than ``limit``.
  public func standing(among workers: [Int], at seconds: Double) -> [Int] {
    let limit = limit
    return workers.filter { worker in
      signs[worker].map { seconds - $0.seconds > limit } ?? false
    }
  }
}
