/// Says how far a piece of work has come: in place, once a second, on a terminal; elsewhere a line
/// of its own, once in ten seconds. Work that is done sooner says nothing.
public final class ProgressLine {
  private let title: String
  private let isTerminal: Bool
  private let now: () -> Double
  private let write: (String) -> Void
  private var lastSeconds: Double
  /// Whether the terminal's line holds what ``finish()`` has to clear.
  private var isShown = false

  /// On standard error.
  ///
  /// - Parameter title: What is done: `tokenizer`.
  public convenience init(_ title: String) {
    self.init(
      title, isTerminal: System.isTerminal(2), now: { Clock.monotonicSeconds },
      write: { writeText($0, to: 2) })
  }

  /// - Parameters:
  ///   - now: Seconds on a clock that never goes back.
  ///   - write: Gets the text, line ends and all.
  package init(
    _ title: String, isTerminal: Bool, now: @escaping () -> Double,
    write: @escaping (String) -> Void
  ) {
    self.title = title
    self.isTerminal = isTerminal
    self.now = now
    self.write = write
    lastSeconds = now()
  }

  /// Tells the share of the work that is done, 0 to 1, if it is time to.
  public func update(_ share: Double) {
    let seconds = now()
    guard seconds - lastSeconds >= (isTerminal ? 1 : 10) else { return }
    lastSeconds = seconds
    let text = "\(title): \(Int(100 * min(max(share, 0), 1))) %"
    write(isTerminal ? "\r\(text)\u{1B}[K" : "\(text)\n")
    isShown = isTerminal
  }

  /// Makes room for what is said next.
  public func finish() {
    if isShown { write("\r\u{1B}[K") }
    isShown = false
  }
}
