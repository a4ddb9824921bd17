import Checkpoints
import Settings
import System

/// `cox digest`: what a run came to, as one number.
enum DigestCommand {
  static let command = Command(
    "digest",
    overview: "Prints the SHA-256 of a checkpoint's weights and optimizer state.",
    discussion: """
      The digest of the same plan, data and numeric profile is the same for any number of workers
      and threads. The checkpoint's files are verified first.
      """,
    arguments: [
      CommandArgument("run", help: "A run, whose newest checkpoint counts, or a checkpoint.")
    ],
    options: [
      .flag("json", help: "Print the digest with the checkpoint's name and position.")
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let reader = try openCheckpoint(invocation.text("run") ?? "")
    let digest = try reader.digest()
    guard invocation.has("json") else {
      put(digest)
      return 0
    }
    let report = JSONNode.object([
      ("digest", .text(digest)), ("checkpoint", .text(reader.path)),
      ("phase_index", .integer(reader.state.phaseIndex)), ("phase", .text(reader.state.phaseName)),
      ("step", .integer(reader.state.step)), ("tokens_total", .integer(reader.state.tokensTotal)),
      ("profile", .text(reader.state.profile)),
    ])
    put(report.jsonText(isIndented: false))
    return 0
  }
}

/// The newest usable checkpoint of a run, or the checkpoint itself. Says on standard error which
/// newer ones are passed over.
func openCheckpoint(_ path: String) throws -> CheckpointReader {
  guard Files.exists(path) else {
    throw PlainError("there is no run or checkpoint \(path)", .noInput)
  }
  return try CheckpointReader.open(path) {
    note("checkpoint \($0.name) passed over: \($0.reason)")
  }
}
