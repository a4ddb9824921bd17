import Settings

/// `cox bench`: speed, measured.
enum BenchCommand {
  static let command = Command("bench", overview: "Measures steps, products and sums.")

  static func run(_ invocation: Invocation) throws -> Int32 {
    throw Main.command.refusal("'\(invocation.command)' measures nothing yet", path: invocation.path)
  }
}
