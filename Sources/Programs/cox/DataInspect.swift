import CoordinatorRuntime
import Corpus
import Settings
import Tokenization

/// `cox data inspect`: token files as they lie, or what a run reads of them.
extension DataCommand {
  static let inspect = Command(
    "inspect", overview: "Says what token files hold, or what a step of a run reads.",
    discussion: """
      Without --step and --validation: the files. With one of them: the sequences, text from the
      run folder, examples from their source (65 if they are others than the run read). Of examples
      >> and << mark what is to be learned; phases that sample show the prompts of the iteration.
      --json prints one object for each step: phase, step, iteration (where the phase samples), and
      for every sequence its slice, tokens (position i reads token i and predicts token i + 1),
      masked (the positions that do not count), segment_starts (where attention may not look back
      past), row (of pairs and prompts) and source (of a mixture).
      """,
    arguments: [CommandArgument("directory", help: "A folder of token files, or a run.")],
    options: [
      .option("tokenizer", "file", help: "Shows the beginning of each file as text."),
      .option(
        "step", "number", .integer(1...Int.max),
        help: "Shows what the step reads, counted from 1 as in the tail."),
      .option("to", "number", .integer(1...Int.max), help: "All steps from --step to this one."),
      .option(
        "validation", "which", .choice(["inner", "end"]),
        help: "Shows what the validations inside the phase read, or the one at its end."),
      .option("phase", "name", help: "Of --step or --validation. (default: the first that trains)"),
      json,
    ])

  static func runInspect(_ invocation: Invocation) throws {
    try checkInspect(invocation)
    let directory = invocation.text("directory") ?? ""
    guard invocation.has("step") || invocation.has("validation") else {
      let report = try DataCommands.inspect(
        directory,
        tokenizer: try invocation.text("tokenizer").map { try TokenizerCommands.load($0) })
      return try show(report, report.text, invocation)
    }
    let run = try RunTokens(
      run: directory, phase: invocation.text("phase"), textDigests: textDigests(ofRun: directory))
    if let which = invocation.text("validation") {
      return try showReading(run.validation(atEnd: which == "end"), of: run, invocation)
    }
    let first = invocation.integer("step") ?? 1
    let last = invocation.integer("to") ?? first
    try checkTaken(last, of: run, in: directory)
    for step in first...last {
      try showReading(try run.step(step), of: run, invocation)
    }
  }

  /// Refuses a step that a gate left out.
  private static func checkTaken(_ step: Int, of run: RunTokens, in directory: String) throws {
    let phase = run.phase
    let taken = stepsTaken(ofRun: directory, plan: run.plan).first {
      run.plan.phases[$0.key].name == phase.name
    }
    guard let taken = taken?.value, taken < step, step <= phase.steps else { return }
    throw PlainError(
      "a gate ended \(phase.name) after step \(taken) of \(phase.steps): step \(step) was not "
        + "taken", .usage)
  }

  private static func showReading(
    _ reading: RunTokens.Reading, of run: RunTokens, _ invocation: Invocation
  ) throws {
    let text = invocation.has("json") ? ""
      : reading.text(run.tokenizer, marksTargets: run.phase.kind.readsExamples) + "\n"
    try show(reading, text, invocation)
  }

  /// Refuses options that nothing would read.
  private static func checkInspect(_ invocation: Invocation) throws {
    func refuse(_ problem: String) throws -> Never {
      throw Main.command.refusal(problem, path: invocation.path)
    }
    let (isStep, isValidation) = (invocation.has("step"), invocation.has("validation"))
    if isStep, isValidation { try refuse("--step and --validation do not go together") }
    if invocation.has("to"), !isStep { try refuse("--to needs --step, the first of the steps") }
    if let last = invocation.integer("to"), last < invocation.integer("step") ?? last {
      try refuse("--to is before --step")
    }
    if invocation.has("phase"), !isStep, !isValidation {
      try refuse("--phase needs --step or --validation")
    }
    if invocation.has("tokenizer"), isStep || isValidation {
      try refuse("--tokenizer is for files; a run's own tokenizer shows its steps")
    }
  }
}
