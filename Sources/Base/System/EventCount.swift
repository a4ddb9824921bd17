internal import CSystem
internal import Synchronization

/// Lets threads sleep until another thread says that something changed.
///
/// A waiter reads ``count``, looks at the state it waits for, and only then waits after that
/// count: a change in between has moved the count, so no wake-up is lost.
@safe
public final class EventCount: Sendable {
  private let word = Atomic<UInt32>(0)

  public init() {}

  /// Changes so far, modulo 2^32.
  public var count: UInt32 { word.load(ordering: .acquiring) }

  /// Wakes everyone who waits.
  public func advance() {
    word.add(1, ordering: .releasing)
    unsafe cs_futex_wake_all(address)
  }

  /// Sleeps until the count differs from `seen`, or until the deadline. May return early.
  public func wait(after seen: UInt32, until deadline: Deadline) {
    guard count == seen else { return }
    unsafe cs_futex_wait(address, seen, deadline.remainingNanoseconds)
  }

  private var address: UnsafeRawPointer {
    // SAFETY: an atomic stored in a class has one address as long as the object lives.
    unsafe withUnsafePointer(to: word) { unsafe UnsafeRawPointer($0) }
  }
}
