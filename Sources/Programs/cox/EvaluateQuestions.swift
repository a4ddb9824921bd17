import Checkpoints
import Corpus
import Evaluation
import Operators
import Settings
import System
import Telemetry
import Tensors
import Tokenization

/// Questions with known answers: how many a model gets right, and whose answers are better.
extension EvaluateCommand {
  static func askQuestions(_ invocation: Invocation) throws -> Int32 {
    let model = try SavedModel(invocation.text("run") ?? "", invocation)
    let exam = try Exam(invocation, model)
    let other = try rival(of: model, invocation, because: "lengths in tokens would not compare")
    if let other {
      try exam.compare(model, other).put(isJSON: invocation.has("json"))
    } else {
      try exam.measure(model).put(isJSON: invocation.has("json"))
    }
    return 0
  }

  /// The model that `--against` names, if it does.
  ///
  /// - Parameter reason: What would come of another tokenizer.
  static func rival(
    of model: SavedModel, _ invocation: Invocation, because reason: String
  ) throws -> SavedModel? {
    guard let against = invocation.text("against") else { return nil }
    let other = try SavedModel(against, invocation)
    guard other.tokenizer.digest == model.tokenizer.digest else {
      throw PlainError(
        "\(other.checkpoint.path) has another tokenizer than \(model.checkpoint.path): \(reason)",
        .badData)
    }
    return other
  }

  /// - Throws: ``PlainError`` if the model has read no world.
  static func world(of model: SavedModel) throws -> World {
    guard let world = model.world else {
      throw PlainError(
        "\(model.checkpoint.path) has not read the generated world, so it cannot know its facts: "
          + "name a file instead of the word world, and ask without --shots", .badData)
    }
    return world
  }
}

/// The questions that are asked, and how.
private struct Exam {
  private let sheet: QuestionSheet
  private let style: QuestionForm.Style
  private let drawing: QuestionTest.Drawing
  private let turnCount: Int

  init(_ invocation: Invocation, _ model: SavedModel) throws {
    sheet = try QuestionSheet(
      invocation.text("questions") ?? "", limit: invocation.integer("limit"), for: model)
    if let shotCount = invocation.integer("shots") {
      if shotCount > 0 { _ = try EvaluateCommand.world(of: model) }
      style = .text(shots: sheet.shots(shotCount))
    } else {
      style = .chat
      if !model.isTuned {
        note(
          "\(model.checkpoint.name) never learned to chat: --shots 4 asks it in plain text")
      }
    }
    drawing = QuestionTest.Drawing(
      temperature: invocation.number("temperature") ?? 0,
      seed: UInt64(invocation.integer("seed") ?? 1),
      tokenLimit: invocation.integer("answer-tokens") ?? 64)
    turnCount = invocation.integer("turns") ?? 1
    guard turnCount <= sheet.questions.count else {
      throw PlainError("\(turnCount) turns need as many questions", .badData)
    }
  }

  func measure(_ model: SavedModel) throws -> Report {
    let asked = try sheet.ask(model, style, drawing, turnCount: turnCount)
    let answers = asked.answers
    let choices = try TestQuestion.Wording.allCases.compactMap { wording in
      try sheet.choices(asked, wording, model).map { (wording: wording, judged: $0) }
    }
    let summary = AnswerSummary(answers)
    let topics = byTopic { places in
      [("answers", AnswerSummary(places.map { answers[$0] }).accuracy.node)]
        + choices.map { wording, judged in
          (wording.key, ChoiceSummary(places.map { judged[$0] }).summed.node)
        }
    }
    let choiceSummaries = choices.map { ($0.wording, ChoiceSummary($0.judged)) }
    return Report(
      head(model) + [("answers", summary.node), ("answer_chance", .decimal(sheet.guessShare))]
        + choiceSummaries.map { ($0.key, $1.node) } + [("topics", topics)],
      lines: [title(model)] + summary.lines(model.checkpoint.name)
        + ["  by a guess   \(percent(sheet.guessShare)) right, among answers of the sort"]
        + choiceSummaries.map { wording, summary in
          (wording == .name ? "choices        " : "  as sentences ") + summary.text
        })
  }

  func compare(_ model: SavedModel, _ other: SavedModel) throws -> Report {
    let answers = try sheet.ask(model, style, drawing, turnCount: turnCount).answers
    let others = try sheet.ask(other, style, drawing, turnCount: turnCount).answers
    let comparison = AnswerComparison(answers, over: others)
    let (summary, otherSummary) = (AnswerSummary(answers), AnswerSummary(others))
    let topics = byTopic { places in
      let part = AnswerComparison(places.map { answers[$0] }, over: places.map { others[$0] })
      return [("win_rate", part.overall.node)]
    }
    return Report(
      head(model) + [
        ("against", .text(other.checkpoint.name))
      ] + comparison.members + [
        ("answers", summary.node), ("answers_against", otherSummary.node), ("topics", topics),
      ],
      lines: [
        title(model) + ", against \(other.checkpoint.name)",
        "win rate       \(comparison.overall.text)",
        "  correctness  \(comparison.byCorrectness.text)",
        "  length       \(comparison.byLength.text)",
        "  accuracy     \(comparison.accuracyGain.text), the difference",
      ] + summary.lines(model.checkpoint.name) + otherSummary.lines(other.checkpoint.name))
  }

  private func byTopic(_ members: ([Int]) -> [(String, JSONNode)]) -> JSONNode {
    let places = Dictionary(grouping: sheet.questions.indices) {
      sheet.questions[$0].topic ?? ""
    }
    return .list(
      places.sorted { $0.key < $1.key }.map { topic, places in
        .object([("topic", .text(topic)), ("count", .integer(places.count))] + members(places))
      })
  }

  private func head(_ model: SavedModel) -> [(String, JSONNode)] {
    var members: [(String, JSONNode)] = [
      ("checkpoint", .text(model.checkpoint.name)), ("questions", .text(sheet.source)),
      ("count", .integer(sheet.questions.count)), ("of", .integer(sheet.totalCount)),
    ]
    switch style {
    case .chat: members += [("format", .text("chat")), ("turns", .integer(turnCount))]
    case .text(let shots):
      members += [("format", .text("text")), ("shots", .integer(shots.count))]
    }
    return members + [
      ("temperature", .decimal(drawing.temperature)), ("seed", .integer(drawing.seed)),
      ("precision", .text(model.engine.precision.rawValue)),
    ]
  }

  private func title(_ model: SavedModel) -> String {
    let form =
      switch style {
      case .chat where turnCount > 1: "as the last of \(turnCount) in a conversation"
      case .chat: "as a conversation"
      case .text(let shots): "in plain text after \(shots.count) answered ones"
      }
    return "\(model.checkpoint.name): \(sheet.questions.count) of \(sheet.totalCount) questions of "
      + "\(sheet.source), \(form)"
  }
}
