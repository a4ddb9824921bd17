import Planning
import Settings
import System

/// `cox plan`: what a plan resolves to and what it will cost, before anything runs.
enum PlanCommand {
  static let command = Command(
    "plan",
    overview: "Shows what a plan resolves to: every value, memory, arithmetic, time.",
    discussion: """
      Nothing is run. Exits 78 where the plan is wrong, or this machine too small for one of the
      workers; they may all have machines of their own.
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
    ] + PlanFile.options + [
      .flag("json", help: "Print the report as JSON.")
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let plan = try PlanFile.named(invocation)
    let resolution = try PlanFile.resolve(plan, invocation)
    let workerCount = invocation.integer("workers") ?? 1
    let threadCount =
      invocation.integer("threads") ?? max(1, allowedProcessors().count / workerCount)
    let report = PlanFile.report(
      resolution, workerCount: workerCount, threadCount: threadCount)
    if invocation.has("json") {
      writeText(report.json.jsonText(), to: 1)
    } else {
      for line in report.lines { put(line) }
    }
    try report.checkEach()
    if let shortage = report.shortage {
      note("warning: together \(shortage): these workers need more hosts")
    }
    return 0
  }
}
