/// What a line of the table shows of a phase that learns from pairs or from answers, where its loss
/// says little: `acc .64` in the place of the loss, the same of what was held back in that of its
/// loss, and others at the end of the line.
struct PhaseCells {
  private let record: StepRecord
  /// Its name in the records.
  private let leading: String

  /// nil for a record of another phase.
  init?(_ record: StepRecord) {
    self.record = record
    if record.extra.hasPairs {
      leading = "accuracy"
    } else if record.extra["reward"] ?? record.extra["validation_reward"] != nil {
      leading = "reward"
    } else {
      return nil
    }
  }

  /// Names of the records, and what the table has room for.
  private static let labels = [
    ("accuracy", "acc"), ("margin", "mar"), ("reward", "rew"), ("kl", "kl"), ("length", "len"),
  ]

  /// Seven characters; "-" for a validation that no step comes before.
  var trained: String {
    let label = Self.labels.first { $0.0 == leading }?.1 ?? leading
    return record.isEvaluation
      ? "-" : label + NumberText.right(Self.short(record.extra[leading]), 4)
  }

  /// - Parameter validated: The newest record with a validation that the line tells of.
  func heldBack(_ validated: StepRecord?) -> String {
    validated?.extra["validation_\(leading)"].map(Self.short) ?? "-"
  }

  var others: String {
    Self.labels.filter { $0.0 != leading }.compactMap { name, label in
      record.extra[name].map { "\(label) \(Self.short($0))" }
    }.joined(separator: " ")
  }

  /// Two digits at most, so that rates and rewards fit four characters: `.64`, `-1.2`, `12`.
  private static func short(_ value: Double?) -> String {
    guard let value, value.isFinite else { return "n/a" }
    if value.magnitude < 0.995 {
      return NumberText.fixed(value, 2).replacing("0.", with: ".", maxReplacements: 1)
    }
    return NumberText.fixed(value, value.magnitude < 9.95 ? 1 : 0)
  }
}

extension [String: Double] {
  /// Whether they are figures of a phase that learns from pairs of answers.
  var hasPairs: Bool { self["decided"] ?? self["validation_decided"] != nil }

  /// What the losses beside these figures are means over.
  var lossUnit: String { hasPairs ? "pair" : "token" }
}
