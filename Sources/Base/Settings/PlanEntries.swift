/// Where a value of a resolved plan came from.
public enum PlanOrigin: Equatable, Sendable {
  case file(SourceSpan)
  /// An option of the command line, as typed.
  case option(String)
  /// A rule, in words.
  case rule(String)

  public func text(path: String) -> String {
    switch self {
    case .file(let span): "\(path):\(span.line)"
    case .option(let option): option
    case .rule(let rule): rule
    }
  }
}

/// The values a plan file and its overrides give, key by key, each checked against the schema.
struct PlanEntries: Equatable, Sendable {
  struct Entry: Equatable, Sendable {
    var node: JSONNode
    var origin: PlanOrigin
  }

  let path: String
  private let lines: [Substring]
  /// By full key, `phases[0].schedule.peak`.
  private(set) var entries: [String: Entry] = [:]
  private(set) var phaseCount = 0
  /// Keys (and sections) whose value was refused: nothing more is said about them.
  private(set) var spoiled: Set<String> = []
  private(set) var issues: [PlanIssue] = []

  /// - Throws: Only for a text that is not JSON; everything else is collected in ``issues``.
  init(text: String, path: String) throws(PlanError) {
    self.path = path
    lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let root: JSONNode
    do throws(JSONSyntaxError) {
      root = try JSONReader.read(text)
    } catch {
      let place = PlanIssue.Place.file(error.span, line: Self.line(error.span.line, of: lines))
      throw PlanError(path: path, issues: [PlanIssue(place: place, summary: error.reason)])
    }
    guard case .object(let members) = root.value else {
      let issue = PlanIssue(
        place: place(of: root.span), summary: "\(root.inWords) is no plan",
        mend: "a plan is a section { }")
      throw PlanError(path: path, issues: [issue])
    }
    add(members, under: "", option: nil)
    if entries["phases"] == nil, !members.contains(where: { $0.key == "phases" }) {
      addDefaultPhases()
    }
  }

  private mutating func addDefaultPhases() {
    for (index, kind) in ["tokenizer", "pretrain"].enumerated() {
      let origin = PlanOrigin.rule("a plan without phases")
      entries["phases[\(index)].kind"] = Entry(node: .text(kind), origin: origin)
    }
    phaseCount = 2
  }

  private static func line(_ number: Int, of lines: [Substring]) -> String {
    guard lines.indices.contains(number - 1) else { return "" }
    let line = lines[number - 1]
    return String(line.hasSuffix("\r") ? line.dropLast() : line)
  }

  func place(of span: SourceSpan?) -> PlanIssue.Place {
    span.map { .file($0, line: Self.line($0.line, of: lines)) } ?? .plan
  }

  /// Where a key's value was given; the plan as a whole if it was not.
  func place(of key: String) -> PlanIssue.Place {
    switch entries[key]?.origin {
    case .file(let span): place(of: span)
    case .option(let option): .option(option)
    case .rule, nil: .plan
    }
  }

  func isGiven(_ key: String) -> Bool { entries[key] != nil }

  /// Sections of the list that `key` gives; 0 where it does not.
  func elementCount(_ key: String) -> Int { entries[key]?.node.elements?.count ?? 0 }

  // MARK: Reading

  /// Checks `members` and takes the valid values.
  private mutating func add(_ members: [JSONNode.Member], under section: String, option: String?) {
    var seen: Set<String> = []
    for member in members {
      let key = section.isEmpty ? member.key : "\(section).\(member.key)"
      let keyPlace = option.map { .option($0) } ?? place(of: member.keySpan)
      guard let schema = PlanSchema.key(at: Self.pattern(key)), !member.key.contains(".") else {
        refuseUnknown(member.key, in: section, at: keyPlace)
        continue
      }
      guard seen.insert(member.key).inserted else {
        let summary = "key '\(member.key)' stands here a second time"
        issues.append(PlanIssue(place: keyPlace, summary: summary, mend: "remove one of them"))
        continue
      }
      take(member.node, key, schema, option: option)
    }
  }

  private mutating func take(_ node: JSONNode, _ key: String, _ schema: PlanKey, option: String?) {
    var node = node
    if schema.path == "phases[].validation", node.string == "full" {
      let tokens = JSONNode(.string("full"), span: node.span)
      node.value = .object([JSONNode.Member(key: "tokens", node: tokens)])
    }
    guard schema.accepts(node) else { return refuse(node, key, schema, option: option) }
    switch node.value {
    case .object(let members) where schema.kind == .section:
      entries[key] = Entry(node: node, origin: origin(node, option))
      add(members, under: key, option: option)
    case .array(let nodes) where schema.kind == .sections:
      if key == "phases" { phaseCount = nodes.count }
      entries[key] = Entry(node: node, origin: origin(node, option))
      for (index, element) in nodes.enumerated() {
        let name = "\(key)[\(index)]"
        guard case .object(let members) = element.value else {
          let place = option.map { .option($0) } ?? place(of: element.span)
          let summary = "\(name) is \(element.inWords)"
          issues.append(PlanIssue(place: place, summary: summary, mend: "expected a section { }"))
          spoiled.insert(name)
          continue
        }
        entries[name] = Entry(node: element, origin: origin(element, option))
        add(members, under: name, option: option)
      }
    default:
      entries[key] = Entry(node: node, origin: origin(node, option))
    }
  }

  private func origin(_ node: JSONNode, _ option: String?) -> PlanOrigin {
    if let option { return .option(option) }
    return node.span.map { .file($0) } ?? .rule("given")
  }

  private mutating func refuse(
    _ node: JSONNode, _ key: String, _ schema: PlanKey, option: String?
  ) {
    spoiled.insert(key)
    var (node, mend) = (node, "expected \(schema.expectation)")
    var summary = "\(key) is \(node.inWords)"
    let names = schema.kind.choices
    if case .choices = schema.kind, let wrong = node.firstUnknown(among: names) {
      node = wrong
      summary = "\(key) holds \(wrong.inWords)"
    }
    if let word = node.string, let meant = Spelling.suggestion(for: word, among: names) {
      mend += "; did you mean \"\(meant)\"?"
    }
    let place = option.map { .option($0) } ?? place(of: node.span)
    issues.append(PlanIssue(place: place, summary: summary, mend: mend))
  }

  private mutating func refuseUnknown(
    _ name: String, in section: String, at place: PlanIssue.Place
  ) {
    let pattern = Self.pattern(section)
    let names = PlanSchema.names(inside: pattern)
    let mend: String
    if let meant = Spelling.suggestion(for: name, among: names) {
      mend = "did you mean '\(meant)'?"
    } else if let home = PlanSchema.keys.first(where: { $0.path.hasSuffix(".\(name)") }) {
      mend = "there is \(home.path)"
    } else {
      let where_ = section.isEmpty ? "a plan" : section
      mend = "\(where_) has " + names.joined(separator: ", ")
    }
    issues.append(PlanIssue(place: place, summary: "unknown key '\(name)'", mend: mend))
  }

  /// The schema's spelling of a key: `phases[2].steps` is `phases[].steps`.
  static func pattern(_ key: String) -> String {
    var isInside = false
    return key.filter { character in
      if character == "]" { isInside = false }
      defer { if character == "[" { isInside = true } }
      return !isInside
    }
  }

  // MARK: Overrides

  /// Applies one `--set`. The value is JSON, or else text as it stands.
  ///
  /// A phase is named by its position, its name or its kind: `phases.1.steps`,
  /// `phases.pretrain.steps`.
  mutating func set(_ key: String, _ value: String) {
    let option = "--set \(key)=\(value)"
    guard let full = expanded(key, option), isInList(full, option) else { return }
    guard let schema = PlanSchema.key(at: Self.pattern(full)) else {
      let cut = full.lastIndex(of: ".")
      let section = cut.map { String(full[..<$0]) } ?? ""
      let name = cut.map { String(full[full.index(after: $0)...]) } ?? full
      return refuseUnknown(name, in: section, at: .option(option))
    }
    let parsed = try? JSONReader.read(value)
    // A name may look like a number or word of JSON; what the key wants decides.
    let plain = JSONNode.text(value)
    let node = parsed.flatMap { schema.accepts($0) ? $0 : nil } ?? plain
    let chosen = schema.accepts(node) ? node : parsed ?? plain
    remove(full)
    // A source takes the place of a mixture, and a mixture that of a source.
    for (name, other) in [("source", "mixture"), ("mixture", "source")] {
      if full.hasSuffix("data.\(name)") { remove(String(full.dropLast(name.count)) + other) }
    }
    take(chosen, full, schema, option: option)
  }

  /// Takes what `--data` gives: this source for every phase.
  mutating func setDataSource(_ source: String) {
    let option = "--data \(source)"
    for key in entries.keys where key.hasSuffix("data.source") || key.contains("data.mixture") {
      entries[key] = nil
    }
    entries["data.source"] = Entry(node: .text(source), origin: .option(option))
    isDataOverridden = true
  }

  /// Whether `--data` replaced the plan's source, so that keys of the generated world are moot.
  private(set) var isDataOverridden = false

  private mutating func remove(_ key: String) {
    let isInside = { (other: String) in
      other == key || other.hasPrefix(key + ".") || other.hasPrefix(key + "[")
    }
    entries = entries.filter { !isInside($0.key) }
    let rest = spoiled.filter { !isInside($0) }
    spoiled = rest
  }

  /// Whether the place in a mixture that `key` names, if it does, is one; notes an issue where not.
  private mutating func isInList(_ key: String, _ option: String) -> Bool {
    guard let open = key.lastIndex(of: "["), key[..<open].hasSuffix("data.mixture") else {
      return true
    }
    let list = String(key[..<open])
    let count = elementCount(list)
    let index = Int(key[open...].dropFirst().prefix { $0 != "]" })
    if let index, (0..<count).contains(index) { return true }
    let mend = count == 0 ? "\(list) is not given" : "\(list) has \(count), counted from 0"
    let summary = "\(list) has no such source"
    issues.append(PlanIssue(place: .option(option), summary: summary, mend: mend))
    return false
  }

  /// `phases.pretrain.steps` -> `phases[1].steps`; nil after an issue was noted.
  private mutating func expanded(_ key: String, _ option: String) -> String? {
    let dotted = key.hasPrefix("phases[")
      ? key.replacing("[", with: ".", maxReplacements: 1)
        .replacing("]", with: "", maxReplacements: 1) : key
    var parts = dotted.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard parts.count > 1, parts[0] == "phases" else { return key }
    let names = (0..<phaseCount).map { phase in
      [entries["phases[\(phase)].name"], entries["phases[\(phase)].kind"]].compactMap {
        $0?.node.string
      }
    }
    let found = Int(parts[1]).map { names.indices.contains($0) ? [$0] : [] }
      ?? names.indices.filter { names[$0].contains(parts[1]) }
    guard let phase = found.first, found.count == 1 else {
      let known = names.enumerated().map { "\($0) (\($1.first ?? "unnamed"))" }
      let summary = found.isEmpty ? "no phase '\(parts[1])'" : "several phases '\(parts[1])'"
      let mend = "the phases are " + known.joined(separator: ", ")
      issues.append(PlanIssue(place: .option(option), summary: summary, mend: mend))
      return nil
    }
    parts.removeSubrange(0...1)
    return (["phases[\(phase)]"] + parts).joined(separator: ".")
  }
}

extension PlanKey.Kind {
  /// The words that a value may be made of.
  fileprivate var choices: [String] {
    switch self {
    case .choice(let names), .choices(let names): names
    default: []
    }
  }
}

extension JSONNode {
  /// The first element of a list that is none of `names`, or stands there a second time.
  fileprivate func firstUnknown(among names: [String]) -> JSONNode? {
    var rest = Set(names)
    return elements?.first { $0.string.flatMap { rest.remove($0) } == nil }
  }
}
