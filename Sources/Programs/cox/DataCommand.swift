import Corpus
import Settings
import System
import Telemetry

/// `cox data`: text on its way to training.
enum DataCommand {
  static let json = CommandOption.flag("json", help: "Print the report as JSON.")

  static let command = Command(
    "data", overview: "Checks, prepares and generates training text.",
    subcommands: [
      Command(
        "check", overview: "Reads a source whole and says what is wrong with it.",
        arguments: [CommandArgument("source", help: "A text file or folder.")], options: [json]),
      Command(
        "prepare", overview: "Writes a source's tokens to files, as a run does.",
        arguments: [CommandArgument("source", help: "A text file or folder.")],
        options: [
          .option("tokenizer", "file", isRequired: true, help: "A tokenizer.json, or a run."),
          .option("out", "directory", default: "data", help: "Where the files go."),
          .option(
            "tail", "fraction", .number(0...0.9), default: "0.1",
            help: "The last part of the text, held back for validation."), json,
        ]),
      inspect,
      Command(
        "world", overview: "Writes documents of the generated world, and examples about it.",
        options: [
          .option("seed", "number", .integer(0...Int.max), default: "1", help: "The world's seed."),
          .option(
            "documents", "count", .integer(0...100_000_000), default: "1000", help: "How many."),
          .option("out", "directory", default: "world", help: "Where world.jsonl goes."),
          .option(
            "examples", "directory",
            help: "Where conversations.jsonl, pairs.jsonl and unseen.jsonl go (default: nowhere)."),
          .option(
            "conversations", "count", .integer(0...100_000_000), default: "1000",
            help: "Questions with an answer to learn from."),
          .option(
            "pairs", "count", .integer(0...100_000_000), default: "1000",
            help: "Questions with two answers, of which one is preferred."),
          .option(
            "agreement", "share", .number(0...1), default: "1",
            help: "How often labels follow the rule; people agree in 0.66."),
        ]),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    switch invocation.path.last {
    case "check":
      let source = invocation.text("source") ?? ""
      let report = try withProgress("reading \(source)") { progress in
        try DataCommands.check(.path(source), progress: progress.update)
      }
      try show(report, report.text, invocation)
      return report.problems.isEmpty ? 0 : ExitCode.badData.rawValue
    case "prepare":
      let source = invocation.text("source") ?? ""
      let tokenizer = try TokenizerCommands.load(invocation.text("tokenizer") ?? "")
      let report = try withProgress("tokenizing \(source)") { progress in
        try DataCommands.prepare(
          ResolvedPlan.DataChoice(
            source: .path(source), split: .tail(invocation.number("tail") ?? 0.1)),
          tokenizer: tokenizer, directory: invocation.text("out") ?? "data",
          event: { event in
            progress.end()
            note("\(event)")
          }, progress: progress.update)
      }
      try show(report, report.text, invocation)
      return 0
    case "inspect":
      try runInspect(invocation)
      return 0
    default:
      try writeWorld(invocation)
      return 0
    }
  }

  private static func writeWorld(_ invocation: Invocation) throws {
    let seed = UInt64(invocation.integer("seed") ?? 1)
    let examples = invocation.text("examples")
    for option in ["conversations", "pairs", "agreement"]
    where examples == nil && invocation.has(option) {
      throw Main.command.refusal(
        "--\(option) is about examples; say where they go: --examples <directory>",
        path: invocation.path)
    }
    put(
      try DataCommands.world(
        seed: seed, documentCount: invocation.integer("documents") ?? 1000,
        directory: invocation.text("out") ?? "world"))
    guard let examples else { return }
    let written = try DataCommands.WorldExamples(
      seed: seed, conversationCount: invocation.integer("conversations") ?? 1000,
      pairCount: invocation.integer("pairs") ?? 1000,
      agreement: invocation.number("agreement") ?? 1
    ).write(to: examples)
    for path in written { put(path) }
  }
}
