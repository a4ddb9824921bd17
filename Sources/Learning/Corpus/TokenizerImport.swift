internal import System
public import Tokenization

extension TokenizerCommands {
  /// Reads a tokenizer of others, every id kept, and writes it to `path` as tokenizer.json.
  ///
  /// What the file is, its first bytes say: tokenizer.json, GPT-2's vocab.bpe (with encoder.json
  /// or vocab.json beside it), or tiktoken's ranks. It may be compressed.
  ///
  /// - Parameter splitter: How text is cut, where the file does not say it. Ranks never do; those
  ///   of OpenAI are known by their names.
  /// - Throws: ``CorpusError``.
  public static func importTokenizer(
    _ source: String, splitter: Splitter?, to path: String
  ) throws(CorpusError) -> Report {
    let start = Clock.monotonicSeconds
    let tokenizer = try readForeign(source, splitter)
    do { try Files.write(tokenizer.json(), to: path) } catch { throw .system(error) }
    return Report(tokenizer, path: path, seconds: Clock.monotonicSeconds - start)
  }

  private static func readForeign(
    _ path: String, _ splitter: Splitter?
  ) throws(CorpusError) -> Tokenizer {
    let bytes = try readFile(path)
    let isObject = bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) } == UInt8(ascii: "{")
    if isObject { return try readJSON(bytes, path, splitter) }
    if bytes.starts(with: Array("#version".utf8)) {
      let vocabulary = try readVocabulary(beside: path)
      return try named(path) { () throws(TokenizerError) in
        try Tokenizer.load(merges: bytes, vocabulary: vocabulary, splitter: splitter ?? .gpt2)
      }
    }
    let known = KnownRankFile(fileName: Files.name(of: path))
    guard let splitter = splitter ?? known?.splitter else { throw .unknownSplitter(path: path) }
    return try named(path) { () throws(TokenizerError) in
      try Tokenizer.load(ranks: bytes, splitter: splitter, specials: known?.specials ?? [])
    }
  }

  private static func readJSON(
    _ bytes: [UInt8], _ path: String, _ splitter: Splitter?
  ) throws(CorpusError) -> Tokenizer {
    let tokenizer = try named(path) { () throws(TokenizerError) in try Tokenizer.load(json: bytes) }
    if let splitter, tokenizer.kind == .bpe, splitter != tokenizer.splitter {
      throw .tokenizer(
        path: path,
        .unsupported(
          key: "pre_tokenizer", found: "the splitter \(tokenizer.splitter.rawValue)",
          supported: "--splitter \(tokenizer.splitter.rawValue), or none"))
    }
    return tokenizer
  }

  /// encoder.json as OpenAI names it, vocab.json as Hugging Face does.
  private static func readVocabulary(beside path: String) throws(CorpusError) -> [UInt8] {
    let folder = Files.parent(of: path)
    let candidates = ["encoder.json", "vocab.json"].map { "\(folder)/\($0)" }
    return try readFile(candidates.first(where: Files.exists) ?? candidates[0])
  }

  /// The bytes of a file, decompressed if its name says so.
  public static func readFile(_ path: String) throws(CorpusError) -> [UInt8] {
    let bytes: [UInt8]
    do { bytes = try Files.read(path) } catch { throw .system(error) }
    return try TextSource.decompress(bytes, path: path)
  }

  private static func named(
    _ path: String, _ body: () throws(TokenizerError) -> Tokenizer
  ) throws(CorpusError) -> Tokenizer {
    do { return try body() } catch { throw .tokenizer(path: path, error) }
  }
}
