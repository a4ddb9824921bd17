import Checkpoints
import Corpus
import Evaluation
import Settings
import System
import Telemetry
import Tensors

/// `cox report`: what each phase of a run cost, and what it is good for.
enum ReportCommand {
  static let command = Command(
    "report",
    overview: "Shows what each phase of a run cost, and how good its model is.",
    discussion: """
      One line a phase: steps, minutes, MFU, tokens of answers a second, the loss on what was held
      back, the share of questions that its model answers rightly, and how often its answers are
      better than those of the first one that chats: right beats wrong, then short beats long; ties
      count half. The questions are those that training on the run's world never asks. A model that
      never learned to chat is asked in plain text, after up to four answered questions. Shares
      stand with the interval that holds them in 95 of 100 cases.
      """,
    arguments: [
      CommandArgument(
        "run", isOptional: true, help: "The run's folder. (default: the newest under runs/)")
    ],
    options: [
      .option(
        "questions", "file", default: "world",
        help: "Questions as `cox data world --examples` writes them to unseen.jsonl; or the word "
          + "world, where the run read it; or the word none."),
      .option(
        "limit", "count", .integer(1...Int.max),
        help: "At most so many questions, evenly spaced. (default: all)"),
    ] + SavedModel.engineOptions + [.flag("json", help: "Print the figures as JSON.")])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let run = try invocation.text("run") ?? TailCommand.newestRun()
    let reader = try RunReader(runDirectory: run)
    _ = try reader.update()
    let phases = PhaseSummary.all(
      reader.log, events: reader.events, outline: .read(runDirectory: run))
    guard !phases.isEmpty else { throw PlainError("\(run) has not taken a step yet", .noInput) }
    let exam = try PhaseExam(run, invocation)
    let rows = phases.map { PhaseRow(summary: $0, marks: exam.marks[$0.phase]) }
    if invocation.has("json") {
      put(
        JSONNode.object([
          ("run", .text(run)), ("questions", .integer(exam.questionCount)),
          ("chance", exam.chance.map { .decimal($0) } ?? JSONNode(.null)),
          ("phases", .list(rows.map(\.node))),
        ]).jsonText(isIndented: false))
    } else {
      for line in PhaseRow.table(rows, standard: exam.standard?.phase) + exam.notes(rows) {
        put(line)
      }
    }
    return 0
  }
}

/// What the models that the phases left answer to questions.
private struct PhaseExam {
  /// What one phase's model is good for.
  struct Marks {
    var answers: AnswerSummary
    /// Of a model that never learned to chat: how it was asked, and how often the right choice is
    /// the likeliest.
    var plain: (shotCount: Int, choices: ChoiceSummary)?
    /// Over the first phase that learned to chat; nil for that one and for those before it.
    var comparison: AnswerComparison?
  }

  private(set) var marks: [String: Marks] = [:]
  private(set) var questionCount = 0
  private(set) var chance: Double?
  /// The phase that others are held against, and its answers.
  private(set) var standard: (phase: String, answers: [JudgedAnswer])?
  private static let shotCountMax = 4

  init(_ run: String, _ invocation: Invocation) throws {
    let source = invocation.text("questions") ?? "world"
    guard source != "none" else { return }
    let checkpoints = try CheckpointFolder.newestOfPhases(inRun: run).sorted { $0.key < $1.key }
    for path in checkpoints.map(\.value) {
      let checkpoint = try CheckpointReader(path)
      guard checkpoint.stateLayout.changesPolicy else { continue }
      let model = try SavedModel(path, invocation)
      let world = source == "world" ? try? EvaluateCommand.world(of: model) : nil
      // It knows nothing of what would be asked yet.
      if source == "world", world == nil { continue }
      let all = try world?.unseenQuestions.map(\.asked) ?? TestQuestion.read(source)
      let places = all.evenIndices(invocation.integer("limit"))
      questionCount = places.count
      marks[checkpoint.state.phaseName] = try mark(
        model, places.map { all[$0] }, places: places, world)
    }
    if marks.isEmpty {
      note("no model of \(run) has read the generated world; --questions FILE asks others")
    }
  }

  private mutating func mark(
    _ model: SavedModel, _ questions: [TestQuestion], places: [Int], _ world: World?
  ) throws -> Marks {
    guard model.isTuned else {
      // As many shots as there are and fit the context.
      var shots = world.map { world in (0..<Self.shotCountMax).map { world.question($0).asked } }
        ?? []
      while true {
        do {
          return try plainMarks(model, questions, places: places, shots)
        } catch EvaluationError.tooLong where !shots.isEmpty {
          shots.removeLast()
        }
      }
    }
    let (_, answers) = try ask(model, .chat, questions, places: places)
    var found = Marks(answers: AnswerSummary(answers))
    if let standard {
      found.comparison = AnswerComparison(answers, over: standard.answers)
    } else {
      standard = (model.checkpoint.state.phaseName, answers)
    }
    return found
  }

  private mutating func plainMarks(
    _ model: SavedModel, _ questions: [TestQuestion], places: [Int], _ shots: [TestQuestion]
  ) throws -> Marks {
    let (test, answers) = try ask(model, .text(shots: shots), questions, places: places)
    let choices = ChoiceSummary(try test.choices(questions))
    chance = choices.chance
    return Marks(
      answers: AnswerSummary(answers), plain: (shotCount: shots.count, choices: choices))
  }

  private func ask(
    _ model: SavedModel, _ style: QuestionForm.Style, _ questions: [TestQuestion], places: [Int]
  ) throws -> (QuestionTest, [JudgedAnswer]) {
    let test = try QuestionTest(
      model.weights, engine: model.engine, tokenizer: model.tokenizer, style: style)
    let answers = try withProgress("\(model.checkpoint.name) answers") {
      try test.answers(questions, places: places, .init(), progress: $0.update)
    }
    return (test, answers)
  }

  /// What the table's columns do not say.
  func notes(_ rows: [PhaseRow]) -> [String] {
    guard questionCount > 0 else { return [] }
    var lines = ["", "\(questionCount) questions that training never asks"]
    for row in rows {
      guard let marks = row.marks else { continue }
      let name = row.summary.phase
      if let (shotCount, choices) = marks.plain {
        lines.append(
          "  \(name): asked in plain text after \(shotCount) answered ones; the right choice is "
            + "the likeliest in \(choices.summed.text), chance \(percent(choices.chance))")
      }
      if let comparison = marks.comparison {
        lines.append(
          "  \(name) over \(standard?.phase ?? ""): ties \(percent(comparison.overall.tieShare)); "
            + "by correctness alone \(comparison.byCorrectness.text)")
        lines.append("    by length alone \(comparison.byLength.text)")
      }
    }
    return lines
  }
}

/// A line of the report.
private struct PhaseRow {
  var summary: PhaseSummary
  var marks: PhaseExam.Marks?

  private static func columns(
    standard: String?
  ) -> [(title: String, cell: (PhaseRow) -> String?)] {
    [
      ("phase", \.summary.phase),
      ("steps", { $0.summary.stepsText == "0" ? nil : $0.summary.stepsText }),
      ("minutes", { fixed($0.summary.seconds / 60, 1) }),
      ("MFU %", { ($0.summary.mfuNominal ?? $0.summary.mfuMeasured).map { fixed(100 * $0, 1) } }),
      ("answers' tok/s", { $0.summary.rolloutTokensPerS.map { fixed($0, 0) } }),
      ("held back", \.heldBack),
      ("right %", { $0.marks?.answers.accuracy.figures }),
      ("better than \(standard ?? "sft") %", { $0.marks?.comparison?.overall.rate.figures }),
    ]
  }

  /// Loss where there is one, and what tells more in phases of preference.
  private var heldBack: String? {
    let figures = summary.validationFigures
    let parts = [
      summary.validationLoss.map { "loss " + fixed($0, 4) },
      figures["validation_accuracy"].map { "pairs right " + percent($0) },
      figures["validation_reward"].map { "reward " + fixed($0, 2) },
      figures["validation_kl"].map { "KL " + fixed($0, 3) },
    ].compactMap { $0 }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  static func table(_ rows: [PhaseRow], standard: String?) -> [String] {
    let columns = columns(standard: standard)
    let lines = [columns.map(\.title)] + rows.map { row in columns.map { $0.cell(row) ?? "-" } }
    let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { line in
      let cells = zip(line, widths).map { cell, width in
        cell + String(repeating: " ", count: width - cell.count)
      }
      return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
    }
  }

  var node: JSONNode {
    func figure(_ value: Double?) -> JSONNode { value.map { .decimal($0) } ?? JSONNode(.null) }
    var members: [(String, JSONNode)] = [
      ("phase", .text(summary.phase)), ("steps", .integer(summary.steps)),
      ("seconds", .decimal(summary.seconds)), ("tokens", .integer(summary.tokens)),
      ("mfu_nominal", figure(summary.mfuNominal)), ("mfu_measured", figure(summary.mfuMeasured)),
      ("rollout_tokens", .integer(summary.rolloutTokens)),
      ("rollout_seconds", .decimal(summary.rolloutSeconds)),
      ("rollout_tokens_per_s", figure(summary.rolloutTokensPerS)),
      ("validation_loss", figure(summary.validationLoss)),
    ]
    members += summary.validationFigures.sorted { $0.key < $1.key }.map { ($0, .decimal($1)) }
    guard let marks else { return .object(members) }
    members.append(("answers", marks.answers.node))
    if let (shotCount, choices) = marks.plain {
      members += [
        ("shots", .integer(shotCount)), ("choices", choices.summed.node),
        ("chance", .decimal(choices.chance)),
      ]
    }
    if let comparison = marks.comparison {
      members += [
        ("win_rate", comparison.overall.node), ("by_correctness", comparison.byCorrectness.node),
        ("by_length", comparison.byLength.node),
      ]
    }
    return .object(members)
  }
}
