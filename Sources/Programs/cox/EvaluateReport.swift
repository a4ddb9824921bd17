import Evaluation
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

/// A number with `digits` digits after the point.
func fixed(_ value: Double, _ digits: Int) -> String {
  let scale = (0..<digits).reduce(1.0) { scale, _ in 10 * scale }
  let scaled = (value.magnitude * scale).rounded()
  guard scaled < 1e15 else { return "\(value)" }
  let text = String(Int64(scaled))
  let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
  let sign = value < 0 && scaled > 0 ? "-" : ""
  return digits == 0 ? sign + text : "\(sign)\(padded.dropLast(digits)).\(padded.suffix(digits))"
}

/// A share of one as percent: `81.2 %`.
func percent(_ share: Double) -> String { fixed(100 * share, 1) + " %" }

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
  var figures: String { "\(fixed(100 * value, 1)) \(range)" }

  private var range: String {
    "(\(fixed(100 * interval.lowerBound, 1)) to \(fixed(100 * interval.upperBound, 1)))"
  }
}

extension Mean {
  var node: JSONNode { .object([("mean", .decimal(value))] + members(interval)) }

  func text(digits: Int) -> String {
    "\(fixed(value, digits)) (\(fixed(interval.lowerBound, digits)) to "
      + "\(fixed(interval.upperBound, digits)))"
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
