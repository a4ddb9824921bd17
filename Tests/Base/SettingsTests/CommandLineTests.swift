import Settings
import Testing

private let cox = Command(
  "cox", overview: "Trains language models on the CPUs you have.",
  subcommands: [
    Command(
      "up", overview: "Runs a plan on this machine.",
      arguments: [
        CommandArgument("plan", default: "launch/plans/quickstart.json", help: "The plan file.")
      ],
      options: [
        .option(
          "workers", letter: "w", "n", .integer(1...64), default: "2", help: "Worker processes."),
        .option("data", "path", help: "Train on this file or folder instead."),
        .option("matmul", "backend", .choice(["builtin", "blas", "auto"]), help: "Products."),
        .option("rate", "x", .number(0...1), help: "A number."),
        .option(
          "set", "key=value", .assignment, repeats: true,
          help: "Replaces one key of the plan; may be repeated, and what it replaces is printed."),
        .flag("json", help: "Prints JSON."),
      ]),
    Command(
      "tokenizer", overview: "Trains and uses tokenizers.",
      subcommands: [
        Command(
          "train", overview: "Trains one.",
          arguments: [CommandArgument("text", repeats: true, help: "Files to learn from.")]),
      Command(
        "show", overview: "Shows one.",
        discussion: """
          Lines of the source are broken
          anew for the width of the page, in all of a paragraph.

          Another.
          """,
        options: [
          .option("out", "file", isRequired: true, help: "Where it goes."),
          .option("id", "id", help: "Which one."),
        ]),
      ]),
  ])

private func invocation(_ words: String...) throws -> Invocation {
  guard case .run(let found) = try cox.parse(words, version: "1.0") else {
    throw UnexpectedHelp()
  }
  return found
}
private struct UnexpectedHelp: Error {}

private func message(_ words: String...) -> String {
  do throws(UsageError) {
    return "no error: \(try cox.parse(words, version: "1.0"))"
  } catch {
    #expect(error.exitCode.rawValue == 64)
    return error.message
  }
}

@Suite struct `Command line` {
  @Test func `values follow their option as a word or after an equals sign`() throws {
    let found = try invocation(
      "up", "smoke.json", "--workers", "3", "--data=/tmp/a b", "--json", "--set", "seed=2",
      "--set=name=x=y")
    #expect(found.path == ["cox", "up"])
    #expect(found.command == "up")
    #expect(found.text("plan") == "smoke.json")
    #expect(found.integer("workers") == 3)
    #expect(found.text("data") == "/tmp/a b")
    #expect(found.has("json"))
    #expect(!found.has("matmul"))
    #expect(found.assignments("set").map(\.key) == ["seed", "name"])
    #expect(found.assignments("set").map(\.value) == ["2", "x=y"])
  }

  @Test func `letters, nested commands, -- and negative numbers are understood`() throws {
    #expect(try invocation("up", "-w", "5").integer("workers") == 5)
    #expect(try invocation("up", "--", "--odd-name").text("plan") == "--odd-name")
    let train = try invocation("tokenizer", "train", "a.txt", "b.txt", "-1")
    #expect(train.command == "tokenizer train")
    #expect(train.all("text") == ["a.txt", "b.txt", "-1"])
  }

  @Test func `an unknown option is named with the one that was probably meant`() {
    #expect(
      message("up", "--worker", "3") == """
        Error: Unknown option '--worker'. Did you mean '--workers'?
        Usage: cox up [<plan>] [--workers <n>] [--data <path>] [--matmul <backend>] \
        [--rate <x>] [--set <key=value> ...] [--json]
          See 'cox up --help' for more information.
        """)
    #expect(message("up", "--zzz").hasPrefix("Error: Unknown option '--zzz'.\n"))
  }

  @Test(arguments: [
    (["tial"], "Unknown command 'tial'."),
    (["upp"], "Unknown command 'upp'. Did you mean 'up'?"),
    (["up", "a", "b"], "Unexpected argument 'b'"),
    (["up", "--workers"], "Missing value for '--workers <n>'"),
    (["up", "--workers", "--json"], "Missing value for '--workers <n>'"),
    (["up", "--workers", "--data=x"], "Missing value for '--workers <n>'"),
    (
      ["up", "--data", "-odd"],
      "Missing value for '--data <path>'; one that begins with a dash is attached: '--data=-odd'"
    ),
    (["up", "--json=1"], "'--json' takes no value, got '1'"),
    (["up", "--data", "a", "--data", "b"], "'--data' is given more than once"),
    (
      ["up", "--workers", "0"],
      "The value '0' is invalid for '--workers <n>': expected a whole number from 1 to 64"
    ),
    (
      ["up", "--rate", "nan"],
      "The value 'nan' is invalid for '--rate <x>': expected a number"
    ),
    (
      ["up", "--matmul", "blass"],
      "The value 'blass' is invalid for '--matmul <backend>': expected one of builtin, blas, "
        + "auto; did you mean 'blas'?"
    ),
    (["up", "--set", "x"], "The value 'x' is invalid for '--set <key=value>': expected key=value"),
  ])
  func `a refused word says what was expected`(words: [String], summary: String) {
    do throws(UsageError) {
      _ = try cox.parse(words, version: "1.0")
      Issue.record("'\(words)' was accepted")
    } catch {
      #expect(error.summary == summary)
    }
  }

  @Test func `a missing argument shows its help`() {
    #expect(
      message("tokenizer", "train") == """
        Error: Missing expected argument '<text>'
        Help:  <text>  Files to learn from.
        Usage: cox tokenizer train <text> ...
          See 'cox tokenizer train --help' for more information.
        """)
  }

  @Test func `a required option is shown without brackets, and missed by name`() {
    #expect(
      message("tokenizer", "show", "--id", "1") == """
        Error: Missing expected option '--out <file>'
        Help:  --out <file>  Where it goes.
        Usage: cox tokenizer show --out <file> [--id <id>]
          See 'cox tokenizer show --help' for more information.
        """)
  }

  @Test func `help breaks a discussion at the page's width`() throws {
    guard
      case .show(let page) = try cox.parse(
        ["tokenizer", "show", "--help"], version: "1.0", width: 40)
    else { throw UnexpectedHelp() }
    #expect(
      page.hasPrefix(
        """
        OVERVIEW: Shows one.

        Lines of the source are broken anew for
        the width of the page, in all of a
        paragraph.

        Another.

        USAGE:
        """))
  }

  @Test func `help has the layout of swift-argument-parser`() throws {
    let expected = """
      OVERVIEW: Runs a plan on this machine.

      USAGE: cox up [<plan>] [--workers <n>] [--data <path>] [--matmul <backend>]
             [--rate <x>] [--set <key=value> ...] [--json]

      ARGUMENTS:
        <plan>                  The plan file. (default: launch/plans/quickstart.json)

      OPTIONS:
        -w, --workers <n>       Worker processes. (default: 2)
        --data <path>           Train on this file or folder instead.
        --matmul <backend>      Products.
        --rate <x>              A number.
        --set <key=value>       Replaces one key of the plan; may be repeated, and
                                what it replaces is printed.
        --json                  Prints JSON.
        --version               Show the version.
        -h, --help              Show help information.
      """
    #expect(try cox.parse(["up", "--help"], version: "1.0") == .show(expected))
    #expect(try cox.parse(["help", "up"], version: "1.0") == .show(expected))
    #expect(try cox.parse(["up", "x", "-h"], version: "1.0") == .show(expected))
    guard case .show(let overview) = try cox.parse([], version: "1.0") else { return }
    #expect(overview.contains("SUBCOMMANDS:\n  up                      Runs a plan"))
    #expect(overview.hasSuffix("  See 'cox <subcommand> --help' for detailed help."))
  }

  @Test func `the version is shown`() throws {
    #expect(try cox.parse(["--version"], version: "cox 1.0") == .show("cox 1.0"))
    #expect(try cox.parse(["up", "--version"], version: "cox 1.0") == .show("cox 1.0"))
  }

  @Test func `exit codes are those that the design names`() {
    #expect(ExitCode.allCases.map(\.rawValue) == [0, 1, 64, 65, 66, 69, 74, 75, 77, 78])
  }
}
