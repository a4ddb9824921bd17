public import Settings
internal import System
public import Tensors
public import Tokenization

/// The text of a phase as tokens: the training part as windows in a random order that anybody can
/// recompute, the part held back as an evaluation text. Of a mixture, both parts of every source.
///
/// Lives on the coordinator. Any slice of any step is a function of (data, tokenizer, batch, seed,
/// phase, step, slice); asking for it twice or out of order gives the same tokens.
public final class Corpus: Sendable {
  public let tokenizer: Tokenizer
  /// SHA-256 of everything the tokens depend on, 64 hex digits.
  public let identity: String
  /// SHA-256 of the text alone, 64 hex digits; nil for tokens opened without it.
  public let textDigest: String?
  private let data: ResolvedPlan.DataChoice
  private let mixtureOrder: MixtureOrder
  /// By place in the mixture.
  private let training: [TrainingText]
  /// The part held back.
  public let validation: EvaluationText

  /// Opens the tokens made earlier in `cacheDirectories`, or makes them from the sources.
  ///
  /// - Parameters:
  ///   - cacheDirectories: Of each source.
  ///   - sequenceLength: T; the training part must hold one window of T + 1 tokens.
  ///   - expectedTextDigest: The ``textDigest`` that the sources must have, if it matters.
  ///   - shardTokenCount: Most tokens of one file (64 MiB of 2-byte tokens).
  ///   - event: Told what happened, for the log.
  ///   - progress: Told the share of the sources that has been tokenized, 0 to 1.
  /// - Throws: ``CorpusError``; of a changed text before anything is written.
  public convenience init(
    data: ResolvedPlan.DataChoice, tokenizer: Tokenizer, cacheDirectories: [String],
    sequenceLength: Int, expectedTextDigest: String? = nil, shardTokenCount: Int = 1 << 25,
    event: (CorpusEvent) -> Void = { _ in }, progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) {
    let sources = try data.sources.map { (weighted) throws(CorpusError) in
      try TextSource(weighted.source)
    }
    for path in sources.flatMap(\.skippedPaths) {
      event(.skippedFile(path: path, endings: TextSource.textEndings))
    }
    let texts = try sources.map { (source) throws(CorpusError) in try source.digest() }
    let textDigest = hexText(Self.joined(texts))
    if let expectedTextDigest, expectedTextDigest != textDigest {
      let names = sources.map(\.name).joined(separator: " + ")
      throw .changedText(path: names, found: textDigest, expected: expectedTextDigest)
    }
    var streams: [CorpusBuilder.Streams] = []
    for (place, source) in sources.enumerated() {
      let builder = CorpusBuilder(
        source: source, split: data.split, tokenizer: tokenizer,
        directory: cacheDirectories[place], shardTokenCount: shardTokenCount)
      let made = try builder.streams(ofText: texts[place], event) { share in
        progress((Double(place) + share) / Double(sources.count))
      }
      try Self.check(made, of: source.name, sequenceLength, isMixed: data.isMixture)
      streams.append(made)
    }
    try self.init(data, tokenizer, streams, textDigest, in: cacheDirectories)
  }

  private static func check(
    _ streams: CorpusBuilder.Streams, of path: String, _ sequenceLength: Int, isMixed: Bool
  ) throws(CorpusError) {
    let tokenCount = streams.training.tokenCount
    guard tokenCount > sequenceLength else {
      throw .tooFewTokens(path: path, found: tokenCount, needed: sequenceLength + 1)
    }
    // With nothing of one source, there is no validation in proportion.
    guard !isMixed || streams.validation.tokenCount > 1 else { throw .nothingHeldBack(path: path) }
  }

  /// Opens the tokens that a run made in `directories`, one for each source, without reading text.
  ///
  /// - Throws: ``CorpusError``.
  convenience init(
    data: ResolvedPlan.DataChoice, tokenizer: Tokenizer, madeIn directories: [String]
  ) throws(CorpusError) {
    let streams = try directories.map { (directory) throws(CorpusError) in
      try CorpusBuilder.streams(madeIn: directory)
    }
    try self.init(data, tokenizer, streams, nil, in: directories)
  }

  private init(
    _ data: ResolvedPlan.DataChoice, _ tokenizer: Tokenizer, _ streams: [CorpusBuilder.Streams],
    _ textDigest: String?, in directories: [String]
  ) throws(CorpusError) {
    let heldBack = try zip(streams, directories).map { (streams, directory) throws(CorpusError) in
      try Self.heldBack(streams.validation, tokenizer, directory)
    }
    self.data = data
    self.tokenizer = tokenizer
    identity = hexText(Self.joined(streams.map(\.identity)))
    self.textDigest = textDigest
    mixtureOrder = data.mixtureOrder
    training = streams.enumerated().map { place, streams in
      TrainingText(
        name: data.sources[place].source.name, stream: streams.training, place: place)
    }
    validation = EvaluationText(heldBack, order: data.mixtureOrder, tokenizer: tokenizer)
  }

  private static func heldBack(
    _ stream: TokenStream, _ tokenizer: Tokenizer, _ directory: String
  ) throws(CorpusError) -> [UInt32] {
    var tokens: [UInt32] = []
    do { try stream.read(0..<stream.tokenCount, into: &tokens) } catch { throw .system(error) }
    guard tokens.allSatisfy({ $0 < tokenizer.vocabularySize }) else {
      throw .damagedShard(
        path: directory, problem: "has token ids that its tokenizer has not")
    }
    return tokens
  }

  /// Of one source its own digest, of a mixture that of all in order.
  private static func joined(_ digests: [[UInt8]]) -> [UInt8] {
    guard digests.count > 1 else { return digests[0] }
    var hash = SHA256()
    for digest in digests { hash.update(digest) }
    return hash.digest
  }

  /// Tokens to train on, the `<|bos|>` of each document included.
  public var trainingTokenCount: Int { training.reduce(0) { $0 + $1.stream.tokenCount } }
  public var trainingByteCount: Int { training.reduce(0) { $0 + $1.stream.textByteCount } }
  public var trainingDocumentCount: Int { training.reduce(0) { $0 + $1.stream.documentCount } }
  public var validationTokenCount: Int { validation.tokenCount }
  public var validationByteCount: Int { validation.byteCount }

  /// Trains the tokenizer that a plan asks for on the training part of `data`; of a mixture on that
  /// of every source once, whatever its weight.
  ///
  /// - Parameter progress: Told which share of the text, 0 to 1, has been read.
  public static func trainTokenizer(
    _ choice: ResolvedPlan.TokenizerChoice, on data: ResolvedPlan.DataChoice,
    progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) -> Tokenizer {
    guard let splitter = Splitter(rawValue: choice.splitter) else {
      let supported = Splitter.allCases.map(\.rawValue).joined(separator: ", ")
      throw .tokenizer(
        path: "plan", .unsupported(key: "splitter", found: choice.splitter, supported: supported))
    }
    let kind: Tokenizer.Kind =
      switch choice.kind {
      case .bpe: .bpe
      case .bytes: .bytes
      case .characters: .characters
      }
    if kind == .bytes { return .bytes }
    var trainer = Tokenizer.Trainer(
      kind: kind, vocabularySize: choice.vocabularySize, splitter: splitter)
    for (place, weighted) in data.sources.enumerated() {
      try TextSplit(TextSource(weighted.source), data.split).forEachPart {
        (document, range, isTraining) throws(CorpusError) in
        progress((Double(place) + document.shareRead) / Double(data.sources.count))
        guard isTraining else { return }
        do throws(TokenizerError) { try trainer.add(document.bytes, range: range) } catch {
          throw .tokenizer(path: document.name, error)
        }
      }
    }
    do { return try trainer.finish() } catch {
      throw .tokenizer(path: data.sources.map(\.source.name).joined(separator: " + "), error)
    }
  }

  /// Slice `slice` of training step `step`: sequences of T inputs and their targets.
  ///
  /// - Parameters:
  ///   - seed: The run's seed.
  ///   - phase: Index of the phase in the plan.
  /// - Throws: ``CorpusError/system(_:)`` if the tokens can no longer be read.
  public func slice(
    step: Int, slice: Int, batch: ResolvedPlan.Batch, sequenceLength: Int, seed: UInt64, phase: Int
  ) throws(CorpusError) -> TokenSlice {
    precondition(step >= 0, "there is no step \(step)")
    precondition(0 <= slice && slice < batch.slices, "slice \(slice) of \(batch.slices)")
    let first = step * batch.sequences + slice * batch.sequencesPerSlice
    return TokenSlice(
      sequences: try (first..<first + batch.sequencesPerSlice).map { (number) throws(CorpusError) in
        let (source, index) = mixtureOrder.place(of: number)
        return sequence(
          try training[source].window(
            index, data.order, sequenceLength: sequenceLength, seed: seed, phase: phase))
      })
  }

  private func sequence(_ window: TrainingText.Window) -> TokenSlice.Sequence {
    let count = window.tokens.count - 1
    var segmentStarts: [UInt32] = [0]
    if data.attention == .document {
      segmentStarts += window.documentStarts.filter { $0 > 0 && $0 < count }.map { UInt32($0) }
    }
    return TokenSlice.Sequence(
      tokens: window.tokens, isTarget: [Bool](repeating: true, count: count),
      segmentStarts: segmentStarts)
  }

  /// Slice `slice` of `sliceCount` of a validation.
  ///
  /// - Parameter tokenLimit: Most tokens it reads, evenly spaced; nil for the whole part.
  public func validationSlice(
    slice: Int, sliceCount: Int, sequenceLength: Int, tokenLimit: Int?
  ) -> TokenSlice {
    validation.slice(slice, of: sliceCount, sequenceLength: sequenceLength, tokenLimit: tokenLimit)
  }
}

/// Who reads what of a mixture.
extension Corpus {
  /// Tokens to train on of each source.
  public var sourceTokenCounts: [Int] { training.map(\.stream.tokenCount) }

  /// The source of each of the phase's sequences `numbers`, which count over all its steps; none
  /// where there is no mixture.
  func sourceNames(of numbers: Range<Int>) -> [String] {
    data.isMixture ? numbers.map { training[mixtureOrder.place(of: $0).source].name } : []
  }

  /// The source of each sequence of a validation.
  func sourceNamesOfValidation(sequenceLength: Int, tokenLimit: Int?) -> [String] {
    guard data.isMixture else { return [] }
    return validation.places(sequenceLength: sequenceLength, tokenLimit: tokenLimit).map {
      training[$0].name
    }
  }
}

extension RandomAccessCollection where Index == Int {
  /// The first index whose element satisfies `predicate`, where all that do come last.
  func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
    var low = startIndex
    var high = endIndex
    while low < high {
      let middle = (low + high) / 2
      if predicate(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
