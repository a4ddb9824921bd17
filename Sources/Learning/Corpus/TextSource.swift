public import Settings
internal import System
internal import Tokenization

/// Text, document after document: the generated world, a file, or the files of a folder.
///
/// A .txt file is one document; every line of a .jsonl file is one, its "text". Either may be
/// compressed (.gz, .zst). Files of a folder come in the byte order of their paths below it. The
/// bytes are taken as they are: no byte order mark is removed, no line ending changed.
public struct TextSource: Sendable {
  /// One file, with the path below the folder that names it on every machine.
  struct SourceFile: Sendable {
    var path: String
    var relativePath: String
  }

  enum Origin: Sendable {
    case world(World, documentCount: Int)
    case files([SourceFile])
  }

  /// What errors and events call it.
  public let name: String
  let origin: Origin
  /// Files of the folder passed over because of their names.
  public let skippedPaths: [String]

  /// How the names of files with text end.
  public static let textEndings = [".txt", ".jsonl", ".gz", ".zst"]
  /// How the names of files with examples end.
  public static let exampleEndings = [".json", ".jsonl"].flatMap { name in
    ["", ".gz", ".zst"].map { name + $0 }
  }

  /// - Parameter endings: Of the names that are taken from a folder.
  /// - Throws: ``CorpusError/missing(path:)``, ``CorpusError/noTextFiles(path:)``.
  public init(
    _ source: ResolvedPlan.DataChoice.Source, endings: [String] = textEndings
  ) throws(CorpusError) {
    name = source.name
    switch source {
    case .world(let seed, let documents):
      origin = .world(World(seed: seed), documentCount: documents)
      skippedPaths = []
    case .path(let path):
      let found = try Self.findFiles(path, endings)
      origin = .files(found.texts)
      skippedPaths = found.skipped
    }
  }

  private init(name: String, origin: Origin) {
    self.name = name
    self.origin = origin
    skippedPaths = []
  }

  /// Whether the file, decompressed, is one JSON object per line.
  private static func isLines(_ path: String) -> Bool {
    [".jsonl", ".jsonl.gz", ".jsonl.zst"].contains { path.hasSuffix($0) }
  }

  private static func findFiles(
    _ path: String, _ endings: [String]
  ) throws(CorpusError) -> (texts: [SourceFile], skipped: [String]) {
    let info: Files.Info?
    do { info = try Files.info(path) } catch { throw .system(error) }
    guard let info else { throw .missing(path: path) }
    // A file named outright is read whatever it is called.
    guard info.isDirectory else {
      return ([SourceFile(path: path, relativePath: Files.name(of: path))], [])
    }
    var texts: [SourceFile] = []
    var skipped: [String] = []
    try walk(path, below: "", endings, &texts, &skipped)
    guard !texts.isEmpty else { throw .noTextFiles(path: path) }
    texts.sort { $0.relativePath.utf8.lexicographicallyPrecedes($1.relativePath.utf8) }
    return (texts, skipped)
  }

  private static func walk(
    _ folder: String, below prefix: String, _ endings: [String],
    _ texts: inout [SourceFile], _ skipped: inout [String]
  ) throws(CorpusError) {
    let names: [String]
    do { names = try Files.list(folder) } catch { throw .system(error) }
    for name in names where !name.hasPrefix(".") {
      let path = "\(folder)/\(name)"
      let info: Files.Info?
      do { info = try Files.info(path) } catch { throw .system(error) }
      guard let info else { continue }
      if info.isDirectory {
        try walk(path, below: "\(prefix)\(name)/", endings, &texts, &skipped)
      } else if endings.contains(where: name.hasSuffix) {
        texts.append(SourceFile(path: path, relativePath: "\(prefix)\(name)"))
      } else {
        skipped.append(path)
      }
    }
  }

  // MARK: - Identity

  /// SHA-256 over everything the text depends on: names and bytes of the files, or the world.
  func digest() throws(CorpusError) -> [UInt8] {
    var hash = SHA256()
    switch origin {
    case .world(let world, let documentCount):
      hash.update("world \(World.version) \(world.seed) \(documentCount)")
    case .files(let files):
      for file in files {
        hash.update(UInt64(file.relativePath.utf8.count))
        hash.update(file.relativePath)
        let bytes = try read(file)
        hash.update(UInt64(bytes.count))
        hash.update(bytes)
      }
    }
    return hash.digest
  }

  private func read(_ file: SourceFile) throws(CorpusError) -> [UInt8] {
    do { return try Files.read(file.path) } catch { throw .system(error) }
  }

  // MARK: - Documents

  /// One document inside the bytes that hold it.
  public struct Document {
    public let bytes: [UInt8]
    public let range: Range<Int>
    /// The file, or the world's name.
    public let path: String
    /// 1-based line of a .jsonl file.
    public let line: Int?
    /// How much of the source has been read with it, 0 to 1.
    public internal(set) var shareRead: Double
    /// What errors call it.
    public var name: String { line.map { "\(path), line \($0)" } ?? path }
  }

  /// Calls `body` with every document in order. Empty documents are passed over.
  ///
  /// - Throws: ``CorpusError`` with file and offset or line; what `body` throws.
  public func forEachDocument(
    _ body: (Document) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    switch origin {
    case .world(let world, let documentCount):
      for index in 0..<documentCount {
        let bytes = Array(world.document(index).utf8)
        try body(
          Document(
            bytes: bytes, range: 0..<bytes.count, path: name, line: nil,
            shareRead: Double(index + 1) / Double(documentCount)))
      }
    case .files(let files):
      let total = Double(byteCount)
      var read = 0.0
      for file in files {
        let size = Double(Self.byteCount(file))
        try forEachDocument(of: file) { (document) throws(CorpusError) in
          var document = document
          document.shareRead = (read + size * document.shareRead) / total
          try body(document)
        }
        read += size
      }
    }
  }

  /// Bytes of the files as they lie, compressed or not; 0 for the world.
  var byteCount: Int {
    guard case .files(let files) = origin else { return 0 }
    return files.reduce(0) { $0 + Self.byteCount($1) }
  }

  /// Bytes of text, about: of a world by some of its documents; nil for compressed files.
  public var estimatedByteCount: Int? {
    switch origin {
    case .world(let world, let documentCount):
      let some = min(documentCount, 256)
      let byteCount = (0..<some).reduce(0) { $0 + world.document($1).utf8.count }
      return byteCount * documentCount / max(some, 1)
    case .files(let files):
      return files.contains { Compression(fileName: $0.path) != nil } ? nil : byteCount
    }
  }

  /// A file that is gone is found missing when it is read.
  private static func byteCount(_ file: SourceFile) -> Int {
    (try? Files.info(file.path))??.byteCount ?? 0
  }

  /// The files one by one, each a source of its own; the world is one part.
  var parts: [TextSource] {
    guard case .files(let files) = origin, files.count > 1 else { return [self] }
    return files.map { TextSource(name: $0.path, origin: .files([$0])) }
  }

  private func forEachDocument(
    of file: SourceFile, _ body: (Document) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    let bytes = try Self.decompress(read(file), path: file.path)
    try Self.forEachDocument(in: bytes, path: file.path, body)
  }

  /// The plain bytes of a file whose name says that it is compressed, or the bytes themselves.
  static func decompress(_ bytes: [UInt8], path: String) throws(CorpusError) -> [UInt8] {
    guard let compression = Compression(fileName: path) else { return bytes }
    do { return try compression.decompress(bytes) } catch {
      throw .compression(path: path, error)
    }
  }

  /// Calls `body` with every document in a file's plain bytes; `path` says what they are.
  package static func forEachDocument(
    in bytes: [UInt8], path: String, _ body: (Document) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    if isLines(path) {
      return try forEachText(ofLines: bytes, path: path) {
        (text, line, end) throws(CorpusError) in
        guard !text.isEmpty else { return }
        try body(
          Document(
            bytes: text, range: 0..<text.count, path: path, line: line,
            shareRead: Double(end) / Double(bytes.count)))
      }
    }
    if let bad = firstInvalidUTF8(in: bytes, range: 0..<bytes.count) {
      throw .invalidUTF8(path: path, byteOffset: bad)
    }
    if bytes.isEmpty { return }
    try body(
      Document(bytes: bytes, range: 0..<bytes.count, path: path, line: nil, shareRead: 1))
  }

  /// Calls `body` with the "text", the 1-based number and the end of every line that is not blank.
  static func forEachText(
    ofLines bytes: [UInt8], path: String, _ body: ([UInt8], Int, Int) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    var start = 0
    var line = 1
    while start < bytes.count {
      let end = firstNewline(in: bytes, from: start)
      if let text = try textOfLine(bytes, start..<end, path, line) {
        try body(text, line, end)
      }
      start = end + 1
      line += 1
    }
  }

  /// The "text" of one line; nil for a blank line.
  private static func textOfLine(
    _ bytes: [UInt8], _ range: Range<Int>, _ path: String, _ line: Int
  ) throws(CorpusError) -> [UInt8]? {
    if bytes[range].allSatisfy({ $0 == 0x20 || $0 == 0x0D || $0 == 0x09 }) { return nil }
    if let bad = firstInvalidUTF8(in: bytes, range: range) {
      throw .invalidUTF8(path: path, byteOffset: bad)
    }
    let failure = { (error: JSONError) -> CorpusError in
      .malformedLine(
        path: path, line: line, byteOffset: error.byteOffset, problem: "\(error.problem)")
    }
    var scanner = JSONScanner(bytes, range: range)
    var text: [UInt8]?
    try scanner.readObject(failing: failure) { (scanner, key) throws(CorpusError) in
      do throws(JSONError) {
        if key == Array("text".utf8), try scanner.peek() == 0x22 {
          text = try scanner.readString()
        } else {
          try scanner.skipValue()
        }
      } catch {
        throw failure(error)
      }
    }
    do { try scanner.finish() } catch { throw failure(error) }
    guard let text else { throw .lineWithoutText(path: path, line: line) }
    return text
  }

  private static func firstNewline(in bytes: [UInt8], from start: Int) -> Int {
    let span = bytes.span
    var index = start
    while index < span.count, span[index] != 0x0A { index += 1 }
    return index
  }
}
