/// Help in the layout of swift-argument-parser, so that nobody has to learn another one.
extension Command {
  /// Column at which descriptions start.
  private static var descriptionColumn: Int { 26 }

  /// The usage line, without the word in front: `cox up [<plan>] [--workers <n>]`.
  static func usage(_ path: [Command]) -> String {
    guard let command = path.last else { return "" }
    var words = path.map(\.name)
    if !command.subcommands.isEmpty { words.append("<subcommand>") }
    words += command.arguments.map(\.synopsis)
    words += command.options.map(\.synopsis)
    return words.joined(separator: " ")
  }

  /// The help page of the last command of `path`.
  static func help(_ path: [Command], width: Int) -> String {
    guard let command = path.last else { return "" }
    var sections = [wrap("OVERVIEW: \(command.overview)", indent: 0, width: width)]
    sections += command.discussion.split(separator: "\n\n").map { paragraph in
      wrap(String(paragraph).replacing("\n", with: " "), indent: 0, width: width)
    }
    sections.append(wrap("USAGE: \(usage(path))", indent: 7, width: max(width, 40)))
    let arguments = command.arguments.map {
      row("<\($0.name)>", $0.help, $0.defaultText, width: width)
    }
    if !arguments.isEmpty { sections.append(section("ARGUMENTS", arguments)) }
    var options = command.options.map { option in
      let letter = option.letter.map { "-\($0), " } ?? ""
      return row(letter + option.spelled, option.help, option.defaultText, width: width)
    }
    options.append(row("--version", "Show the version.", nil, width: width))
    options.append(row("-h, --help", "Show help information.", nil, width: width))
    sections.append(section("OPTIONS", options))
    if !command.subcommands.isEmpty {
      let rows = command.subcommands.map { row($0.name, $0.overview, nil, width: width) }
      sections.append(section("SUBCOMMANDS", rows))
      let name = path.map(\.name).joined(separator: " ")
      sections.append("  See '\(name) <subcommand> --help' for detailed help.")
    }
    return sections.joined(separator: "\n\n")
  }

  private static func section(_ title: String, _ rows: [String]) -> String {
    ([title + ":"] + rows).joined(separator: "\n")
  }

  private static func row(
    _ label: String, _ help: String, _ defaultText: String?, width: Int
  ) -> String {
    let text = help + (defaultText.map { " (default: \($0))" } ?? "")
    let indent = String(repeating: " ", count: descriptionColumn)
    let body = wrap(indent + text, indent: descriptionColumn, width: width)
    let start = "  " + label
    if start.count < descriptionColumn {
      return start + body.dropFirst(start.count)
    }
    return start + "\n" + body
  }

  /// Breaks `text` at spaces; lines after the first start with `indent` spaces. Spaces in front
  /// of the first word and inside brackets stay.
  private static func wrap(_ text: String, indent: Int, width: Int) -> String {
    let lead = text.prefix { $0 == " " }
    var lines = [String]()
    var line = String(lead)
    var isEmpty = true
    for word in words(of: text.dropFirst(lead.count)) {
      if !isEmpty, line.count + 1 + word.count > width {
        lines.append(line)
        line = String(repeating: " ", count: indent)
        isEmpty = true
      }
      line += isEmpty ? word : " " + word
      isEmpty = false
    }
    return (lines + [line]).joined(separator: "\n")
  }

  /// Words between spaces; what stands in square brackets is one word.
  private static func words(of text: Substring) -> [String] {
    var found = [String](), word = "", depth = 0
    for character in text {
      if character == "[" { depth += 1 }
      if character == "]" { depth -= 1 }
      if character == " ", depth <= 0 {
        if !word.isEmpty { found.append(word) }
        word = ""
      } else {
        word.append(character)
      }
    }
    return word.isEmpty ? found : found + [word]
  }
}
