internal import Corpus
internal import Settings
internal import System
internal import Testing
internal import Tokenization

@Suite struct `Token files` {
  private func events(_ scratch: Scratch, documents: Int = 60) throws -> [CorpusEvent] {
    var events: [CorpusEvent] = []
    _ = try worldCorpus(scratch, documents: documents, shardTokenCount: 4000) { events.append($0) }
    return events
  }

  @Test func `are used again when nothing changed`() throws {
    let scratch = try Scratch()
    guard case .built = try events(scratch).last else { return #expect(Bool(false)) }
    guard case .reused = try events(scratch).last else { return #expect(Bool(false)) }
  }

  @Test func `are made anew for other data, beside the old ones`() throws {
    let scratch = try Scratch()
    let small = try events(scratch, documents: 60)
    guard case .built = try events(scratch, documents: 61).last else {
      return #expect(Bool(false))
    }
    guard case .reused = try events(scratch, documents: 60).last else {
      return #expect(Bool(false))
    }
    #expect(small.count == 1)
  }

  @Test(arguments: ["cut", "flipped", "removed", "grown", "emptied"])
  func `that are damaged are found out and made again`(damage: String) throws {
    let scratch = try Scratch()
    _ = try events(scratch)
    let folder = "\(scratch.path)/data"
    let names = try Files.list(folder)
    #expect(names.count >= 3)
    for name in [names.first, names.dropFirst().first, names.last].compactMap({ $0 }) {
      let path = "\(folder)/\(name)"
      let good = try Files.read(path)
      var bad = good
      switch damage {
      case "cut": bad.removeLast(7)
      case "flipped": bad[bad.count / 2] ^= 1
      case "grown": bad.append(0)
      case "emptied": bad = []
      default: break
      }
      if damage == "removed" { try Files.remove(path) } else { try Files.write(bad, to: path) }
      let seen = try events(scratch)
      if damage != "removed" {
        #expect(seen.contains { if case .rebuilding(path, _) = $0 { true } else { false } })
      }
      guard case .built = seen.last else { return #expect(Bool(false)) }
      #expect(try Files.read(path) == good)
    }
  }

  @Test func `never trap a reader on damaged bytes`() throws {
    let scratch = try Scratch()
    _ = try events(scratch, documents: 3)
    let folder = "\(scratch.path)/data"
    let name = try #require(try Files.list(folder).first)
    let good = try Files.read("\(folder)/\(name)")
    var problemCount = 0
    for index in 0..<96 {
      var bad = good
      bad[index] ^= index % 2 == 0 ? 0xFF : 0x01
      // Not `Files.write`, which waits for the disk each time.
      try File("\(folder)/\(name)", .replace).write(bad, at: 0)
      let report = try DataCommands.inspect(scratch.path, tokenizer: .bytes)
      problemCount += report.files.count { $0.problem != nil }
    }
    #expect(problemCount == 96)
  }
}

@Suite struct `Data commands` {
  @Test func `world writes documents that the source reads back`() throws {
    let scratch = try Scratch()
    let path = try DataCommands.world(seed: 1, documentCount: 20, directory: scratch.path)
    let report = try DataCommands.check(.path(path))
    #expect(report.documentCount == 20)
    #expect(report.problems.isEmpty)
    let generated = try DataCommands.check(.world(seed: 1, documents: 20))
    #expect(generated.byteCount == report.byteCount)
  }

  @Test func `check goes on after a bad file and names it`() throws {
    let scratch = try Scratch()
    try scratch.write([0xFF], to: "bad.txt")
    try scratch.write("same", to: "good.txt")
    try scratch.write("same", to: "good2.txt")
    let report = try DataCommands.check(.path(scratch.path))
    #expect(report.documentCount == 2)
    #expect(report.duplicateCount == 1)
    #expect(report.problems.count == 1)
    #expect(report.problems.first?.contains("bad.txt") == true)
  }

  @Test func `prepare makes what inspect shows`() throws {
    let scratch = try Scratch()
    let report = try DataCommands.prepare(
      DataChoice(source: .world(seed: 1, documents: 30)), tokenizer: .bytes,
      directory: "\(scratch.path)/data", event: { _ in })
    let shown = try DataCommands.inspect(scratch.path, tokenizer: .bytes)
    #expect(shown.files.map(\.tokenCount).reduce(0, +)
      == report.trainingTokenCount + report.validationTokenCount)
    #expect(shown.files.contains { $0.sample?.hasPrefix("<|bos|>") == true })
    #expect(throws: CorpusError.noTokenFiles(path: "/")) {
      try DataCommands.inspect("/", tokenizer: nil)
    }
  }

  @Test func `tokenizer trains, encodes and decodes`() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/tokenizer.json"
    let report = try TokenizerCommands.train(
      ResolvedPlan.TokenizerChoice(kind: .bpe, vocabularySize: 400),
      on: .world(seed: 1, documents: 50), to: path)
    #expect(report.vocabularySize == 400)
    let tokenizer = try TokenizerCommands.load(scratch.path)
    #expect(tokenizer.digest == report.digest)
    let ids = try TokenizerCommands.encode(Array("the mill".utf8), from: "text", with: tokenizer)
    let text = ids.map(String.init).joined(separator: " ")
    #expect(
      try TokenizerCommands.decode(text, from: "ids", with: tokenizer) == Array("the mill".utf8))
    #expect(
      throws: CorpusError.tokenizer(
        path: "ids", .unknownToken(id: 4000, vocabularySize: 400))
    ) {
      try TokenizerCommands.decode("[1, 4000]", from: "ids", with: tokenizer)
    }
    #expect(throws: CorpusError.missing(path: "\(scratch.path)/none")) {
      try TokenizerCommands.load("\(scratch.path)/none")
    }
  }
}

@Suite struct `The splitters of a plan` {
  @Test func `are those of the tokenizer`() {
    #expect(ResolvedPlan.TokenizerChoice.splitters == Splitter.allCases.map(\.rawValue))
  }
}

@Suite struct `Texts in lines` {
  @Test func `are encoded one by one, and the line that is wrong is named`() throws {
    func ids(_ lines: String) throws -> [[UInt32]] {
      var found: [[UInt32]] = []
      try TokenizerCommands.encode(lines: Array(lines.utf8), from: "texts", with: .bytes) {
        found.append($0)
      }
      return found
    }
    #expect(
      try ids("{\"text\": \"a\\nb\"}\n\n{\"text\": \"\"}\n{\"id\": 1, \"text\": \"\\u00e9\"}")
        == [[97, 10, 98], [], [195, 169]])
    #expect(throws: CorpusError.lineWithoutText(path: "texts", line: 2)) {
      try ids("{\"text\": \"a\"}\n{\"txt\": \"b\"}")
    }
  }
}

@Suite struct `The generated world` {
  @Test func `has the same bytes everywhere`() {
    let world = World(seed: 1)
    var hash = SHA256()
    for index in 0..<1000 { hash.update(world.document(index)) }
    #expect(hash.hexDigest == "b8b26dbc7f7cefd3a0e3f23fd62743c024d39931f9728bf730419f161137de7d")
  }

  @Test func `writes plain ASCII documents of moderate length`() {
    let world = World(seed: 3)
    for index in 0..<2000 {
      let document = world.document(index)
      #expect(document.utf8.allSatisfy { $0 == 0x0A || (0x20...0x7E ~= $0) })
      #expect(document.hasSuffix("\n") && (20...900 ~= document.utf8.count))
      #expect(!document.contains("  "))
    }
  }

  @Test func `is consistent: friends and siblings are other people, siblings are mutual`() {
    for seed in 0..<200 as Range<UInt64> {
      let world = World(seed: seed)
      for (index, person) in world.people.enumerated() {
        #expect(person.friend != index && person.friend != person.sibling)
        #expect(person.teacher != index && person.sibling != index)
        #expect(world.people[person.sibling].sibling == index)
        #expect(world.places.indices.contains(person.home))
      }
      #expect(Set(world.people.map(\.name)).count == world.people.count)
    }
  }

  @Test func `calculates correctly`() throws {
    let world = World(seed: 1)
    let equation = /(\d+) ([-+x]) (\d+) = (\d+)/
    var count = 0
    for index in 0..<800 {
      for match in world.document(index).matches(of: equation) {
        let a = try #require(Int(match.output.1))
        let b = try #require(Int(match.output.3))
        let result = match.output.2 == "+" ? a + b : match.output.2 == "-" ? a - b : a * b
        #expect(Int(match.output.4) == result)
        count += 1
      }
    }
    #expect(count > 200)
  }

  @Test func `asks riddles that one person answers`() {
    let world = World(seed: 1)
    var answers: [Substring: Set<Substring>] = [:]
    for index in 0..<5000 {
      let document = world.document(index)
      guard document.hasPrefix("Who "), let mark = document.firstIndex(of: "?") else { continue }
      answers[document[..<mark], default: []].insert(document[mark...].prefix { $0 != "." })
    }
    #expect(answers.count > 100)
    #expect(answers.values.allSatisfy { $0.count == 1 })
  }

  @Test func `differs by seed`() {
    #expect(World(seed: 1).people != World(seed: 2).people)
    #expect(World(seed: 1).document(0) != World(seed: 2).document(0))
  }
}
