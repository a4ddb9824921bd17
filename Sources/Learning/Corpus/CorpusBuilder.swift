internal import Settings
internal import System
internal import Tokenization

/// Makes the token files of a corpus, or finds them made.
struct CorpusBuilder {
  let source: TextSource
  let split: ResolvedPlan.DataChoice.Split
  let tokenizer: Tokenizer
  let directory: String

  /// Bytes per token in the files.
  private var tokenByteCount: Int { tokenizer.vocabularySize <= 1 << 16 ? 2 : 4 }

  func streams(
    _ event: (CorpusEvent) -> Void
  ) throws(CorpusError) -> (training: TokenStream, validation: TokenStream, identity: [UInt8]) {
    let identity = try identity()
    // The name holds the identity, so that phases with other data live side by side.
    let prefix = String(hexText(identity).prefix(16))
    do {
      let training = try TokenStream.open(
        directory, name: "\(prefix)-training", identity: identity)
      let validation = try TokenStream.open(
        directory, name: "\(prefix)-validation", identity: identity)
      if let training, let validation {
        event(.reused(directory: directory, tokenCount: training.tokenCount))
        return (training, validation, identity)
      }
    } catch .damagedShard(let path, let problem) {
      event(.rebuilding(path: path, problem: problem))
    }
    let (training, validation) = try build(prefix, identity)
    event(
      .built(
        directory: directory, tokenCount: training.tokenCount,
        documentCount: training.documentCount))
    return (training, validation, identity)
  }

  private func identity() throws(CorpusError) -> [UInt8] {
    var hash = SHA256()
    hash.update("tokens \(Shard.version) \(split) \(tokenizer.digest) ")
    hash.update(try source.digest())
    return hash.digest
  }

  private func build(
    _ prefix: String, _ identity: [UInt8]
  ) throws(CorpusError) -> (TokenStream, TokenStream) {
    var encoder = tokenizer.makeEncoder()
    var tokens: [UInt32] = []
    var starts: [Int] = []
    var byteCount = 0
    var heldBack: [UInt8] = []
    try TextSplit(source, split).forEachPart {
      (document, range, isTraining) throws(CorpusError) in
      guard isTraining else {
        heldBack.append(contentsOf: document.bytes[range])
        return
      }
      starts.append(tokens.count)
      byteCount += range.count
      if let bos = tokenizer.bos { tokens.append(bos) }
      do throws(TokenizerError) { try encoder.encode(document.bytes, range: range, into: &tokens) } catch {
        throw .tokenizer(path: document.path, error)
      }
    }
    guard !tokens.isEmpty else { throw .emptySource(path: source.name) }
    var validationTokens: [UInt32] = []
    do { try encoder.encode(heldBack, into: &validationTokens) } catch {
      throw .tokenizer(path: "\(source.name) (validation part)", error)
    }
    do { try Files.createDirectory(directory) } catch { throw .system(error) }
    let training = try TokenStream.write(
      tokens, documentStarts: starts, textByteCount: byteCount, tokenByteCount: tokenByteCount,
      identity: identity, directory: directory, name: "\(prefix)-training")
    let validation = try TokenStream.write(
      validationTokens, documentStarts: validationTokens.isEmpty ? [] : [0],
      textByteCount: heldBack.count, tokenByteCount: tokenByteCount, identity: identity,
      directory: directory, name: "\(prefix)-validation")
    return (training, validation)
  }
}
