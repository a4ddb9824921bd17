import Corpus
import FoundationEssentials
import Settings
import System
import Tokenization

/// `cox tokenizer`: from text to ids and back.
enum TokenizerCommand {
  static let command = Command(
    "tokenizer", overview: "Trains and imports tokenizers, and turns text into ids and back.",
    subcommands: [
      Command(
        "train", overview: "Trains a tokenizer on a text file or folder.",
        arguments: [CommandArgument("source", help: "A text file or folder.")],
        options: [
          .option("out", "file", default: "tokenizer.json", help: "Where it is written."),
          .option(
            "kind", "kind", .choice(ResolvedPlan.TokenizerChoice.Kind.allCases.map(\.rawValue)),
            default: "bpe", help: "bpe, bytes or characters."),
          .option(
            "vocabulary", "count", .integer(1...1_000_000), default: "8192",
            help: "Ids in all, special tokens included (bpe)."),
          .option(
            "splitter", "name", .choice(splitters), default: "cl100k",
            help: "How text is cut before merging (bpe): \(splitters.joined(separator: ", "))."),
          .flag("json", help: "Print the report as JSON."),
        ]),
      Command(
        "import", overview: "Writes a tokenizer of others as tokenizer.json, every id kept.",
        discussion: """
          Reads GPT-2's vocab.bpe (with encoder.json beside it), tiktoken's rank files, and
          tokenizer.json as Hugging Face writes it, if it is byte-level BPE. Any of them may end
          in .gz. What this program cannot do exactly is refused by name.
          """,
        arguments: [CommandArgument("file", help: "vocab.bpe, *.tiktoken or tokenizer.json.")],
        options: [
          .option("out", "file", default: "tokenizer.json", help: "Where it is written."),
          .option(
            "splitter", "name", .choice(splitters),
            help: "How text is cut before merging, for rank files of other names than OpenAI's: "
              + splitters.joined(separator: ", ") + "."),
          .flag("json", help: "Print the report as JSON."),
        ]),
      Command(
        "encode", overview: "Prints the ids of a text, space between them.",
        discussion: "All text is plain text: no text gives a special token.",
        arguments: [CommandArgument("tokenizer", help: "A tokenizer.json, or a run.")],
        options: [
          .option("text", "text", help: "The text."),
          .option("file", "file", help: "A file that holds the text (.gz and .zst are read)."),
          .flag(
            "jsonl",
            help: "The text is JSON lines, each an object with \"text\"; print an array for each."),
          .option(
            "mode", "mode", .choice(EncodingMode.allCases.map(\.rawValue)), default: "merges",
            help: "merges in the order of training, or the longest token that fits."),
          .flag("json", help: "Print a JSON array."),
        ]),
      Command(
        "decode", overview: "Prints the text of ids.",
        arguments: [
          CommandArgument("tokenizer", help: "A tokenizer.json, or a run."),
          CommandArgument("ids", isOptional: true, repeats: true, help: "The ids."),
        ],
        options: [.option("file", "file", help: "A file that holds the ids.")]),
    ])

  private static var splitters: [String] { Splitter.allCases.map(\.rawValue) }

  static func run(_ invocation: Invocation) throws -> Int32 {
    switch invocation.path.last {
    case "train": return try train(invocation)
    case "import":
      let report = try TokenizerCommands.importTokenizer(
        invocation.text("file") ?? "",
        splitter: invocation.text("splitter").flatMap(Splitter.init(rawValue:)),
        to: invocation.text("out") ?? "tokenizer.json")
      try show(report, report.text, invocation)
      return 0
    case "encode": return try encode(invocation)
    default:
      let tokenizer = try TokenizerCommands.load(invocation.text("tokenizer") ?? "")
      let inline = invocation.all("ids").joined(separator: " ")
      let (text, name) = try input(invocation, inline: inline.isEmpty ? nil : inline)
      let bytes = try TokenizerCommands.decode(
        String(decoding: text, as: UTF8.self), from: name, with: tokenizer)
      // The text and nothing else, so that encode and decode are inverse; a person gets a line end.
      writeBytes(bytes + (isTerminal(1) ? [0x0A] : []), to: 1)
      return 0
    }
  }

  private static func train(_ invocation: Invocation) throws -> Int32 {
    let kind = ResolvedPlan.TokenizerChoice.Kind(rawValue: invocation.text("kind") ?? "bpe") ?? .bpe
    let report = try TokenizerCommands.train(
      ResolvedPlan.TokenizerChoice(
        kind: kind, vocabularySize: invocation.integer("vocabulary") ?? 8192,
        splitter: invocation.text("splitter") ?? "cl100k"),
      on: .path(invocation.text("source") ?? ""), to: invocation.text("out") ?? "tokenizer.json")
    try show(report, report.text, invocation)
    return 0
  }

  private static func encode(_ invocation: Invocation) throws -> Int32 {
    let tokenizer = try TokenizerCommands.load(invocation.text("tokenizer") ?? "")
    let mode = EncodingMode(rawValue: invocation.text("mode") ?? "merges") ?? .merges
    let (text, name) = try input(invocation, inline: invocation.text("text"))
    if invocation.has("jsonl") {
      try TokenizerCommands.encode(lines: text, from: name, with: tokenizer, mode: mode) {
        put(array($0))
      }
      return 0
    }
    let ids = try TokenizerCommands.encode(text, from: name, with: tokenizer, mode: mode)
    put(invocation.has("json") ? array(ids) : ids.map(String.init).joined(separator: " "))
    return 0
  }

  private static func array(_ ids: [UInt32]) -> String {
    "[" + ids.map(String.init).joined(separator: ",") + "]"
  }

  private static func input(
    _ invocation: Invocation, inline: String?
  ) throws -> (bytes: [UInt8], name: String) {
    if let inline { return (Array(inline.utf8), "the command line") }
    guard let file = invocation.text("file") else {
      throw Main.command.refusal(
        "there is nothing to read: give it, or --file", path: invocation.path)
    }
    return (try TokenizerCommands.readFile(file), file)
  }
}

/// Prints a report as text, or as one line of JSON.
func show(_ report: some Encodable, _ text: String, _ invocation: Invocation) throws {
  guard invocation.has("json") else { return put(text) }
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  encoder.keyEncodingStrategy = .convertToSnakeCase
  put(String(decoding: try encoder.encode(report), as: UTF8.self))
}
