/// A moment on the monotonic clock at which a wait ends.
public struct Deadline: Comparable, Sendable {
  /// Nanoseconds of ``Clock/monotonicNanoseconds``.
  public let nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// No limit. Only for a wait that another thread is sure to end.
  public static let never = Deadline(nanoseconds: .max)

  /// The moment `duration` from now. A negative duration has passed already.
  public static func after(_ duration: Duration) -> Deadline {
    let (seconds, attoseconds) = duration.components
    let (whole, isOver) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, isOverToo) = Clock.monotonicNanoseconds.addingReportingOverflow(
      isOver ? .max : whole + attoseconds / 1_000_000_000)
    return Deadline(nanoseconds: isOver || isOverToo ? .max : sum)
  }

  public static func < (a: Deadline, b: Deadline) -> Bool { a.nanoseconds < b.nanoseconds }

  public var hasPassed: Bool {
    nanoseconds != .max && Clock.monotonicNanoseconds >= nanoseconds
  }

  /// Nanoseconds left, at least 0; -1 for ``never`` (what poll and futex call no limit).
  public var remainingNanoseconds: Int64 {
    nanoseconds == .max ? -1 : max(0, nanoseconds - Clock.monotonicNanoseconds)
  }
}
