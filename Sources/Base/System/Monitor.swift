internal import Glibc

/// A value that threads share: one lock, and waiting until the value says so.
@safe
public final class Monitor<State>: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): `state` is touched only while `lock` is held.
  private var state: State
  private let lock: UnsafeMutablePointer<pthread_mutex_t>
  private let changed: UnsafeMutablePointer<pthread_cond_t>

  public init(_ state: State) {
    self.state = state
    unsafe lock = .allocate(capacity: 1)
    unsafe changed = .allocate(capacity: 1)
    var attributes = pthread_condattr_t()
    unsafe pthread_mutex_init(lock, nil)
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(changed, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(changed)
    unsafe pthread_mutex_destroy(lock)
    unsafe changed.deallocate()
    unsafe lock.deallocate()
  }

  /// Changes (or reads) the value and wakes everyone who waits for it.
  public func update<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
    unsafe pthread_mutex_lock(lock)
    defer {
      unsafe pthread_cond_broadcast(changed)
      unsafe pthread_mutex_unlock(lock)
    }
    return try body(&state)
  }

  /// Waits until `body` returns a value, which it is asked again after every update.
  ///
  /// - Parameter seconds: How long to wait at most; nil waits for ever.
  /// - Returns: nil when the time is over.
  public func wait<R>(atMost seconds: Double? = nil, _ body: (inout State) -> R?) -> R? {
    var limit = timespec()
    if let seconds {
      let end = Clock.monotonicNanoseconds + Int64(seconds * 1e9)
      limit.tv_sec = Int(end / 1_000_000_000)
      limit.tv_nsec = Int(end % 1_000_000_000)
    }
    unsafe pthread_mutex_lock(lock)
    defer { unsafe pthread_mutex_unlock(lock) }
    while true {
      if let result = body(&state) { return result }
      if seconds == nil {
        unsafe pthread_cond_wait(changed, lock)
      } else if unsafe pthread_cond_timedwait(changed, lock, &limit) == ETIMEDOUT {
        return body(&state)
      }
    }
  }
}
