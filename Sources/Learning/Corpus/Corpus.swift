public import Settings
internal import System
public import Tensors
public import Tokenization

/// The text of a phase as tokens: the training part as windows in a random order that anybody can
/// recompute, the part held back as an evaluation text.
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
  private let training: TokenStream
  private let orders: EpochOrders<EpochOrder.Key, EpochOrder>
  /// The part held back.
  public let validation: EvaluationText

  /// Opens the tokens made earlier in `cacheDirectory`, or makes them from the source.
  ///
  /// - Parameters:
  ///   - sequenceLength: T; the training part must hold one window of T + 1 tokens.
  ///   - expectedTextDigest: The ``textDigest`` that the source must have, if it matters.
  ///   - shardTokenCount: Most tokens of one file (64 MiB of 2-byte tokens).
  ///   - event: Told what happened, for the log.
  ///   - progress: Told the share of the source that has been tokenized, 0 to 1.
  /// - Throws: ``CorpusError``.
  public convenience init(
    data: ResolvedPlan.DataChoice, tokenizer: Tokenizer, cacheDirectory: String,
    sequenceLength: Int, expectedTextDigest: String? = nil, shardTokenCount: Int = 1 << 25,
    event: (CorpusEvent) -> Void = { _ in }, progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) {
    let source = try TextSource(data.source)
    let builder = CorpusBuilder(
      source: source, split: data.split, tokenizer: tokenizer, directory: cacheDirectory,
      shardTokenCount: shardTokenCount, expectedTextDigest: expectedTextDigest)
    for path in source.skippedPaths {
      event(.skippedFile(path: path, endings: TextSource.textEndings))
    }
    let (streams, textDigest) = try builder.streams(event, progress)
    guard streams.training.tokenCount > sequenceLength else {
      throw .tooFewTokens(found: streams.training.tokenCount, needed: sequenceLength + 1)
    }
    try self.init(data, tokenizer, streams, textDigest, in: cacheDirectory)
  }

  /// Opens the tokens that a run made in `directory`; the text they were made from is not read.
  ///
  /// - Throws: ``CorpusError``.
  convenience init(
    data: ResolvedPlan.DataChoice, tokenizer: Tokenizer, madeIn directory: String
  ) throws(CorpusError) {
    let streams = try CorpusBuilder.streams(madeIn: directory)
    try self.init(data, tokenizer, streams, nil, in: directory)
  }

  private init(
    _ data: ResolvedPlan.DataChoice, _ tokenizer: Tokenizer, _ streams: CorpusBuilder.Streams,
    _ textDigest: String?, in directory: String
  ) throws(CorpusError) {
    var heldBack: [UInt32] = []
    do { try streams.validation.read(0..<streams.validation.tokenCount, into: &heldBack) } catch {
      throw .system(error)
    }
    guard heldBack.allSatisfy({ $0 < tokenizer.vocabularySize }) else {
      throw .damagedShard(
        path: directory, problem: "has token ids that its tokenizer has not")
    }
    self.data = data
    self.tokenizer = tokenizer
    identity = hexText(streams.identity)
    self.textDigest = textDigest
    training = streams.training
    validation = EvaluationText(tokens: heldBack, tokenizer: tokenizer)
    orders = EpochOrders { [training] in EpochOrder($0, training) }
  }

  /// Tokens to train on, the `<|bos|>` of each document included.
  public var trainingTokenCount: Int { training.tokenCount }
  public var trainingByteCount: Int { training.textByteCount }
  public var trainingDocumentCount: Int { training.documentCount }
  public var validationTokenCount: Int { validation.tokenCount }
  public var validationByteCount: Int { validation.byteCount }

  /// Trains the tokenizer that a plan asks for on the training part of `data`.
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
    let source = try TextSource(data.source)
    var trainer = Tokenizer.Trainer(
      kind: kind, vocabularySize: choice.vocabularySize, splitter: splitter)
    try TextSplit(source, data.split).forEachPart {
      (document, range, isTraining) throws(CorpusError) in
      progress(document.shareRead)
      guard isTraining else { return }
      do throws(TokenizerError) { try trainer.add(document.bytes, range: range) } catch {
        throw .tokenizer(path: document.name, error)
      }
    }
    do { return try trainer.finish() } catch { throw .tokenizer(path: source.name, error) }
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
    var sequences: [TokenSlice.Sequence] = []
    for number in first..<first + batch.sequencesPerSlice {
      var tokens: [UInt32] = []
      tokens.reserveCapacity(sequenceLength + 1)
      var starts: [Int] = []
      switch data.order {
      case .shuffled:
        let windowCount = EpochOrder.windowCount(training.tokenCount, sequenceLength)
        let order = orders.order(
          EpochOrder.Key(
            seed: seed, phase: phase, epoch: number / windowCount, sequenceLength: sequenceLength))
        try order.read(number % windowCount, into: &tokens, documentStarts: &starts)
      case .random:
        try readRandomWindow(number, sequenceLength, seed, phase, &tokens, &starts)
      }
      sequences.append(sequence(tokens, documentStarts: starts))
    }
    return TokenSlice(sequences: sequences)
  }

  /// Sequence `number` of the phase, counted over all steps, at a random offset.
  private func readRandomWindow(
    _ number: Int, _ sequenceLength: Int, _ seed: UInt64, _ phase: Int, _ tokens: inout [UInt32],
    _ documentStarts: inout [Int]
  ) throws(CorpusError) {
    let draws = RandomStream(seed: seed, phase: phase, purpose: CorpusPurpose.random)
    let first = draws.longInteger(
      below: training.tokenCount - sequenceLength, at: UInt64(number))
    let window = first..<first + sequenceLength + 1
    do { try training.read(window, into: &tokens) } catch { throw .system(error) }
    guard data.attention == .document else { return }
    var index = training.documentStarts.partitioningIndex { $0 >= first }
    while index < training.documentCount, training.documentStarts[index] < window.upperBound {
      documentStarts.append(training.documentStarts[index] - first)
      index += 1
    }
  }

  private func sequence(
    _ tokens: [UInt32], documentStarts: [Int]
  ) -> TokenSlice.Sequence {
    let count = tokens.count - 1
    var segmentStarts: [UInt32] = [0]
    if data.attention == .document {
      segmentStarts += documentStarts.filter { $0 > 0 && $0 < count }.map { UInt32($0) }
    }
    return TokenSlice.Sequence(
      tokens: tokens, isTarget: [Bool](repeating: true, count: count),
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

extension Array {
  /// The first index whose element satisfies `predicate`, in an array where all that do come last.
  func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if predicate(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
