public import Settings
internal import System
public import Tokenization

/// What `cox data` does, with arguments already parsed.
public enum DataCommands {
  // MARK: - check

  /// What `cox data check` reports. The data are fit for training if ``problems`` is empty.
  public struct CheckReport: Codable, Equatable, Sendable {
    public struct File: Codable, Equatable, Sendable {
      public var path: String
      public var documentCount: Int
      public var byteCount: Int
    }
    public var files: [File]
    public var documentCount: Int
    /// Bytes of text, decompressed.
    public var byteCount: Int
    public var documentByteCountMax: Int
    /// Documents whose bytes are those of an earlier one.
    public var duplicateCount: Int
    /// Files passed over because of their names.
    public var skippedPaths: [String]
    /// The first problem of each file that has one.
    public var problems: [String]

    /// For people.
    public var text: String {
      var lines = files.map { "\($0.path): \($0.documentCount) documents, \($0.byteCount) bytes" }
      lines.append(
        "\(documentCount) documents, \(byteCount) bytes of text, longest \(documentByteCountMax), "
          + "\(duplicateCount) duplicates")
      lines += skippedPaths.map { "skipped: \($0)" }
      lines += problems.map { "problem: \($0)" }
      return lines.joined(separator: "\n")
    }
  }

  /// Reads everything and says what is there and what is wrong, file by file.
  ///
  /// - Parameter progress: Told the share that has been read, 0 to 1.
  /// - Throws: ``CorpusError`` if there is nothing to read at all.
  public static func check(
    _ choice: ResolvedPlan.DataChoice.Source, progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) -> CheckReport {
    let source = try TextSource(choice)
    var report = CheckReport(
      files: [], documentCount: 0, byteCount: 0, documentByteCountMax: 0, duplicateCount: 0,
      skippedPaths: source.skippedPaths, problems: [])
    var seen: Set<[UInt8]> = []
    let total = Double(max(source.byteCount, 1))
    var read = 0.0
    for part in source.parts {
      let size = Double(part.byteCount)
      var file = CheckReport.File(path: part.name, documentCount: 0, byteCount: 0)
      do throws(CorpusError) {
        try part.forEachDocument { document in
          var hash = SHA256()
          hash.update(Array(document.bytes[document.range]))
          if !seen.insert(hash.digest).inserted { report.duplicateCount += 1 }
          file.documentCount += 1
          file.byteCount += document.range.count
          report.documentByteCountMax = max(report.documentByteCountMax, document.range.count)
          progress((read + size * document.shareRead) / total)
        }
      } catch {
        report.problems.append("\(error)")
      }
      read += size
      report.files.append(file)
      report.documentCount += file.documentCount
      report.byteCount += file.byteCount
    }
    if report.documentCount == 0, report.problems.isEmpty {
      throw .emptySource(path: source.name)
    }
    return report
  }

  // MARK: - prepare

  /// What `cox data prepare` reports.
  public struct PrepareReport: Codable, Equatable, Sendable {
    public var directory: String
    public var identity: String
    public var tokenizerDigest: String
    public var vocabularySize: Int
    public var documentCount: Int
    public var trainingTokenCount: Int
    public var trainingByteCount: Int
    public var validationTokenCount: Int
    public var validationByteCount: Int
    public var seconds: Double

    /// For people, one fact per line.
    public var text: String {
      let bytesPerToken = Double(trainingByteCount) / Double(max(trainingTokenCount, 1))
      let rounded = (bytesPerToken * 100).rounded() / 100
      return """
        tokens      \(directory)
        training    \(trainingTokenCount) tokens of \(documentCount) documents, \
        \(trainingByteCount) bytes, \(rounded) bytes per token
        validation  \(validationTokenCount) tokens, \(validationByteCount) bytes
        identity    \(identity)
        """
    }
  }

  /// Tokenizes a source into files that a run with the same data and tokenizer uses.
  ///
  /// - Parameters:
  ///   - event: Told what happened.
  ///   - progress: Told the share that has been tokenized, 0 to 1.
  /// - Throws: ``CorpusError``.
  public static func prepare(
    _ data: ResolvedPlan.DataChoice, tokenizer: Tokenizer, directory: String,
    event: (CorpusEvent) -> Void, progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) -> PrepareReport {
    let start = Clock.monotonicSeconds
    let corpus = try Corpus(
      data: data, tokenizer: tokenizer, cacheDirectories: [directory], sequenceLength: 1,
      event: event, progress: progress)
    return PrepareReport(
      directory: directory, identity: corpus.identity, tokenizerDigest: tokenizer.digest,
      vocabularySize: tokenizer.vocabularySize, documentCount: corpus.trainingDocumentCount,
      trainingTokenCount: corpus.trainingTokenCount, trainingByteCount: corpus.trainingByteCount,
      validationTokenCount: corpus.validationTokenCount,
      validationByteCount: corpus.validationByteCount, seconds: Clock.monotonicSeconds - start)
  }

  // MARK: - inspect

  /// What `cox data inspect` reports.
  public struct InspectReport: Codable, Equatable, Sendable {
    public struct File: Codable, Equatable, Sendable {
      public var path: String
      public var tokenCount: Int
      public var documentCount: Int
      public var bytesPerToken: Int
      public var identity: String
      /// Why the file cannot be used, if it cannot.
      public var problem: String?
      /// Its first tokens, decoded, where a tokenizer was given.
      public var sample: String?
    }
    public var files: [File]

    /// For people.
    public var text: String {
      files.map { file in
        if let problem = file.problem { return "\(file.path): \(problem)" }
        let head =
          "\(file.path): \(file.tokenCount) tokens of \(file.bytesPerToken) bytes, "
          + "\(file.documentCount) documents, identity \(file.identity.prefix(16))"
        return file.sample.map { "\(head)\n\($0)" } ?? head
      }.joined(separator: "\n")
    }
  }

  /// Verifies the token files of a folder and shows how they begin.
  ///
  /// - Parameters:
  ///   - directory: A folder of token files, or a run, whose `data` folder is meant.
  ///   - tokenizer: Decodes the samples; nil for none.
  /// - Throws: ``CorpusError/missing(path:)``, ``CorpusError/noTokenFiles(path:)``.
  public static func inspect(
    _ directory: String, tokenizer: Tokenizer?, sampleTokenCount: Int = 100
  ) throws(CorpusError) -> InspectReport {
    let folder = Files.exists("\(directory)/data") ? "\(directory)/data" : directory
    let paths: [String]
    do { paths = try tokenFiles(folder) } catch {
      throw error.isNotFound ? .missing(path: folder) : .system(error)
    }
    guard !paths.isEmpty else { throw .noTokenFiles(path: folder) }
    return InspectReport(files: paths.map { inspect($0, tokenizer, sampleTokenCount) })
  }

  /// Token files of a folder and of those right in it: a run has one for each phase with a text of
  /// its own.
  private static func tokenFiles(_ folder: String) throws(SystemError) -> [String] {
    var paths: [String] = []
    for name in try Files.list(folder) {
      let path = "\(folder)/\(name)"
      if try Files.info(path)?.isDirectory == true {
        paths += try Files.list(path).map { "\(path)/\($0)" }
      } else {
        paths.append(path)
      }
    }
    return paths.filter { $0.hasSuffix(".tokens") }
  }

  private static func inspect(
    _ path: String, _ tokenizer: Tokenizer?, _ sampleTokenCount: Int
  ) -> InspectReport.File {
    var file = InspectReport.File(
      path: path, tokenCount: 0, documentCount: 0, bytesPerToken: 0, identity: "")
    do {
      let shard = try Shard(path)
      file.tokenCount = shard.header.tokenCount
      file.documentCount = shard.header.documentCount
      file.bytesPerToken = shard.header.tokenByteCount
      file.identity = hexText(shard.header.identity)
      guard let tokenizer else { return file }
      var tokens: [UInt32] = []
      try shard.read(0..<min(sampleTokenCount, shard.header.tokenCount), into: &tokens)
      guard tokens.allSatisfy({ $0 < tokenizer.vocabularySize }) else {
        file.problem = "has ids that this tokenizer does not have: it was made with another one"
        return file
      }
      file.sample = String(
        decoding: tokens.flatMap { tokenizer.name(of: $0) }, as: UTF8.self)
    } catch {
      file.problem = "\(error)"
    }
    return file
  }

  // MARK: - world

  /// Writes documents of the generated world as `DIRECTORY/world.jsonl`; returns its path.
  ///
  /// - Throws: ``CorpusError/system(_:)``.
  public static func world(
    seed: UInt64, documentCount: Int, directory: String
  ) throws(CorpusError) -> String {
    precondition(documentCount >= 0, "cannot write \(documentCount) documents")
    let world = World(seed: seed)
    var lines = JSONText()
    for index in 0..<documentCount {
      lines.raw(#"{"text":"#)
      lines.string(Array(world.document(index).utf8))
      lines.raw("}\n")
    }
    let path = "\(directory)/world.jsonl"
    do {
      try Files.createDirectory(directory)
      try Files.write(lines.bytes, to: path)
    } catch {
      throw .system(error)
    }
    return path
  }
}
