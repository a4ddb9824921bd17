internal import Glibc

/// Places where a test may kill the process, or stop a thread of it for good, by name.
///
/// `COX_FAILPOINT=[hang:]<name>[@<step>]` makes the process kill itself with SIGKILL the first
/// time it passes that point (at that step); with `hang:` only the thread that passes stands
/// still. The tested binary is the released binary.
public enum Failpoint: String, CaseIterable, Sendable {
  case afterSlice = "after-slice"
  case midBucketSend = "mid-bucket-send"
  case ownerBeforeSum = "owner-before-sum"
  case ownerAfterSum = "owner-after-sum"
  case midGather = "mid-gather"
  case beforeUpdate = "before-update"
  case inUpdate = "in-update"
  case afterUpdate = "after-update"
  case beforeReport = "before-report"

  private static let armed: (name: String, step: Int?, hangs: Bool)? = {
    guard let raw = unsafe getenv("COX_FAILPOINT") else { return nil }
    let text = unsafe String(cString: raw)
    let prefix = "hang:"
    let hangs = text.hasPrefix(prefix)
    let parts = text.dropFirst(hangs ? prefix.count : 0).split(separator: "@")
    guard let name = parts.first else { return nil }
    return (String(name), parts.count > 1 ? Int(parts[1]) : nil, hangs)
  }()

  /// Dies or stands still here if this point is armed for `step`.
  public func pass(step: Int) {
    guard let armed = Self.armed, armed.name == rawValue else { return }
    if let only = armed.step, only != step { return }
    while armed.hangs { pauseThread(milliseconds: 1000) }
    kill(getpid(), SIGKILL)
  }
}
