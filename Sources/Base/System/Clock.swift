internal import Glibc

/// Time. Only `System` reads a clock.
public enum Clock {
  /// Nanoseconds of a clock that never steps back; its zero means nothing.
  public static var monotonicNanoseconds: Int64 { nanoseconds(of: CLOCK_MONOTONIC) }

  /// Seconds that the calling thread has spent on a processor: other load does not count.
  public static var threadSeconds: Double {
    Double(nanoseconds(of: CLOCK_THREAD_CPUTIME_ID)) * 1e-9
  }

  /// Seconds that all threads of this process together have spent on processors.
  public static var processSeconds: Double {
    Double(nanoseconds(of: CLOCK_PROCESS_CPUTIME_ID)) * 1e-9
  }

  /// Seconds of the monotonic clock.
  public static var monotonicSeconds: Double { Double(monotonicNanoseconds) * 1e-9 }

  /// Milliseconds since 1970 (UTC).
  public static var unixMilliseconds: Int64 { nanoseconds(of: CLOCK_REALTIME) / 1_000_000 }

  private static func nanoseconds(of clock: clockid_t) -> Int64 {
    var time = timespec()
    _ = unsafe clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
