import Checkpoints
import Corpus
import Evaluation
import Settings
import Telemetry
import Tensors

/// Questions with known answers, and where they come from.
struct QuestionSheet {
  /// A file, or the word world.
  let source: String
  let questions: [TestQuestion]
  /// How many the source has.
  let totalCount: Int
  /// Of each question among all of the source; draws follow from it.
  private let places: [Int]
  /// That of the text that the model has read; nil if it has read none.
  private let world: World?

  /// - Parameters:
  ///   - limit: At most so many, evenly spaced; all if nil.
  ///   - model: Whose world is meant where the source is the word.
  /// - Throws: ``PlainError`` if that has read no world, `CorpusError` for a bad file.
  init(_ source: String, limit: Int?, for model: SavedModel) throws {
    self.source = source
    world = model.world
    let all = source == "world"
      ? try EvaluateCommand.world(of: model).unseenQuestions.map(\.asked)
      : try TestQuestion.read(source)
    totalCount = all.count
    places = all.evenIndices(limit)
    questions = places.map { all[$0] }
  }

  /// Answered questions that come before one in plain text; fewer than `count` only where there is
  /// no world. Training asks them, so none of them is unseen.
  func shots(_ count: Int) -> [TestQuestion] {
    (0..<count).compactMap { world?.question($0).asked }
  }

  /// How often a guess is right that knows what each question is about.
  var guessShare: Double { Mean(questions.map(\.guessShare)).value }

  /// The questions put to a model.
  struct Asked {
    let answers: [JudgedAnswer]
    fileprivate let test: QuestionTest
    /// What was said before each question.
    fileprivate let earlier: [Conversation]
  }

  /// Puts the questions to a model.
  ///
  /// - Parameter turnCount: Questions of a conversation, of which the answer to the last counts.
  func ask(
    _ model: SavedModel, _ style: QuestionForm.Style, _ drawing: QuestionTest.Drawing = .init(),
    turnCount: Int = 1
  ) throws -> Asked {
    let test = try test(model, style)
    return try withProgress("\(model.checkpoint.name) answers") { progress in
      let earlier = try test.openings(
        questions, turnCount: turnCount, places: places, drawing, progress: progress.update)
      let answers = try test.answers(
        questions, after: earlier, places: places, drawing, progress: progress.update)
      return Asked(answers: answers, test: test, earlier: earlier)
    }
  }

  /// How likely a model finds the choices; nil where the source lacks them in this wording.
  func choices(
    _ asked: Asked, _ wording: TestQuestion.Wording, _ model: SavedModel
  ) throws -> [JudgedChoices]? {
    guard questions.allSatisfy({ $0.answers(wording) != nil }) else { return nil }
    return try withProgress("\(model.checkpoint.name) reads choices") {
      try asked.test.choices(questions, wording, after: asked.earlier, progress: $0.update)
    }
  }

  /// Answers in conversations that a model draws from its own distribution, and ln p of their
  /// tokens under another one.
  func draw(
    _ model: SavedModel, readBy other: SavedModel
  ) throws -> (answers: [QuestionTest.DrawnAnswer], logProbabilities: [[Double]]) {
    let answers = try withProgress("\(model.checkpoint.name) draws answers") {
      try test(model, .chat).draw(
        questions, places: places, .init(temperature: 1), progress: $0.update)
    }
    let found = try withProgress("\(other.checkpoint.name)'s reference reads them") {
      try test(other, .chat).logProbabilities(of: answers, progress: $0.update)
    }
    return (answers, found)
  }

  private func test(_ model: SavedModel, _ style: QuestionForm.Style) throws -> QuestionTest {
    try QuestionTest(
      model.weights, engine: model.engine, tokenizer: model.tokenizer, style: style)
  }
}

extension SavedModel {
  /// The world of the text that it has read, as of the phase that its checkpoint is of; where the
  /// run began with a model, also that of the text it is evaluated on.
  var world: World? {
    for phase in plan.phases.prefix(checkpoint.state.phaseIndex + 1).reversed() {
      // The tokenizer has data too, but no model learns from it.
      if phase.kind == .tokenizer { continue }
      if phase.kind == .evaluate && plan.initialization.from == nil { continue }
      for mixed in phase.data.sources {
        if case .world(let seed, _) = mixed.source { return World(seed: seed) }
      }
    }
    return nil
  }
}
