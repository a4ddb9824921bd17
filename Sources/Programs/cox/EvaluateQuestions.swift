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
    if let against = invocation.text("against") {
      let other = try SavedModel(against, invocation)
      guard other.tokenizer.digest == model.tokenizer.digest else {
        throw PlainError(
          "\(other.checkpoint.path) has another tokenizer than \(model.checkpoint.path): lengths "
            + "in tokens would not compare", .badData)
      }
      try exam.compare(model, other).put(isJSON: invocation.has("json"))
    } else {
      try exam.measure(model).put(isJSON: invocation.has("json"))
    }
    return 0
  }

  /// The world of the run's text, as of the phase that the checkpoint is of.
  static func world(of model: SavedModel) throws -> World {
    let state = model.checkpoint.state
    for phase in model.plan.phases.prefix(state.phaseIndex + 1).reversed() {
      for mixed in phase.data.sources {
        if case .world(let seed, _) = mixed.source { return World(seed: seed) }
      }
    }
    throw PlainError(
      "\(model.checkpoint.path) has not read the generated world, so it cannot know its facts: "
        + "name a file of questions, and ask without --shots", .badData)
  }
}

/// The questions that are asked, and how.
private struct Exam {
  private let source: String
  private let questions: [TestQuestion]
  private let places: [Int]
  private let questionCount: Int
  private let style: QuestionForm.Style
  private let drawing: QuestionTest.Drawing
  private let turnCount: Int

  init(_ invocation: Invocation, _ model: SavedModel) throws {
    source = invocation.text("questions") ?? ""
    let all = source == "world"
      ? try EvaluateCommand.world(of: model).unseenQuestions.map(\.asked)
      : try TestQuestion.read(source)
    questionCount = all.count
    places = all.evenIndices(invocation.integer("limit"))
    questions = places.map { all[$0] }
    if let shots = invocation.integer("shots") {
      // Training asks them, so none of them is unseen.
      let world = shots > 0 ? try EvaluateCommand.world(of: model) : nil
      style = .text(shots: (0..<shots).compactMap { world?.question($0).asked })
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
    guard turnCount <= questions.count else {
      throw PlainError("\(turnCount) turns need as many questions", .badData)
    }
  }

  func measure(_ model: SavedModel) throws -> Report {
    let test = try test(model)
    let (earlier, answers) = try answer(test, model)
    let choices = try withProgress("reading choices") { progress in
      try test.choices(questions, after: earlier, progress: progress.update)
    }
    let (summary, choice) = (AnswerSummary(answers), ChoiceSummary(choices))
    let topics = byTopic { places in
      [("answers", AnswerSummary(places.map { answers[$0] }).accuracy.node)]
        + [("choices", ChoiceSummary(places.map { choices[$0] }).summed.node)]
    }
    return Report(
      head(model) + [
        ("answers", summary.node),
        (
          "choices",
          .object([
            ("reported", .text("summed")), ("summed", choice.summed.node),
            ("per_token", choice.perToken.node), ("chance", .decimal(choice.chance)),
          ])
        ),
        ("topics", topics),
      ],
      lines: [title(model)] + summary.lines(model.checkpoint.name) + [
        "choices        \(choice.summed.text) by their likelihood, \(choice.perToken.text) by its "
          + "mean over tokens; chance \(percent(choice.chance))"
      ])
  }

  func compare(_ model: SavedModel, _ other: SavedModel) throws -> Report {
    let answers = try answer(test(model), model).answers
    let others = try answer(test(other), other).answers
    let comparison = AnswerComparison(answers, over: others)
    let (summary, otherSummary) = (AnswerSummary(answers), AnswerSummary(others))
    let topics = byTopic { places in
      let part = AnswerComparison(places.map { answers[$0] }, over: places.map { others[$0] })
      return [("win_rate", part.overall.node)]
    }
    return Report(
      head(model) + [
        ("against", .text(other.checkpoint.name)), ("win_rate", comparison.overall.node),
        ("by_correctness", comparison.byCorrectness.node), ("by_length", comparison.byLength.node),
        ("answers", summary.node), ("answers_against", otherSummary.node), ("topics", topics),
      ],
      lines: [
        title(model) + ", against \(other.checkpoint.name)",
        "win rate       \(comparison.overall.text)",
        "  correctness  \(comparison.byCorrectness.text)",
        "  length       \(comparison.byLength.text)",
      ] + summary.lines(model.checkpoint.name) + otherSummary.lines(other.checkpoint.name))
  }

  private func test(_ model: SavedModel) throws -> QuestionTest {
    try QuestionTest(
      model.weights, engine: model.engine, tokenizer: model.tokenizer, style: style)
  }

  /// The answers, and what was said before each.
  private func answer(
    _ test: QuestionTest, _ model: SavedModel
  ) throws -> (earlier: [Conversation], answers: [JudgedAnswer]) {
    try withProgress("\(model.checkpoint.name) answers") { progress in
      let earlier = try test.openings(
        questions, turnCount: turnCount, places: places, drawing, progress: progress.update)
      let answers = try test.answers(
        questions, after: earlier, places: places, drawing, progress: progress.update)
      return (earlier, answers)
    }
  }

  private func byTopic(_ members: ([Int]) -> [(String, JSONNode)]) -> JSONNode {
    let places = Dictionary(grouping: questions.indices) { questions[$0].topic ?? "" }
    return .list(
      places.sorted { $0.key < $1.key }.map { topic, places in
        .object([("topic", .text(topic)), ("count", .integer(places.count))] + members(places))
      })
  }

  private func head(_ model: SavedModel) -> [(String, JSONNode)] {
    var members: [(String, JSONNode)] = [
      ("checkpoint", .text(model.checkpoint.name)), ("questions", .text(source)),
      ("count", .integer(questions.count)), ("of", .integer(questionCount)),
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
    let name = model.checkpoint.name
    return "\(name): \(questions.count) of \(questionCount) questions of \(source), \(form)"
  }
}
