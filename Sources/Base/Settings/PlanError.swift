/// One thing that is wrong with a plan, where it is, and how to mend it.
public struct PlanIssue: Equatable, Sendable {
  public enum Place: Equatable, Sendable {
    /// A place in the plan file, and that line's text.
    case file(SourceSpan, line: String)
    /// An option of the command line, as typed: `--set model.layers=x`.
    case option(String)
    /// The plan as a whole.
    case plan
  }

  public let place: Place
  /// What is wrong, in one line.
  public let summary: String
  /// What to write instead.
  public let mend: String?

  public init(place: Place, summary: String, mend: String? = nil) {
    self.place = place
    self.summary = summary
    self.mend = mend
  }

  /// Those with a place in the file first, in its order.
  static func inOrder(_ issues: [PlanIssue]) -> [PlanIssue] {
    func rank(_ index: Int) -> (Int, Int, Int) {
      switch issues[index].place {
      case .file(let span, _): (span.line, span.column, index)
      case .option: (Int.max - 1, 0, index)
      case .plan: (Int.max, 0, index)
      }
    }
    return issues.indices.sorted { rank($0) < rank($1) }.map { issues[$0] }
  }

  /// The issue as text, with the line it is on and a mark under the words it is about.
  public func text(path: String) -> String {
    switch place {
    case .file(let span, let line):
      let number = "\(span.line)"
      let margin = String(repeating: " ", count: max(0, 5 - number.count))
      // Tabs stay, so that the mark stands under the words in every terminal.
      let before = String(
        String.UnicodeScalarView(
          line.unicodeScalars.prefix(span.column - 1).map { $0 == "\t" ? "\t" : " " }))
      let room = max(1, line.unicodeScalars.count - span.column + 1)
      let mark = before + String(repeating: "^", count: min(span.length, room))
      let tail = mend.map { " " + $0 } ?? ""
      return """
        Error: \(summary) at \(path):\(span.line):\(span.column)
        \(margin)\(number) | \(line)
              | \(mark)\(tail)
        """
    case .option(let option):
      return "Error: \(summary) in \(option)" + (mend.map { "\n      \($0)" } ?? "")
    case .plan:
      return "Error: \(summary) in \(path)" + (mend.map { "\n      \($0)" } ?? "")
    }
  }
}

/// Everything that is wrong with a plan, in the order of the file. Exits 78.
public struct PlanError: ProgramError, Equatable {
  /// The plan file, as the user named it.
  public let path: String
  public let issues: [PlanIssue]

  public init(path: String, issues: [PlanIssue]) {
    precondition(!issues.isEmpty, "a plan error needs an issue")
    self.path = path
    self.issues = issues
  }

  public var exitCode: ExitCode { .badPlan }
  public var message: String {
    issues.map { $0.text(path: path) }.joined(separator: "\n")
  }
}
