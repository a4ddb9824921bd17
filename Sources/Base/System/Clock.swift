internal import Glibc

/// Time. Only `System` reads a clock.
public enum Clock {
  /// Nanoseconds of a clock that never steps back; its zero means nothing.
  public static var monotonicNanoseconds: Int64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  /// Seconds of the monotonic clock.
  public static var monotonicSeconds: Double { Double(monotonicNanoseconds) * 1e-9 }

  /// Milliseconds since 1970 (UTC).
  public static var unixMilliseconds: Int64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
