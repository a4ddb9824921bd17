internal import Glibc

/// An open file descriptor with one owner, closed when the owner goes.
///
/// Nobody closes a descriptor that another thread may be using: a thread that must be woken gets a
/// shutdown or a ``WakeEvent``, and the number is freed only when the last user has let go.
public struct Descriptor: ~Copyable, Sendable {
  /// The number, for system calls. It stays this value's.
  public let raw: Int32

  /// Takes over `raw`, which nobody else may close.
  public init(taking raw: Int32) {
    precondition(raw >= 0, "\(raw) is no descriptor")
    self.raw = raw
  }

  deinit { _ = close(raw) }
}
