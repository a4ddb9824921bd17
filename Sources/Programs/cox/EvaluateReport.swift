import Corpus
import Evaluation
import Planning
import Settings

/// Figures, for programs and for people.
struct Report {
  private let members: [(String, JSONNode)]
  private let lines: [String]

  init(_ members: [(String, JSONNode)], lines: [String]) {
    self.members = members
    self.lines = lines
  }

  func put(isJSON: Bool) {
    if isJSON {
      cox.put(JSONNode.object(members).jsonText(isIndented: false))
    } else {
      for line in lines { cox.put(line) }
    }
  }
}

/// A share of one as percent: `81.2 %`.
func percent(_ share: Double) -> String { Figures.fixed(100 * share, 1) + " %" }

extension JSONNode {
  /// null for nil.
  static func figure(_ value: Double?) -> JSONNode {
    value.map { .decimal($0) } ?? JSONNode(.null)
  }
}

private func members(_ interval: ClosedRange<Double>) -> [(String, JSONNode)] {
  [("low", .decimal(interval.lowerBound)), ("high", .decimal(interval.upperBound))]
}

extension Share {
  var node: JSONNode {
    .object(
      [("share", .decimal(value))] + members(interval)
        + [("count", .decimal(count)), ("total", .integer(total))])
  }

  /// `81.2 % (77.5 to 84.4)`
  var text: String { "\(percent(value)) \(range)" }

  /// `81.2 (77.5 to 84.4)`, percent.
  var figures: String { "\(Figures.fixed(100 * value, 1)) \(range)" }

  private var range: String {
    let ends = [interval.lowerBound, interval.upperBound].map { Figures.fixed(100 * $0, 1) }
    return "(\(ends[0]) to \(ends[1]))"
  }
}

extension Mean {
  var node: JSONNode { .object([("mean", .decimal(value))] + members(interval)) }

  func text(digits: Int) -> String {
    "\(Figures.fixed(value, digits)) (\(Figures.fixed(interval.lowerBound, digits)) to "
      + "\(Figures.fixed(interval.upperBound, digits)))"
  }
}

extension ShareDifference {
  var node: JSONNode { .object([("difference", .decimal(value))] + members(interval)) }

  /// `-1.2 points (-3.2 to 0.8)`
  var text: String {
    "\(points(value)) points (\(points(interval.lowerBound)) to \(points(interval.upperBound)))"
  }

  /// Without a sign where it is 0.
  private func points(_ share: Double) -> String {
    let text = Figures.fixed(100 * share, 1)
    return text == "-0.0" ? "0.0" : text
  }
}

extension WinRate {
  var node: JSONNode {
    .object(
      [("share", .decimal(rate.value))] + members(rate.interval) + [
        ("wins", .integer(wins)), ("ties", .integer(ties)), ("losses", .integer(losses)),
        ("tie_share", .decimal(tieShare)),
      ])
  }

  /// `65.1 % (60.9 to 69.2), ties 12.4 %`
  var text: String { "\(rate.text), ties \(percent(tieShare))" }
}

extension TestQuestion.Wording {
  /// What figures of choices in it are called in JSON.
  var key: String {
    switch self {
    case .name: "choices"
    case .sentence: "choices_in_sentences"
    }
  }
}

extension ChoiceSummary {
  var node: JSONNode {
    .object([
      ("reported", .text("summed")), ("summed", summed.node), ("per_token", perToken.node),
      ("chance", .decimal(chance)),
    ])
  }

  var text: String {
    "\(summed.text) by their likelihood, \(perToken.text) by its mean over tokens; chance "
      + percent(chance)
  }
}

extension AnswerComparison {
  var members: [(String, JSONNode)] {
    [
      ("win_rate", overall.node), ("by_correctness", byCorrectness.node),
      ("by_length", byLength.node), ("accuracy_gain", accuracyGain.node),
    ]
  }
}

extension AnswerSummary {
  var node: JSONNode {
    .object([
      ("accuracy", accuracy.node), ("ended", ended.node), ("bytes", byteCount.node),
      ("tokens", tokenCount.node),
    ])
  }

  func lines(_ name: String) -> [String] {
    [
      "answers        \(accuracy.text) right, \(ended.text) ended: \(name)",
      "  length       \(byteCount.text(digits: 1)) bytes, \(tokenCount.text(digits: 1)) tokens",
    ]
  }
}
