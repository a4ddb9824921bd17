import Settings
import System
import Telemetry

/// `cox tail`: the MFU report.
enum TailCommand {
  static let command = Command(
    "tail",
    overview: "Shows a run's steps, speed and MFU as they happen.",
    discussion: """
      Ends when the run does. MFU is printed with its formula and the peak it is measured
      against; docs/mfu.md explains the columns.
      """,
    arguments: [
      CommandArgument(
        "run", isOptional: true, help: "The run's folder. (default: the newest under runs/)")
    ],
    options: [
      .flag("once", help: "Print the report as it is now and leave."),
      .flag("nodes", help: "Show each worker."),
      .flag("json", help: "Print records as JSON lines; with --once the summary."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let run = try invocation.text("run") ?? newestRun()
    if invocation.has("once") {
      let report = try TailReport(runDirectory: run)
      if !invocation.has("json") {
        writeText(report.text(withNodes: invocation.has("nodes")), to: 1)
      } else if report.summary == nil {
        put("null")
      } else {
        put(try report.json())
      }
      return 0
    }
    let follower = try TailFollower(
      runDirectory: run,
      format: invocation.has("json") ? .json : .text(withNodes: invocation.has("nodes")))
    while true {
      for line in try follower.poll() { put(line) }
      if follower.isEnded { return 0 }
      pauseThread(milliseconds: 200)
    }
  }

  static func newestRun() throws -> String {
    guard let run = try RunList.newest(under: "runs") else {
      throw PlainError("there is no run under runs/; name one, or start one: cox up", .noInput)
    }
    return run
  }
}
