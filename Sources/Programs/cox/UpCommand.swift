import CoordinatorRuntime
import Operators
import Planning
import Settings
import System
import Telemetry

/// `cox up`: coordinator and workers as processes of this machine.
enum UpCommand {
  static let command = Command(
    "up",
    overview: "Trains on this machine: a coordinator and workers as local processes.",
    discussion: """
      Prints what the plan will cost, then each step as it is taken. Ctrl-C once saves a
      checkpoint and exits 75; the same command goes on from there. Twice leaves at once.
      """,
    arguments: [
      CommandArgument(
        "plan", isOptional: true,
        help: "The plan file (JSON with comments). (default: launch/plans/quickstart.json, and "
          + "launch/plans/text.json with --data)")
    ],
    options: [
      .option("workers", "count", .integer(1...4096), default: "1", help: "Worker processes."),
      .option(
        "threads", "count", .integer(1...4096),
        help: "Threads of each worker. (default: its share of the processors)"),
      .matmul,
      .option("run", "directory", help: "The run folder. (default: runs/<plan's name>)"),
    ] + PlanFile.options + [
      .flag(
        "amend",
        help: "On resume, accept a plan that differs in what cannot alter steps already taken."),
      .flag("json", help: "Print the closing report as JSON."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let plan = try PlanFile.named(invocation)
    let resolution = try PlanFile.resolve(plan, invocation)
    let workerCount = invocation.integer("workers") ?? 1
    let threadCount =
      invocation.integer("threads") ?? max(1, allowedProcessors().count / workerCount)
    // Refused here rather than in the log of a worker.
    _ = try chosenBackend(invocation.matmul, .best)
    let options = try LocalClusterOptions(
      plan: plan, runDirectory: invocation.text("run") ?? "runs/\(resolution.plan.name)",
      workerCount: workerCount, threadCount: threadCount, matmul: invocation.matmul,
      data: try invocation.dataSource(),
      sets: invocation.assignments("set"), isAmending: invocation.has("amend"),
      resumeCommand: shellText(CommandLine.arguments),
      programFolder: Files.parent(of: programPath()))

    let report = PlanFile.report(
      resolution, workerCount: workerCount, threadCount: threadCount)
    for line in report.summaryLines { note(line) }
    try report.checkTogether()
    note("run         \(options.runDirectory)")

    let code = try LocalCluster(options, tell: note).run()
    try close(options.runDirectory, code, isJSON: invocation.has("json"))
    return code
  }

  /// The report of what there is, however the run ended.
  private static func close(_ run: String, _ code: Int32, isJSON: Bool) throws {
    guard code == 0 || code == 75, let report = try? TailReport(runDirectory: run),
      report.summary != nil
    else { return }
    if isJSON { return put(try report.json()) }
    writeText("\n" + report.text(withLines: false), to: 1)
    if code == 0 { put("\n" + closingAdvice(run: run)) }
  }
}
