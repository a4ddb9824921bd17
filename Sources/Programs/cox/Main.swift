import Settings
import System

@main struct Main {
  static func main() {
    ProgramEdge.run(
      Command("cox", overview: "Trains language models.", subcommands: [BenchCommand.command]),
      arguments: CommandLine.arguments
    ) { try BenchCommand.run($0) }
  }
}
