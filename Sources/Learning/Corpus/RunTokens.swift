public import Settings
internal import System
internal import Tensors
public import Tokenization

/// What a run reads, step by step, out of its folder alone: plan, tokenizer and token files. The
/// text may have changed or gone since.
public struct RunTokens {
  public let plan: ResolvedPlan
  public let tokenizer: Tokenizer
  public let phase: ResolvedPlan.Phase
  private let phaseIndex: Int
  private let corpus: Corpus

  /// - Parameters:
  ///   - run: The run folder.
  ///   - phase: The phase's name; nil for the first that trains.
  /// - Throws: ``CorpusError``.
  public init(run: String, phase name: String?) throws(CorpusError) {
    plan = try Self.plan(of: run)
    tokenizer = try TokenizerCommands.load(run)
    let readers = plan.phases.filter { $0.kind != .tokenizer }
    let phase = name.map { name in readers.first { $0.name == name } }
      ?? readers.first { $0.kind != .evaluate }
    guard let phase, let index = plan.phases.firstIndex(where: { $0.name == phase.name }) else {
      throw .noPhase(name: name ?? "that trains", found: readers.map(\.name))
    }
    self.phase = phase
    phaseIndex = index
    corpus = try Corpus(
      data: phase.data, tokenizer: tokenizer,
      madeIn: "\(run)/data/\(plan.phaseWithTokens(of: index))")
  }

  private static func plan(of run: String) throws(CorpusError) -> ResolvedPlan {
    let path = "\(run)/plan.resolved.json"
    let bytes: [UInt8]
    do { bytes = try Files.read(path, byteCountMax: 16 << 20) } catch {
      throw error.isNotFound ? .missing(path: path) : .system(error)
    }
    do {
      return try ResolvedPlan(planJSON: String(decoding: bytes, as: UTF8.self), path: path)
    } catch {
      throw .badPlan(message: error.message)
    }
  }

  /// The sequences of one step or validation, in the order in which the slices hold them.
  public struct Reading: Codable, Equatable, Sendable {
    public struct Sequence: Codable, Equatable, Sendable {
      /// The slice that holds it.
      public var slice: Int
      /// `[T + 1]` ids: position `i` reads token `i` and predicts token `i + 1`.
      public var tokens: [UInt32]
      /// Positions whose predictions do not count.
      public var masked: [Int]
      /// Positions that attention may not look back past.
      public var segmentStarts: [UInt32]
    }
    public var phase: String
    /// As metrics.jsonl counts them, from 1; nil for a validation.
    public var step: Int?
    public var sequences: [Sequence]

    /// For people: the text of each sequence under a line that says which it is.
    public func text(_ tokenizer: Tokenizer) -> String {
      let title = step.map { "\(phase) step \($0)" } ?? "\(phase) validation"
      return sequences.enumerated().map { number, sequence in
        "\(title), sequence \(number) (slice \(sequence.slice)), \(sequence.tokens.count) tokens\n"
          + String(decoding: sequence.tokens.flatMap { tokenizer.name(of: $0) }, as: UTF8.self)
      }.joined(separator: "\n\n")
    }
  }

  /// What step `number` (from 1) reads.
  ///
  /// - Throws: ``CorpusError/noStep(_:phase:count:)``.
  public func step(_ number: Int) throws(CorpusError) -> Reading {
    guard number >= 1, number <= phase.steps else {
      throw .noStep(number, phase: phase.name, count: phase.steps)
    }
    var reading = Reading(phase: phase.name, step: number, sequences: [])
    for slice in 0..<plan.batch.slices {
      let tokens = try corpus.slice(
        step: number - 1, slice: slice, batch: plan.batch,
        sequenceLength: plan.model.sequenceLength, seed: plan.seed, phase: phaseIndex)
      reading.append(tokens, slice)
    }
    return reading
  }

  /// What the phase's validations read: those between its steps, or the one at its end.
  public func validation(atEnd: Bool) -> Reading {
    let rule = phase.validation
    let limit = atEnd && rule.isFullAtEnd ? nil : rule.tokenLimit
    var reading = Reading(phase: phase.name, step: nil, sequences: [])
    for slice in 0..<plan.batch.slices {
      let tokens = corpus.validationSlice(
        slice: slice, sliceCount: plan.batch.slices, sequenceLength: plan.model.sequenceLength,
        tokenLimit: limit)
      reading.append(tokens, slice)
    }
    return reading
  }
}

extension RunTokens.Reading {
  fileprivate mutating func append(_ tokens: TokenSlice, _ slice: Int) {
    sequences += tokens.sequences.map { sequence in
      Sequence(
        slice: slice, tokens: sequence.tokens,
        masked: sequence.isTarget.indices.filter { !sequence.isTarget[$0] },
        segmentStarts: sequence.segmentStarts)
    }
  }
}

extension ResolvedPlan {
  /// The phase under whose index a run keeps the tokens of phase `index`: phases that read the
  /// same text share those of the first.
  public func phaseWithTokens(of index: Int) -> Int {
    guard !phases[index].kind.readsExamples else { return index }
    return phases.indices.first {
      phases[$0].kind != .tokenizer && !phases[$0].kind.readsExamples
        && phases[$0].data == phases[index].data
    } ?? index
  }
}
