/// What the value of an option or argument may be.
public enum CommandValue: Equatable, Sendable {
  case text
  case integer(ClosedRange<Int>)
  /// A finite number.
  case number(ClosedRange<Double>)
  case choice([String])
  /// `key=value`.
  case assignment

  /// Why `raw` is not such a value, or nil if it is.
  func objection(to raw: String) -> String? {
    switch self {
    case .text:
      return nil
    case .integer(let range):
      guard let value = Int(raw) else { return "expected a whole number" }
      return range.contains(value) ? nil : "expected \(describe(range))"
    case .number(let range):
      guard let value = Double(raw), value.isFinite else { return "expected a number" }
      return range.contains(value) ? nil : "expected \(describe(range))"
    case .choice(let names):
      if names.contains(raw) { return nil }
      let meant = Spelling.suggestion(for: raw, among: names)
      let list = names.joined(separator: ", ")
      return meant.map { "expected one of \(list); did you mean '\($0)'?" }
        ?? "expected one of \(list)"
    case .assignment:
      guard let cut = raw.firstIndex(of: "="), cut > raw.startIndex else {
        return "expected key=value"
      }
      return nil
    }
  }
}

/// An interval in words: "a number from 1 to 5", "at least 1".
func describe(_ range: ClosedRange<Int>) -> String {
  switch (range.lowerBound, range.upperBound) {
  case (.min, .max): "a whole number"
  case (let low, .max): "a whole number of at least \(low)"
  case (.min, let high): "a whole number of at most \(high)"
  case (let low, let high): "a whole number from \(low) to \(high)"
  }
}

func describe(_ range: ClosedRange<Double>) -> String {
  switch (range.lowerBound, range.upperBound) {
  case (-.infinity, .infinity): "a number"
  case (let low, .infinity): "a number of at least \(numberText(low))"
  case (-.infinity, let high): "a number of at most \(numberText(high))"
  case (let low, let high): "a number from \(numberText(low)) to \(numberText(high))"
  }
}

/// The shortest decimal that reads back as `value`; whole numbers without `.0`.
func numberText(_ value: Double) -> String {
  if let whole = Int64(exactly: value), abs(whole) < 1 << 53 { return "\(whole)" }
  return "\(value)"
}

/// One `--name` of a command.
public struct CommandOption: Equatable, Sendable {
  /// Long name without dashes, kebab-case.
  public var name: String
  public var letter: Character?
  /// Shown as `<valueName>`; nil: the option is a flag.
  public var valueName: String?
  public var value: CommandValue
  public var help: String
  public var defaultText: String?
  /// Whether a command line without it is refused.
  public var isRequired: Bool
  /// Whether it may be given more than once.
  public var repeats: Bool

  /// An option with a value.
  public static func option(
    _ name: String, letter: Character? = nil, _ valueName: String, _ value: CommandValue = .text,
    default defaultText: String? = nil, isRequired: Bool = false, repeats: Bool = false,
    help: String
  ) -> CommandOption {
    CommandOption(
      name: name, letter: letter, valueName: valueName, value: value, help: help,
      defaultText: defaultText, isRequired: isRequired, repeats: repeats)
  }

  /// An option that is only there or not.
  public static func flag(
    _ name: String, letter: Character? = nil, help: String
  ) -> CommandOption {
    CommandOption(
      name: name, letter: letter, valueName: nil, value: .text, help: help, defaultText: nil,
      isRequired: false, repeats: false)
  }

  /// Whether a command line calls it `word`: `--name` or `-n`.
  func isNamed(_ word: String) -> Bool {
    word == "--\(name)" || (letter.map { word == "-\($0)" } ?? false)
  }

  /// `--name <value>`, as messages show it.
  var spelled: String { valueName.map { "--\(name) <\($0)>" } ?? "--\(name)" }

  var synopsis: String {
    let spelled = repeats ? "\(spelled) ..." : spelled
    return isRequired ? spelled : "[\(spelled)]"
  }
}

/// One positional argument of a command.
public struct CommandArgument: Equatable, Sendable {
  public var name: String
  public var value: CommandValue
  public var help: String
  public var defaultText: String?
  public var isOptional: Bool
  /// Takes all that is left; only the last argument may.
  public var repeats: Bool

  public init(
    _ name: String, _ value: CommandValue = .text, default defaultText: String? = nil,
    isOptional: Bool = false, repeats: Bool = false, help: String
  ) {
    self.name = name
    self.value = value
    self.help = help
    self.defaultText = defaultText
    self.isOptional = isOptional || defaultText != nil
    self.repeats = repeats
  }

  var synopsis: String {
    let name = repeats ? "<\(name)> ..." : "<\(name)>"
    return isOptional ? "[\(name)]" : name
  }
}

/// A program or subcommand: the one table from which its command line is parsed and its help
/// printed.
public struct Command: Equatable, Sendable {
  public var name: String
  /// One sentence.
  public var overview: String
  /// Longer text under the overview: paragraphs with an empty line between them.
  public var discussion: String
  public var arguments: [CommandArgument]
  public var options: [CommandOption]
  public var subcommands: [Command]

  /// - Precondition: Names are unique, and only the last argument repeats.
  public init(
    _ name: String, overview: String, discussion: String = "",
    arguments: [CommandArgument] = [], options: [CommandOption] = [],
    subcommands: [Command] = []
  ) {
    let names = options.map(\.name) + arguments.map(\.name)
    precondition(Set(names).count == names.count, "'\(name)' names something twice: \(names)")
    precondition(arguments.dropLast().allSatisfy { !$0.repeats }, "only the last may repeat")
    precondition(subcommands.isEmpty || arguments.isEmpty, "'\(name)' has subcommands")
    self.name = name
    self.overview = overview
    self.discussion = discussion
    self.arguments = arguments
    self.options = options
    self.subcommands = subcommands
  }
}
