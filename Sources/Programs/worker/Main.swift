import Settings
import System
import Transport
import WorkerRuntime

@main struct Main {
  static func main() {
    ProgramEdge.run(command, arguments: CommandLine.arguments) { invocation in
      runWorker(try options(invocation))
    }
  }

  static let command = Command(
    "worker",
    overview: "Computes slices of a run's steps and sums gradients with the other workers.",
    discussion: """
      A worker needs the coordinator's address and nothing else: plan, tokens and state come from
      the coordinator and from other workers. It tries an unreachable coordinator for 60 s, then
      exits 69.
      """,
    options: [
      .option(
        "coordinator", "host:port", isRequired: true, help: "Where the coordinator listens."),
      .option(
        "threads", "count", .integer(1...4096),
        help: "Compute threads. (default: the processors this process may use)"),
      .option("name", "name", help: "How reports call this worker. (default: w<number>)"),
      .option(
        "kernels", "variant",
        help: "scalar, avx2, avx512, avx512bf16 or neon. (default: the best there is)"),
      .matmul,
      .option(
        "advertise", "host:port",
        help: "Where other workers reach this one. (default: the address it reaches the "
          + "coordinator from)"),
      .option(
        "connect-timeout", "seconds", .number(0...86_400), default: "60",
        help: "How long an unreachable coordinator is tried."),
      .option(
        "nominal-gflops", "rate", .number(0.001...1e9),
        help: "Nominal peak of this worker's cores, where the processor hides its name."),
      .flag("pin", help: "Keep each thread on one processor."),
      .flag(
        "plaintext",
        help: "Talk to other machines without encryption, on a network you trust."),
      .option(
        "congestion", "name", default: "cubic", help: "TCP congestion control of every socket."),
      .flag(
        "no-lending",
        help: "Send gradients over TCP also to workers of this machine, which otherwise copy them "
          + "from this one's memory."),
    ])

  static func options(_ invocation: Invocation) throws -> WorkerOptions {
    if let problem = Failpoint.problem { throw command.refusal(problem) }
    let coordinator: Address
    let advertised: Address?
    do {
      coordinator = try Address(parsing: invocation.text("coordinator") ?? "")
      advertised = try invocation.text("advertise").map { text throws(TransportError) in
        try Address(parsing: text)
      }
    } catch {
      throw command.refusal("\(error)")
    }
    // A greeting has 1 KiB, and reports a column.
    guard (invocation.text("name") ?? "").utf8.count <= 64 else {
      throw command.refusal("--name is longer than 64 bytes")
    }
    guard coordinator.isLoopback || invocation.has("plaintext") else {
      throw PlainError(
        "\(coordinator) is another machine, and encryption has not landed yet. On a network you "
          + "trust, add --plaintext here and on the coordinator.", .notAuthorized)
    }
    if !coordinator.isLoopback {
      writeText("warning: talking to \(coordinator) without encryption (--plaintext)\n", to: 2)
    }
    return WorkerOptions(
      coordinator: coordinator,
      threadCount: invocation.integer("threads") ?? max(1, allowedProcessors().count),
      name: invocation.text("name") ?? "",
      variant: invocation.text("kernels"),
      matmul: invocation.matmul,
      advertised: advertised,
      congestion: invocation.text("congestion") ?? "cubic",
      isLending: !invocation.has("no-lending"),
      connectSeconds: invocation.number("connect-timeout") ?? 60,
      peakNominalGigaflops: invocation.number("nominal-gflops"),
      isPinned: invocation.has("pin"))
  }
}
