/// A command line that its table accepts: every value is of the declared kind.
public struct Invocation: Equatable, Sendable {
  /// The program and its subcommands, outermost first: `["cox", "tokenizer", "train"]`.
  public let path: [String]
  private let declared: Set<String>
  private let values: [String: [String]]

  init(path: [String], declared: Set<String>, values: [String: [String]]) {
    self.path = path
    self.declared = declared
    self.values = values
  }

  /// The chosen command, without the program: `"tokenizer train"`; empty for the program itself.
  public var command: String { path.dropFirst().joined(separator: " ") }

  /// All values of an option or argument, in the order given.
  /// - Precondition: The command declares `name`.
  public func all(_ name: String) -> [String] {
    precondition(declared.contains(name), "'\(command)' declares no '\(name)'")
    return values[name] ?? []
  }

  /// Whether a flag (or any option or argument) was given.
  public func has(_ name: String) -> Bool { !all(name).isEmpty }

  /// The value, or nil where it was not given. Given more than once, the last.
  public func text(_ name: String) -> String? { all(name).last }
  /// - Precondition: `name` is declared as `integer`.
  public func integer(_ name: String) -> Int? { text(name).map { checked($0, Int($0), name) } }
  /// - Precondition: `name` is declared as `integer` or `number`.
  public func number(_ name: String) -> Double? { text(name).map { checked($0, Double($0), name) } }

  /// The values of an option declared as `assignment`.
  public func assignments(_ name: String) -> [(key: String, value: String)] {
    all(name).map { raw in
      let cut = checked(raw, raw.firstIndex(of: "="), name)
      return (String(raw[..<cut]), String(raw[raw.index(after: cut)...]))
    }
  }

  private func checked<T>(_ raw: String, _ value: T?, _ name: String) -> T {
    guard let value else { preconditionFailure("'\(name)' was not checked: '\(raw)'") }
    return value
  }
}

/// What a command line asks for.
public enum CommandOutcome: Equatable, Sendable {
  case run(Invocation)
  /// Text for stdout; then exit 0.
  case show(String)
}

/// A command line that is not understood. Exits 64.
public struct UsageError: ProgramError, Equatable {
  public enum Problem: Equatable, Sendable {
    case unknownOption(String, suggestion: String?)
    case unknownCommand(String, suggestion: String?)
    case unexpectedArgument(String)
    case missingArgument(String)
    case missingOption(String)
    /// - Parameter dashed: What follows the option, where it begins with a dash and may have been
    ///   meant as its value.
    case missingValue(option: String, dashed: String?)
    case unwantedValue(option: String, value: String)
    case invalidValue(String, for: String, reason: String)
    case givenTwice(option: String)
    /// Found after parsing: options that do not go together, a value that is refused later.
    case refused(String)
  }
  public let problem: Problem
  /// The usage line of the command, then where its help is.
  public let usage: String

  public var exitCode: ExitCode { .usage }
  public var message: String { "Error: \(summary)\n\(usage)" }

  /// The problem in one line.
  public var summary: String {
    func hint(_ word: String?) -> String { word.map { " Did you mean '\($0)'?" } ?? "" }
    return switch problem {
    case .unknownOption(let name, let meant): "Unknown option '\(name)'.\(hint(meant))"
    case .unknownCommand(let name, let meant): "Unknown command '\(name)'.\(hint(meant))"
    case .unexpectedArgument(let text): "Unexpected argument '\(text)'"
    case .missingArgument(let name): "Missing expected argument '<\(name)>'"
    case .missingOption(let option): "Missing expected option '\(option)'"
    case .missingValue(let option, nil): "Missing value for '\(option)'"
    case .missingValue(let option, let dashed?):
      "Missing value for '\(option)'; one that begins with a dash is attached: "
        + "'\(option.prefix { $0 != " " })=\(dashed)'"
    case .unwantedValue(let option, let value): "'\(option)' takes no value, got '\(value)'"
    case .invalidValue(let value, let name, let reason):
      "The value '\(value)' is invalid for '\(name)': \(reason)"
    case .givenTwice(let option): "'\(option)' is given more than once"
    case .refused(let text): text
    }
  }
}

extension Command {
  /// Parses the words after the program's name.
  ///
  /// `--help`, `-h` and `help [command ...]` ask for help, `--version` for `version`; both are
  /// understood anywhere before `--`.
  ///
  /// - Throws: ``UsageError`` for the first word that is not understood.
  public func parse(
    _ words: [String], version: String, width: Int = 80
  ) throws(UsageError) -> CommandOutcome {
    var path = [self]
    var rest = words[...]
    let asksHelp = rest.first == "help" && !subcommands.isEmpty
    if asksHelp { rest = rest.dropFirst() }
    while let word = rest.first, !word.hasPrefix("-"), let command = path.last,
      !command.subcommands.isEmpty
    {
      guard let next = command.subcommands.first(where: { $0.name == word }) else {
        let names = command.subcommands.map(\.name)
        let meant = Spelling.suggestion(for: word, among: names)
        throw Self.error(.unknownCommand(word, suggestion: meant), path)
      }
      path.append(next)
      rest = rest.dropFirst()
    }
    let beforeTerminator = rest.prefix { $0 != "--" }
    if beforeTerminator.contains("--version") { return .show(version) }
    guard let command = path.last else { preconditionFailure("the path starts with the program") }
    let wantsHelp = beforeTerminator.contains("--help") || beforeTerminator.contains("-h")
    if asksHelp || wantsHelp || (!command.subcommands.isEmpty && rest.isEmpty) {
      return .show(Self.help(path, width: width))
    }
    return .run(try Self.read(Array(rest), path))
  }

  /// An error about a command line that parsed but cannot be obeyed.
  ///
  /// - Parameter path: The path of the invocation.
  public func refusal(_ text: String, path: [String] = []) -> UsageError {
    var commands = [self]
    for name in path.dropFirst() {
      guard let next = commands.last?.subcommands.first(where: { $0.name == name }) else { break }
      commands.append(next)
    }
    return Self.error(.refused(text), commands)
  }

  private static func error(_ problem: UsageError.Problem, _ path: [Command]) -> UsageError {
    let names = path.map(\.name).joined(separator: " ")
    var lines = [String]()
    if case .missingArgument(let name) = problem,
      let argument = path.last?.arguments.first(where: { $0.name == name })
    {
      lines.append("Help:  <\(name)>  \(argument.help)")
    }
    if case .missingOption(let name) = problem,
      let option = path.last?.options.first(where: { $0.spelled == name })
    {
      lines.append("Help:  \(name)  \(option.help)")
    }
    lines.append("Usage: \(usage(path))")
    lines.append("  See '\(names) --help' for more information.")
    return UsageError(problem: problem, usage: lines.joined(separator: "\n"))
  }

  private static func read(
    _ words: [String], _ path: [Command]
  ) throws(UsageError) -> Invocation {
    guard let command = path.last else { preconditionFailure("the path starts with the program") }
    var values: [String: [String]] = [:]
    var positional = [String]()
    var isLiteral = false
    var index = 0
    while index < words.count {
      let word = words[index]
      index += 1
      if isLiteral || word == "-" || !word.hasPrefix("-") || Double(word) != nil {
        positional.append(word)
      } else if word == "--" {
        isLiteral = true
      } else {
        let (option, inline) = try match(word, path)
        let value = try takeValue(of: option, inline, words, &index, path)
        if !option.repeats, values[option.name] != nil {
          throw error(.givenTwice(option: "--\(option.name)"), path)
        }
        values[option.name, default: []].append(value)
      }
    }
    guard command.subcommands.isEmpty else {
      throw error(.unexpectedArgument(positional.first ?? words.first ?? ""), path)
    }
    try assign(positional, to: command, path, &values)
    for option in command.options where option.isRequired && values[option.name] == nil {
      throw error(.missingOption(option.spelled), path)
    }
    let declared = Set(command.options.map(\.name) + command.arguments.map(\.name))
    return Invocation(path: path.map(\.name), declared: declared, values: values)
  }

  /// The option that `word` names, and the value after `=`, if there is one.
  private static func match(
    _ word: String, _ path: [Command]
  ) throws(UsageError) -> (CommandOption, inline: String?) {
    let options = path.last?.options ?? []
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    let inline = parts.count > 1 ? String(parts[1]) : nil
    if let found = options.first(where: { $0.isNamed(name) }) { return (found, inline) }
    let known = options.map { "--\($0.name)" } + ["--help", "--version"]
    let meant = Spelling.suggestion(for: name, among: known)
    throw error(.unknownOption(name, suggestion: meant), path)
  }

  private static func takeValue(
    of option: CommandOption, _ inline: String?, _ words: [String], _ index: inout Int,
    _ path: [Command]
  ) throws(UsageError) -> String {
    guard option.valueName != nil else {
      if let inline { throw error(.unwantedValue(option: option.spelled, value: inline), path) }
      return "true"
    }
    var value = inline
    // A word that starts with a dash is an option, unless it is a number; `--key=-x` always works.
    if value == nil, index < words.count {
      let next = words[index]
      if next == "-" || !next.hasPrefix("-") || Double(next) != nil {
        value = next
        index += 1
      }
    }
    guard let value else {
      let options = path.last?.options ?? []
      let dashed = words[index...].first.flatMap { word in
        options.contains { $0.isNamed(String(word.prefix { $0 != "=" })) } ? nil : word
      }
      throw error(.missingValue(option: option.spelled, dashed: dashed), path)
    }
    if let reason = option.value.objection(to: value) {
      throw error(.invalidValue(value, for: option.spelled, reason: reason), path)
    }
    return value
  }

  private static func assign(
    _ positional: [String], to command: Command, _ path: [Command],
    _ values: inout [String: [String]]
  ) throws(UsageError) {
    var rest = positional[...]
    for argument in command.arguments {
      let taken = argument.repeats ? rest : rest.prefix(1)
      rest = rest.dropFirst(taken.count)
      if taken.isEmpty {
        guard argument.isOptional else { throw error(.missingArgument(argument.name), path) }
        continue
      }
      for value in taken {
        if let reason = argument.value.objection(to: value) {
          throw error(.invalidValue(value, for: "<\(argument.name)>", reason: reason), path)
        }
      }
      values[argument.name] = Array(taken)
    }
    if let extra = rest.first { throw error(.unexpectedArgument(extra), path) }
  }
}
