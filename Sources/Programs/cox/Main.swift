import Settings

@main struct Main {
  static func main() {
    ProgramEdge.run(command, arguments: CommandLine.arguments) { invocation in
      try readably { try run(invocation) }
    }
  }

  static let command = Command(
    "cox",
    overview: "Trains language models on CPUs, and looks into what came out.",
    subcommands: [
      UpCommand.command, TailCommand.command, ReportCommand.command, PlanCommand.command,
      DigestCommand.command, GenerateCommand.command, ChatCommand.command,
      EvaluateCommand.command, ExportCommand.command, ImportCommand.command,
      TokenizerCommand.command, DataCommand.command, DoctorCommand.command,
      BenchCommand.command,
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    switch invocation.path.dropFirst().first {
    case "up": return try UpCommand.run(invocation)
    case "tail": return try TailCommand.run(invocation)
    case "report": return try ReportCommand.run(invocation)
    case "plan": return try PlanCommand.run(invocation)
    case "digest": return try DigestCommand.run(invocation)
    case "generate": return try GenerateCommand.run(invocation)
    case "chat": return try ChatCommand.run(invocation)
    case "evaluate": return try EvaluateCommand.run(invocation)
    case "export": return try ExportCommand.run(invocation)
    case "import": return try ImportCommand.run(invocation)
    case "tokenizer": return try TokenizerCommand.run(invocation)
    case "data": return try DataCommand.run(invocation)
    case "doctor": return try DoctorCommand.run(invocation)
    case "bench": return try BenchCommand.run(invocation)
    default: throw command.refusal("A command is missing")
    }
  }
}
