import Checkpoints
import Corpus
import Evaluation
import Settings
import Tensors

/// What the models that the phases left make of questions.
struct PhaseExam {
  /// What one phase's model is good for.
  struct Marks {
    /// As a conversation; of a model that never learned to chat, in plain text.
    var trial: Trial
    /// Of such a model, without answered questions before; nil if there were none anyway.
    var unaided: Trial?
    /// Over the first phase that learned to chat; nil for that one and for those before it.
    var overFirst: Match?
    /// Over the phase before, where that is not the first one.
    var overPrevious: Match?
    /// Of a phase that has a reference.
    var distance: ReferenceDistance?
  }

  /// One way of asking.
  struct Trial {
    /// Answered questions that came first; nil in a conversation.
    var shotCount: Int?
    var answers: AnswerSummary
    var names: ChoiceSummary
    /// nil where the questions have no such choices.
    var sentences: ChoiceSummary?
  }

  /// Answers held against those of another phase.
  struct Match {
    var phase: String
    var comparison: AnswerComparison
  }

  private(set) var marks: [String: Marks] = [:]
  private(set) var questionCount = 0
  /// Mean over questions of 1 / choices; nil before a model was asked.
  private(set) var chance: Double?
  /// How often a guess among a topic's answers is right.
  private(set) var guessShare: Double?
  /// The first phase that learned to chat, which others are held against.
  var first: String? { answered.first?.phase }
  /// Of those that learned to chat, in the order of the plan.
  private var answered: [(phase: String, answers: [JudgedAnswer])] = []
  private static let shotCountMax = 4

  init(_ run: String, _ invocation: Invocation) throws {
    let source = invocation.text("questions") ?? "world"
    guard source != "none" else { return }
    let checkpoints = try CheckpointFolder.newestOfPhases(inRun: run).sorted { $0.key < $1.key }
    for path in checkpoints.map(\.value) {
      let checkpoint = try CheckpointReader(path)
      guard try Self.showsPolicy(checkpoint) else { continue }
      let model = try SavedModel(path, invocation)
      // It knows nothing of what would be asked yet.
      if source == "world", model.world == nil { continue }
      let sheet = try QuestionSheet(source, limit: invocation.integer("limit"), for: model)
      questionCount = sheet.questions.count
      guessShare = sheet.guessShare
      let phase = checkpoint.state.phaseName
      marks[phase] = model.isTuned ? try chat(model, sheet, phase) : try plain(model, sheet)
      marks[phase]?.distance = try ReferenceDistance(model, sheet, invocation)
      chance = marks[phase]?.trial.names.chance
    }
    if marks.isEmpty {
      note("no model of \(run) has read the generated world; --questions FILE asks others")
    }
  }

  /// Whether a phase left a policy that no other phase shows: it trained it, or it is an evaluation
  /// of the one that the run began with.
  private static func showsPolicy(_ checkpoint: CheckpointReader) throws -> Bool {
    let text = String(decoding: try checkpoint.plan(), as: UTF8.self)
    let phases = try ResolvedPlan(planJSON: text).phases.prefix(checkpoint.state.phaseIndex + 1)
    guard phases.last?.kind == .evaluate else { return checkpoint.stateLayout.changesPolicy }
    return !phases.contains(where: \.kind.takesSteps)
  }

  private mutating func chat(
    _ model: SavedModel, _ sheet: QuestionSheet, _ phase: String
  ) throws -> Marks {
    let (trial, answers) = try trial(model, sheet, .chat)
    var found = Marks(trial: trial)
    func match(_ other: (phase: String, answers: [JudgedAnswer])) -> Match {
      Match(phase: other.phase, comparison: AnswerComparison(answers, over: other.answers))
    }
    found.overFirst = answered.first.map(match)
    found.overPrevious = answered.dropFirst().last.map(match)
    answered.append((phase, answers))
    return found
  }

  private func plain(_ model: SavedModel, _ sheet: QuestionSheet) throws -> Marks {
    // As many shots as there are and fit the context.
    var shots = sheet.shots(Self.shotCountMax)
    while true {
      do {
        let found = try trial(model, sheet, .text(shots: shots)).trial
        let unaided = shots.isEmpty ? nil : try trial(model, sheet, .text(shots: [])).trial
        return Marks(trial: found, unaided: unaided)
      } catch EvaluationError.tooLong where !shots.isEmpty {
        shots.removeLast()
      }
    }
  }

  private func trial(
    _ model: SavedModel, _ sheet: QuestionSheet, _ style: QuestionForm.Style
  ) throws -> (trial: Trial, answers: [JudgedAnswer]) {
    let asked = try sheet.ask(model, style)
    func choices(_ wording: TestQuestion.Wording) throws -> ChoiceSummary? {
      try sheet.choices(asked, wording, model).map(ChoiceSummary.init)
    }
    guard let names = try choices(.name) else { preconditionFailure("questions without choices") }
    var found = Trial(
      answers: AnswerSummary(asked.answers), names: names, sentences: try choices(.sentence))
    if case .text(let shots) = style { found.shotCount = shots.count }
    return (found, asked.answers)
  }
}
