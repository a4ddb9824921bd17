import FoundationEssentials

/// The repository that these tests were compiled from.
struct Repository {
  let root: String

  static let shared = Repository(
    root: #filePath.split(separator: "/").dropLast(4).reduce("") { "\($0)/\($1)" })

  /// A rule was to be checked on files of which there are none.
  struct NothingToCheck: Error {
    let folder: String
    let extensions: [String]
  }

  /// Paths relative to the root of all files under `folder` that end in one of `extensions`.
  ///
  /// - Throws: ``NothingToCheck``: a rule that looks at no file holds for no reason.
  func files(under folder: String, _ extensions: String...) throws -> [String] {
    let all = try FileManager.default.subpathsOfDirectory(atPath: "\(root)/\(folder)/.")
    let found = all.filter { path in extensions.contains { path.hasSuffix(".\($0)") } }
    guard !found.isEmpty else { throw NothingToCheck(folder: folder, extensions: extensions) }
    return found.map { "\(folder)/\($0)" }.sorted()
  }

  func text(_ path: String) throws -> String {
    String(decoding: try Data(contentsOf: URL(filePath: "\(root)/\(path)")), as: UTF8.self)
  }

  func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: "\(root)/\(path)") }

  /// Lines of Swift without comments: what follows `//` outside of a string is dropped.
  func code(_ path: String) throws -> [String] {
    try text(path).split(separator: "\n", omittingEmptySubsequences: false).map { line in
      var quotes = 0
      var before: Character = " "
      for index in line.indices {
        if line[index] == "\"", before != "\\" { quotes += 1 }
        if quotes % 2 == 0, line[index] == "/", before == "/" {
          return String(line[..<line.index(before: index)])
        }
        before = line[index]
      }
      return String(line)
    }
  }

  /// Words of a line, split where no identifier, `@` or `!` goes on.
  static func words(_ line: String) -> [Substring] {
    line.split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "@" || $0 == "!") }
  }

  /// Modules that a Swift file imports.
  func imports(_ path: String) throws -> [String] {
    let access: Set<Substring> = ["public", "internal", "package", "private", "fileprivate"]
    let kinds: Set<Substring> = [
      "struct", "class", "enum", "protocol", "func", "var", "let", "typealias",
    ]
    return try code(path).compactMap { line in
      // A line may begin with the word in quotes.
      if line.first(where: { !$0.isWhitespace }) == "\"" { return nil }
      var words = Self.words(line)[...]
      while let first = words.first, access.contains(first) || first.hasPrefix("@") {
        words = words.dropFirst()
      }
      guard words.first == "import" else { return nil }
      words = words.dropFirst()
      if let first = words.first, kinds.contains(first) { words = words.dropFirst() }
      return words.first.map(String.init)
    }
  }
}

/// The targets that `Package.swift` declares.
struct Manifest {
  struct Target {
    let name: String
    let room: String
    let dependencies: [String]
    let isC: Bool
    /// Where its sources lie.
    let path: String
  }

  let targets: [Target]

  init(_ text: String) {
    var found: [Target] = []
    var rest = text[(text.firstRange(of: "targets: [")?.upperBound ?? text.startIndex)...]
    let calls = ["cRoom(", "room(", "program(", "support(", "tests("]
    while let start = calls.compactMap({ rest.firstRange(of: $0) })
      .min(by: { ($0.lowerBound, $1.upperBound) < ($1.lowerBound, $0.upperBound) })
    {
      let call = rest[start]
      var depth = 1
      var end = start.upperBound
      while depth > 0, end < rest.endIndex {
        if rest[end] == "(" { depth += 1 }
        if rest[end] == ")" { depth -= 1 }
        end = rest.index(after: end)
      }
      let pieces = rest[start.upperBound..<end]
        .split(separator: "\"", omittingEmptySubsequences: false)
      var names = pieces.indices.filter { $0 % 2 == 1 }.map { String(pieces[$0]) }
      rest = rest[end...]
      guard !names.isEmpty else { continue }
      let name = names.removeFirst()
      let room = call == "program(" ? "Programs" : names.isEmpty ? "" : names.removeFirst()
      let folder = ["support(", "tests("].contains(call) ? "Tests" : "Sources"
      found.append(
        Target(
          name: name, room: room, dependencies: names, isC: call == "cRoom(",
          path: "\(folder)/\(room)/\(name)"))
    }
    targets = found
  }

  subscript(_ name: String) -> Target? { targets.first { $0.name == name } }

  var sources: [Target] { targets.filter { $0.path.hasPrefix("Sources/") } }

  /// Everything that is linked when `name` is.
  func closure(of name: String) -> Set<String> {
    var found: Set<String> = []
    var open = [name]
    while let next = open.popLast() {
      for dependency in self[next]?.dependencies ?? [] where found.insert(dependency).inserted {
        open.append(dependency)
      }
    }
    return found
  }
}
