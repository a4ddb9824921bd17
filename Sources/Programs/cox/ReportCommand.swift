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
      One line a phase: steps, minutes, MFU, the share of its time in which it made the answers that
      it learns from, tokens of these a second, the loss on what was held back, the share of
      questions that its model answers rightly, and how often its answers are better than those of
      the first one that chats: right beats wrong, then short beats long; ties count half. Minutes
      are of steps and answers; the wall clock's stand below them. k1 and k3 are estimates of the
      divergence from the reference, with the limit of the plan's gate.

      The questions are those that training on the run's world never asks. A second table tells how
      often the right one of a question's choices is the likeliest, as a bare name and as a
      sentence, with chance. A model that never learned to chat is asked in plain text, after up to
      four answered questions and without any. Answers are held against those of the first phase
      that chats and of the one before. How far a model is from its reference is measured on answers
      that it draws at temperature 1. Shares stand with the interval that holds them in 95 of 100
      cases.
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
    let plan = try plan(of: run)
    let rows = phases.map { summary in
      PhaseRow(
        summary: summary, marks: exam.marks[summary.phase],
        divergenceLimit: plan?.phases.first { $0.name == summary.phase }?.gates.answers.divergence)
    }
    let table = PhaseTable(rows: rows, first: exam.first, wallSeconds: reader.wallSeconds)
    Report(
      [
        ("run", .text(run)), ("questions", .integer(exam.questionCount)),
        ("chance", .figure(exam.chance)), ("answer_chance", .figure(exam.guessShare)),
        ("seconds", .decimal(table.seconds)), ("wall_seconds", .decimal(table.wallSeconds)),
        ("phases", .list(rows.map(\.node))),
      ],
      lines: table.lines + ExamTable(rows: rows, exam: exam).lines
    ).put(isJSON: invocation.has("json"))
    return 0
  }

  /// nil for a folder that has records only.
  private static func plan(of run: String) throws -> ResolvedPlan? {
    let path = "\(run)/\(RunFile.plan)"
    guard Files.exists(path) else { return nil }
    return try ResolvedPlan(
      planJSON: String(decoding: try Files.read(path, byteCountMax: 16 << 20), as: UTF8.self))
  }
}
