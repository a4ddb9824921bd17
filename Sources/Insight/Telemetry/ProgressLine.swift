internal import System

/// How far a long piece of work is, on standard error: at a terminal one line that is rewritten,
/// elsewhere a line every 10 s. What ends sooner than the first line is due stays silent.
///
///     let progress = ProgressLine("training the tokenizer")
///     defer { progress.end() }
///     for merge in 0..<count { ...; progress.update(Double(merge + 1) / Double(count)) }
///
/// One thread updates it.
public final class ProgressLine {
  private let subject: String
  private let isTerminal: Bool
  private let now: () -> Double
  private let write: (String) -> Void
  private let start: Double
  private var due: Double
  private var isShown = false

  /// - Parameter subject: What is being done: `checking books`.
  public convenience init(_ subject: String) {
    self.init(
      subject, isTerminal: System.isTerminal(2), now: { Clock.monotonicSeconds },
      write: { writeText($0, to: 2) })
  }

  /// - Parameters:
  ///   - now: A clock, seconds.
  ///   - write: Gets what standard error gets.
  package init(
    _ subject: String, isTerminal: Bool, now: @escaping () -> Double,
    write: @escaping (String) -> Void
  ) {
    self.subject = subject
    self.isTerminal = isTerminal
    self.now = now
    self.write = write
    start = now()
    due = start
    due += interval
  }

  /// Seconds from one text to the next: a line that is rewritten moves, a log stays short.
  private var interval: Double { isTerminal ? 0.5 : 10 }

  /// Says how far the work is, where it is time to.
  ///
  /// - Parameter share: Of the whole, 0 to 1; others are taken as the nearer end.
  public func update(_ share: Double) {
    let time = now()
    guard time >= due else { return }
    due = time + interval
    let done = min(max(share, 0), 1)
    let left = done > 0 ? (time - start) * (1 - done) / done : nil
    let text =
      "\(subject): \(NumberText.percent(done, 0)) %"
      + (left.map { ", \(NumberText.duration($0)) left" } ?? "")
    isShown = true
    write(isTerminal ? "\r\(text)\u{1B}[K" : text + "\n")
  }

  /// Takes the line off the terminal, so that what follows starts on an empty one.
  public func end() {
    guard isTerminal, isShown else { return }
    isShown = false
    write("\r\u{1B}[K")
  }
}
