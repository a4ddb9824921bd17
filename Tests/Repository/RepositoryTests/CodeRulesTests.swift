import Testing

@Suite struct `Swift sources` {
  let repository = Repository.shared

  /// Where memory is handled without the compiler's protection, and why. A folder stands for all
  /// its files.
  static let unsafePlaces: [(path: String, reason: String)] = [
    ("Sources/Base/System/", "system calls and mapped files"),
    ("Sources/Base/Tensors/AlignedStorage.swift", "owns memory"),
    ("Sources/Base/Tensors/SharedRows.swift", "lends parts of memory to a team"),
    ("Sources/Compute/Operators/", "doors to the C kernels"),
  ]

  private func isUnsafe(_ word: Substring) -> Bool {
    word == "unsafe" || word == "@unsafe" || word.hasPrefix("Unsafe")
      || word.hasPrefix("withUnsafe") || word == "Unmanaged" || word == "unsafeBitCast"
  }

  @Test func `handle raw memory only where it is allowed`() throws {
    for path in try repository.files(under: "Sources", "swift") {
      guard !Self.unsafePlaces.contains(where: { path.hasPrefix($0.path) }) else { continue }
      for (number, line) in try repository.code(path).enumerated() {
        let found = Repository.words(line).filter(isUnsafe)
        #expect(found.isEmpty, "\(path):\(number + 1) says \(found)")
      }
    }
  }

  @Test func `list no place for raw memory that does not need it`() throws {
    for (place, reason) in Self.unsafePlaces {
      let paths = place.hasSuffix("/")
        ? try repository.files(under: String(place.dropLast()), "swift") : [place]
      let isNeeded = try paths.contains { path in
        guard repository.exists(path) else { return false }
        return try repository.code(path).contains { line in
          Repository.words(line).contains(where: isUnsafe)
        }
      }
      #expect(isNeeded, "\(place) (\(reason)) holds nothing unsafe")
    }
  }

  @Test func `say why a type is sendable although the compiler cannot see it`() throws {
    for path in try repository.files(under: "Sources", "swift") {
      let isUnchecked = try repository.code(path).contains { $0.contains("@unchecked Sendable") }
      guard isUnchecked else { continue }
      #expect(try repository.text(path).contains("SAFETY"), "\(path) gives no SAFETY line")
    }
  }

  @Test func `give up nowhere but in programs`() throws {
    for path in try repository.files(under: "Sources", "swift")
    where !path.hasPrefix("Sources/Programs/") {
      for (number, line) in try repository.code(path).enumerated() {
        let words = Repository.words(line)
        let isGivingUp = words.contains { $0 == "try!" || $0 == "fatalError" || $0 == "as!" }
        #expect(!isGivingUp, "\(path):\(number + 1): \(line)")
      }
    }
  }

  @Test func `use no testable imports`() throws {
    for path in try repository.files(under: "Tests", "swift") {
      let isTestable = try repository.code(path).contains {
        Repository.words($0).first == "@testable"
      }
      #expect(!isTestable, "\(path) breaks release builds with @testable")
    }
  }
}

@Suite struct `All sources` {
  let repository = Repository.shared

  @Test func `keep every line within 100 columns`() throws {
    let paths = try ["Package.swift"]
      + repository.files(under: "Sources", "swift", "c", "h", "inc")
      + repository.files(under: "Tests", "swift", "c", "py")
    for path in paths {
      for (number, line) in try repository.text(path).split(
        separator: "\n", omittingEmptySubsequences: false
      ).enumerated() where line.utf8.count > 100 {
        // Bytes are quicker to count, and no more than columns where all are ASCII.
        #expect(line.count <= 100, "\(path):\(number + 1) has \(line.count) columns")
      }
    }
  }
}

@Suite struct `C sources` {
  let repository = Repository.shared

  /// Lines of C without comments and blanks.
  private func code(_ path: String) throws -> [Substring] {
    var isComment = false
    return try repository.text(path).split(separator: "\n").compactMap { line in
      var text = line[...]
      if isComment {
        guard let end = text.firstRange(of: "*/") else { return nil }
        isComment = false
        text = text[end.upperBound...]
      }
      if let start = text.firstRange(of: "//") { text = text[..<start.lowerBound] }
      if let start = text.firstRange(of: "/*") {
        isComment = text.firstRange(of: "*/") == nil
        text = text[..<start.lowerBound]
      }
      return text.allSatisfy(\.isWhitespace) ? nil : text
    }
  }

  @Test func `forbid the compiler to fuse multiply and add before anything else`() throws {
    for path in try repository.files(under: "Sources", "c") {
      #expect(try code(path).first == "#pragma STDC FP_CONTRACT OFF", "\(path)")
    }
  }

  @Test func `never ask for faster and looser arithmetic`() throws {
    for path in try repository.files(under: "Sources", "c", "h", "inc") {
      let text = try repository.text(path)
      for word in ["fast-math", "FP_CONTRACT ON", "rsqrt14", "rcp14", "_rcp_ps", "_rsqrt_ps"] {
        #expect(!text.contains(word), "\(path) says \(word)")
      }
    }
  }

  @Test func `have a scalar sibling for every fast variant`() throws {
    let paths = try repository.files(under: "Sources/Compute/CKernels", "c")
    for path in paths {
      for variant in ["avx2", "avx512", "avx512bf16", "neon"]
      where path.hasSuffix("_\(variant).c") {
        let scalar = "\(path.dropLast(variant.count + 2))scalar.c"
        #expect(paths.contains(scalar), "\(path) has no \(scalar)")
      }
    }
  }
}

@Suite struct Documents {
  let repository = Repository.shared

  @Test(.enabled(if: Repository.shared.exists("docs")))
  func `have no relative link that leads nowhere`() throws {
    var pages = try repository.files(under: "docs", "md")
    if repository.exists("README.md") { pages.append("README.md") }
    for page in pages {
      let folder = page.split(separator: "/").dropLast().joined(separator: "/")
      for link in Self.links(in: try repository.text(page)) {
        guard !link.contains("://"), !link.hasPrefix("mailto:"), !link.hasPrefix("#") else {
          continue
        }
        let path = link.prefix { $0 != "#" }
        let target = folder.isEmpty ? String(path) : "\(folder)/\(path)"
        #expect(repository.exists(target), "\(page) links to \(link)")
      }
    }
  }

  /// What stands between `](` and `)`, outside of fenced blocks.
  static func links(in text: String) -> [String] {
    var found: [String] = []
    var isFenced = false
    for line in text.split(separator: "\n") {
      if line.hasPrefix("```") { isFenced.toggle() }
      if isFenced { continue }
      var rest = line[...]
      while let start = rest.firstRange(of: "](") {
        rest = rest[start.upperBound...]
        guard let end = rest.firstIndex(of: ")") else { break }
        found.append(String(rest[..<end].prefix { $0 != " " }))
        rest = rest[end...]
      }
    }
    return found
  }
}
