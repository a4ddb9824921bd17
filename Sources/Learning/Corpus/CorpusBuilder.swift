internal import Settings
internal import System
internal import Tokenization

/// Makes the token files of a corpus, or finds them made.
struct CorpusBuilder {
  let source: TextSource
  let split: ResolvedPlan.DataChoice.Split
  let tokenizer: Tokenizer
  let directory: String
  /// Most tokens of one file.
  let shardTokenCount: Int

  /// Bytes per token in the files.
  private var tokenByteCount: Int { tokenizer.vocabularySize <= 1 << 16 ? 2 : 4 }

  /// Both parts of a corpus, and what their tokens depend on.
  typealias Streams = (training: TokenStream, validation: TokenStream, identity: [UInt8])

  /// - Parameter text: SHA-256 of the source.
  func streams(
    ofText text: [UInt8], _ event: (CorpusEvent) -> Void, _ progress: (Double) -> Void
  ) throws(CorpusError) -> Streams {
    let identity = identity(ofText: text)
    do {
      if let made = try Self.open(directory, identity) {
        event(.reused(directory: directory, tokenCount: made.training.tokenCount))
        return made
      }
    } catch .damagedShard(let path, let problem) {
      event(.rebuilding(path: path, problem: problem))
    }
    let (training, validation) = try build(Self.prefix(identity), identity, progress)
    event(
      .built(
        directory: directory, tokenCount: training.tokenCount,
        documentCount: training.documentCount))
    return (training, validation, identity)
  }

  /// The streams of the only corpus in `directory`, whatever it was made from.
  ///
  /// - Throws: ``CorpusError/noTokenFiles(path:)``, ``CorpusError/severalTexts(path:)``.
  static func streams(madeIn directory: String) throws(CorpusError) -> Streams {
    let names: [String]
    do { names = try Files.list(directory) } catch {
      throw error.isNotFound ? .noTokenFiles(path: directory) : .system(error)
    }
    let first = names.filter { $0.hasSuffix(TokenStream.name("training", 0)) }
    guard first.count <= 1 else { throw .severalTexts(path: directory) }
    guard let name = first.first else { throw .noTokenFiles(path: directory) }
    let identity = try Shard("\(directory)/\(name)").header.identity
    guard let made = try open(directory, identity) else { throw .noTokenFiles(path: directory) }
    return made
  }

  /// The streams made earlier; nil if there are none.
  private static func open(
    _ directory: String, _ identity: [UInt8]
  ) throws(CorpusError) -> Streams? {
    let prefix = prefix(identity)
    guard
      let training = try TokenStream.open(
        directory, name: "\(prefix)-training", identity: identity),
      let validation = try TokenStream.open(
        directory, name: "\(prefix)-validation", identity: identity)
    else { return nil }
    return (training, validation, identity)
  }

  /// File names begin with the identity, so that phases with other data live side by side.
  private static func prefix(_ identity: [UInt8]) -> String {
    String(hexText(identity).prefix(16))
  }

  private func identity(ofText textDigest: [UInt8]) -> [UInt8] {
    var hash = SHA256()
    let rule =
      switch split {
      case .tail(let fraction): "tail \(fraction)"
      case .documents(let fraction): "documents \(fraction)"
      }
    hash.update("tokens \(Shard.version) \(rule) \(tokenizer.digest) ")
    hash.update(textDigest)
    return hash.digest
  }

  private func build(
    _ prefix: String, _ identity: [UInt8], _ progress: (Double) -> Void
  ) throws(CorpusError) -> (TokenStream, TokenStream) {
    do { try Files.createDirectory(directory) } catch { throw .system(error) }
    func writer(_ name: String) -> TokenStreamWriter {
      TokenStreamWriter(
        directory: directory, name: "\(prefix)-\(name)", identity: identity,
        tokenByteCount: tokenByteCount, shardTokenCount: shardTokenCount)
    }
    var encoder = tokenizer.makeEncoder()
    var training = writer("training")
    var heldBack: [UInt8] = []
    var isEmpty = true
    try TextSplit(source, split).forEachPart {
      (document, range, isTraining) throws(CorpusError) in
      progress(document.shareRead)
      guard isTraining else {
        heldBack.append(contentsOf: document.bytes[range])
        return
      }
      isEmpty = false
      try training.addDocument(byteCount: range.count) { (tokens) throws(CorpusError) in
        if let bos = tokenizer.bos { tokens.append(bos) }
        try encode(document.bytes, range, document.name, &encoder, &tokens)
      }
      progress(document.shareRead)
    }
    guard !isEmpty else { throw .emptySource(path: source.name) }
    // Validation reads the part held back as one document, without special tokens.
    var validation = writer("validation")
    try validation.addDocument(byteCount: heldBack.count) { (tokens) throws(CorpusError) in
      try encode(
        heldBack, 0..<heldBack.count, "\(source.name) (the part held back)", &encoder, &tokens)
    }
    return (try training.finish(), try validation.finish())
  }

  private func encode(
    _ bytes: [UInt8], _ range: Range<Int>, _ path: String, _ encoder: inout TokenEncoder,
    _ tokens: inout [UInt32]
  ) throws(CorpusError) {
    do { try encoder.encode(bytes, range: range, into: &tokens) } catch {
      throw .tokenizer(path: path, error)
    }
  }
}
