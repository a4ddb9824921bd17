internal import Glibc

/// A lock that at most one process holds, bound to a file.
///
/// The kernel releases it when the process ends, however it ends, so a lock is never stale.
public final class FileLock: Sendable {
  private let file: File

  /// Takes the lock, creating the file if need be; nil if another process (or another lock of this
  /// one) holds it.
  public init?(_ path: String) throws(SystemError) {
    file = try File(path, .append)
    let descriptor = file.descriptor
    do {
      _ = try check("flock", path) { Int(flock(descriptor, LOCK_EX | LOCK_NB)) }
    } catch where error.code == EWOULDBLOCK {
      return nil
    }
  }
}
