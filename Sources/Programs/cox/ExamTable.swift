import Corpus
import Evaluation
import Planning
import Settings
import Telemetry

/// What models made of questions and of their choices, and how their answers compare.
struct ExamTable {
  let rows: [PhaseRow]
  let exam: PhaseExam

  var lines: [String] {
    guard exam.questionCount > 0 else { return [] }
    return ["", "\(exam.questionCount) questions that training never asks, and their choices"]
      + Figures.table([titles] + trials + [chances]) + [""]
      + Self.legend + rows.flatMap(Self.notes)
  }

  private let titles = ["phase", "asked", "right %", "likeliest name %", "likeliest sentence %"]

  private var trials: [[String]] {
    rows.flatMap { row -> [[String]] in
      guard let marks = row.marks else { return [] }
      return [marks.trial, marks.unaided].compactMap { $0 }.map {
        Self.cells(row.summary.phase, $0)
      }
    }
  }

  private static func cells(_ phase: String, _ trial: PhaseExam.Trial) -> [String] {
    let asked = trial.shotCount.map { "in text after \($0) answered" } ?? "in conversation"
    return [
      phase, asked, trial.answers.accuracy.figures, trial.names.summed.figures,
      trial.sentences?.summed.figures ?? "-",
    ]
  }

  private var chances: [String] {
    let shares = [exam.guessShare, exam.chance, exam.chance]
    return ["chance", ""] + shares.map { $0.map { Figures.fixed(100 * $0, 1) } ?? "-" }
  }

  private static let legend = [
    "Documents hardly have a bare name for an answer; a sentence asks for the fact alone. Those",
    "that are likeliest before sft were learned from documents: sft teaches asking and answering,",
    "not facts.",
  ]

  private static func notes(_ row: PhaseRow) -> [String] {
    guard let marks = row.marks else { return [] }
    let name = row.summary.phase
    let matches = [marks.overFirst, marks.overPrevious].compactMap { $0 }
    let distance = marks.distance.map {
      "\(name) is k1 \(Figures.fixed($0.k1, 4)), k3 \(Figures.fixed($0.k3, 4)) nats per token from "
        + "its reference, by \($0.tokenCount) tokens that it drew"
    }
    return matches.flatMap { match in
      [
        "\(name) over \(match.phase): \(match.comparison.overall.text)",
        "  by correctness alone \(match.comparison.byCorrectness.text)",
        "  by length alone \(match.comparison.byLength.text)",
        "  difference in accuracy \(match.comparison.accuracyGain.text)",
      ]
    } + (distance.map { [$0] } ?? [])
  }
}

extension PhaseExam.Marks {
  var members: [(String, JSONNode)] {
    var members = trial.members + [("chance", .decimal(trial.names.chance))]
    if let unaided { members.append(("without_shots", .object(unaided.members))) }
    members += overFirst?.comparison.members ?? []
    if let overPrevious {
      members.append((
        "over_previous",
        .object([("phase", .text(overPrevious.phase))] + overPrevious.comparison.members)
      ))
    }
    if let distance {
      members.append((
        "from_reference",
        .object([
          ("k1", .decimal(distance.k1)), ("k3", .decimal(distance.k3)),
          ("tokens", .integer(distance.tokenCount)),
        ])
      ))
    }
    return members
  }
}

extension PhaseExam.Trial {
  fileprivate var members: [(String, JSONNode)] {
    [("answers", answers.node)] + (shotCount.map { [("shots", .integer($0))] } ?? []) + [
      (TestQuestion.Wording.name.key, names.summed.node),
    ] + (sentences.map { [(TestQuestion.Wording.sentence.key, $0.summed.node)] } ?? [])
  }
}
