public import Settings
internal import System
public import Tokenization

/// What `cox tokenizer` does, with arguments already parsed.
public enum TokenizerCommands {
  /// What `cox tokenizer train` and `import` report.
  public struct Report: Codable, Equatable, Sendable {
    public var path: String
    public var kind: String
    /// `bpe` only.
    public var splitter: String?
    public var vocabularySize: Int
    public var specialCount: Int
    public var digest: String
    public var seconds: Double

    init(_ tokenizer: Tokenizer, path: String, seconds: Double) {
      self.path = path
      kind = tokenizer.kind.rawValue
      splitter = tokenizer.kind == .bpe ? tokenizer.splitter.rawValue : nil
      vocabularySize = tokenizer.vocabularySize
      specialCount = tokenizer.specials.count
      digest = tokenizer.digest
      self.seconds = seconds
    }

    /// For people, one fact per line.
    public var text: String {
      """
      tokenizer   \(path)
      kind        \(kind), \(vocabularySize) ids, \(specialCount) of them special tokens
      splitter    \(splitter ?? "none")
      digest      \(digest)
      """
    }
  }

  /// Trains a tokenizer on all text of `source` (or on its training part, where `split` holds some
  /// back) and writes it to `path`.
  ///
  /// - Throws: ``CorpusError``.
  public static func train(
    _ choice: ResolvedPlan.TokenizerChoice, on source: ResolvedPlan.DataChoice.Source,
    split: ResolvedPlan.DataChoice.Split = .tail(0), to path: String
  ) throws(CorpusError) -> Report {
    let start = Clock.monotonicSeconds
    let tokenizer = try Corpus.trainTokenizer(
      choice, on: ResolvedPlan.DataChoice(source: source, split: split))
    do { try Files.write(tokenizer.json(), to: path) } catch { throw .system(error) }
    return Report(tokenizer, path: path, seconds: Clock.monotonicSeconds - start)
  }

  /// Reads a tokenizer from tokenizer.json, or from the folder (a run, say) that holds it.
  ///
  /// - Throws: ``CorpusError/missing(path:)``, ``CorpusError/tokenizer(path:_:)``.
  public static func load(_ path: String) throws(CorpusError) -> Tokenizer {
    var file = path
    let bytes: [UInt8]
    do {
      if try Files.info(path)?.isDirectory == true { file = "\(path)/tokenizer.json" }
      bytes = try Files.read(file, byteCountMax: 1 << 30)
    } catch {
      throw error.isNotFound ? .missing(path: file) : .system(error)
    }
    do { return try Tokenizer.load(json: bytes) } catch {
      throw .tokenizer(path: file, error)
    }
  }

  /// The ids of `text`, which is UTF-8.
  ///
  /// - Parameter name: What errors call the text: a file, or `the command line`.
  public static func encode(
    _ text: [UInt8], from name: String, with tokenizer: Tokenizer, mode: EncodingMode = .merges
  ) throws(CorpusError) -> [UInt32] {
    do { return try tokenizer.encode(text, mode: mode) } catch {
      throw .tokenizer(path: name, error)
    }
  }

  /// Calls `body` with the ids of every text in `lines`, JSON objects with "text", one a line.
  /// Blank lines are passed over; an empty text has no ids.
  public static func encode(
    lines: [UInt8], from name: String, with tokenizer: Tokenizer, mode: EncodingMode = .merges,
    _ body: ([UInt32]) -> Void
  ) throws(CorpusError) {
    var encoder = tokenizer.makeEncoder(mode: mode)
    var ids: [UInt32] = []
    try TextSource.forEachText(ofLines: lines, path: name) { (text, line, _) throws(CorpusError) in
      ids.removeAll(keepingCapacity: true)
      do throws(TokenizerError) { try encoder.encode(text, into: &ids) } catch {
        throw .tokenizer(path: "\(name), line \(line)", error)
      }
      body(ids)
    }
  }

  /// The bytes that ids stand for; the ids are numbers with anything but digits between them.
  ///
  /// - Throws: ``CorpusError/tokenizer(path:_:)`` for an id that the vocabulary does not have.
  public static func decode(
    _ text: String, from name: String, with tokenizer: Tokenizer
  ) throws(CorpusError) -> [UInt8] {
    var ids: [UInt32] = []
    for word in text.utf8.split(whereSeparator: { !(0x30...0x39 ~= $0) }) {
      // A number too large for an id is past any vocabulary.
      let id = UInt32(Substring(word)) ?? UInt32.max
      guard id < tokenizer.vocabularySize else {
        throw .tokenizer(
          path: name, .unknownToken(id: id, vocabularySize: tokenizer.vocabularySize))
      }
      ids.append(id)
    }
    return tokenizer.decode(ids)
  }
}
