import CoordinatorRuntime
import Settings
import System
import Transport

@main struct Main {
  static func main() {
    ProgramEdge.run(command, arguments: CommandLine.arguments) { invocation in
      if let problem = Failpoint.problem { throw command.refusal(problem) }
      return runCoordinator(try options(invocation))
    }
  }

  static let command = Command(
    "coordinator",
    overview: "Schedules the phases of a plan, serves workers, and keeps the run's records.",
    discussion: """
      The first line on standard output is 'listening on HOST:PORT'. The program exits 0 once the
      last checkpoint is verified, and its workers with it. Ctrl-C once saves a checkpoint and
      exits 75; twice leaves at once.
      """,
    arguments: [CommandArgument("plan", help: "The plan file (JSON with comments).")],
    options: [
      .option("run", "directory", help: "The run folder. (default: runs/<plan's name>)"),
      .option(
        "listen", "host:port", default: "127.0.0.1:7070",
        help: "Where workers connect; port 0 picks a free one."),
      .option(
        "min-workers", "count", .integer(1...4096), default: "1",
        help: "Workers to wait for before the first step."),
      .data,
      .option(
        "set", "key=value", .assignment, repeats: true,
        help: "Overrides a key of the plan, such as batch.sequences=32."),
      .flag(
        "amend",
        help: "On resume, accept a plan that differs in what cannot alter steps already taken."),
      .flag(
        "plaintext",
        help: "Serve other machines without encryption, on a network you trust."),
      .option(
        "congestion", "name", default: "cubic", help: "TCP congestion control of every socket."),
    ])

  static func options(_ invocation: Invocation) throws -> CoordinatorOptions {
    let listen = invocation.text("listen") ?? "127.0.0.1:7070"
    let address: Address
    do {
      address = try Address(parsing: listen)
    } catch {
      throw command.refusal("--listen: \(error)")
    }
    return CoordinatorOptions(
      plan: invocation.text("plan") ?? "",
      runDirectory: invocation.text("run"),
      listen: address,
      workerCountMin: invocation.integer("min-workers") ?? 1,
      data: try invocation.dataSource(),
      sets: invocation.assignments("set"),
      isAmending: invocation.has("amend"),
      isPlaintext: invocation.has("plaintext"),
      congestion: invocation.text("congestion") ?? "cubic",
      resumeCommand: shellText(CommandLine.arguments))
  }
}
