internal import Glibc
internal import Synchronization

/// Places where a test may kill the process, or stop a thread of it, by name.
///
/// `COX_FAILPOINT=[hang:]<name>[@<phase>][@<step>]` makes the process kill itself with SIGKILL the
/// first time it passes that point (in that phase, at that step); with `hang:` only the thread that
/// passes stands still, until the process gets SIGCONT. Either is told on standard error first. A
/// step is counted from 0 as the point has it: within the phase; in rollouts, iterations of the
/// phase; within an exchange, before a report and before a commit, operations of the run. The
/// tested binary is the released binary.
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
  case inRollout = "in-rollout"
  case afterRollout = "after-rollout"
  /// Of the coordinator, all others of workers.
  case beforeCommit = "before-commit"

  /// What `COX_FAILPOINT` asks for.
  private struct Order {
    let point: Failpoint
    let phase: String?
    let step: Int?
    let hangs: Bool

    init?(_ text: String) {
      let prefix = "hang:"
      hangs = text.hasPrefix(prefix)
      var parts = text.dropFirst(hangs ? prefix.count : 0).split(
        separator: "@", omittingEmptySubsequences: false)[...]
      guard let point = Failpoint(rawValue: String(parts.removeFirst())) else { return nil }
      self.point = point
      step = parts.last.flatMap { Int($0) }
      if step != nil { parts.removeLast() }
      phase = parts.popFirst().map(String.init)
      guard parts.isEmpty, phase != "" else { return nil }
    }
  }

  private static let text = environmentValue("COX_FAILPOINT") ?? ""
  private static let order = Order(text)
  private static let phase = Monitor("")
  /// Whether the order was carried out, and whether who stands still may go on.
  private static let isSpent = Atomic<Bool>(false), isReleased = Atomic<Bool>(false)

  /// What is wrong with `COX_FAILPOINT`; nil where it is not set or names a point.
  public static var problem: String? {
    guard !text.isEmpty, order == nil else { return nil }
    return "COX_FAILPOINT is \"\(text)\", not [hang:]NAME[@PHASE][@STEP] with one of "
      + allCases.map(\.rawValue).joined(separator: ", ")
  }

  /// From now on the process is in this phase, for an order that names one.
  public static func enter(phase name: String) { phase.update { $0 = name } }

  /// Dies or stands still here if this point is armed for `step` and for the phase.
  public func pass(step: Int) {
    guard let order = Self.order, order.point == self else { return }
    if let only = order.step, only != step { return }
    if let only = order.phase, only != Self.phase.update({ $0 }) { return }
    guard !Self.isSpent.exchange(true, ordering: .relaxed) else { return }
    // Whoever reads the line may send the signal.
    if order.hangs { Self.listen() }
    writeText("failpoint \(Self.text)\n", to: 2)
    if !order.hangs { kill(getpid(), SIGKILL) }
    while !Self.isReleased.load(ordering: .relaxed) { pauseThread(milliseconds: 20) }
  }

  private static func listen() {
    // Made before a handler touches it, which must not make anything.
    isReleased.store(false, ordering: .relaxed)
    signal(SIGCONT) { _ in Failpoint.isReleased.store(true, ordering: .relaxed) }
  }
}
