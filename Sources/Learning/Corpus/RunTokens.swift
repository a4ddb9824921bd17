public import Settings
internal import System
internal import Tensors
public import Tokenization

/// What a run reads, step by step, out of its folder: plan, tokenizer and token files. The text may
/// have changed or gone since; examples, of which a run keeps no files, are read again.
public struct RunTokens {
  public let plan: ResolvedPlan
  public let tokenizer: Tokenizer
  public let phase: ResolvedPlan.Phase
  private let phaseIndex: Int
  private let corpus: PhaseCorpus

  /// - Parameters:
  ///   - run: The run folder.
  ///   - phase: The phase's name; nil for the first that trains.
  ///   - textDigests: What the run's phases read, by their index, as far as that is known:
  ///     examples that are others by now are refused.
  /// - Throws: ``CorpusError``.
  public init(
    run: String, phase name: String?, textDigests: [Int: String] = [:]
  ) throws(CorpusError) {
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
    corpus = phase.kind.readsExamples
      ? try .examples(
        ExampleCorpus(
          plan, phase: index, tokenizer: tokenizer, expectedTextDigest: textDigests[index]))
      : try .text(
        Corpus(
          data: phase.data, tokenizer: tokenizer,
          madeIn: plan.tokenFolders(ofPhase: index, in: run)))
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
      /// Index among the rows of the data, for pairs and prompts.
      public var row: UInt32?
      /// The source it is of, in a mixture.
      public var source: String?
    }
    public var phase: String
    /// As metrics.jsonl counts them, from 1; nil for a validation.
    public var step: Int?
    /// Of the step, from 1, where the phase learns from answers to the prompts shown.
    public var iteration: Int?
    public var sequences: [Sequence]

    /// For people: the text of each sequence under a line that says which it is.
    ///
    /// - Parameter marksTargets: Whether what is to be learned stands between `>>` and `<<`.
    public func text(_ tokenizer: Tokenizer, marksTargets: Bool) -> String {
      var title = step.map { "\(phase) step \($0)" } ?? "\(phase) validation"
      if let iteration { title += ", prompts of iteration \(iteration)" }
      return sequences.enumerated().map { number, sequence in
        let origin = sequence.source.map { ", \($0)" } ?? sequence.row.map { ", row \($0)" } ?? ""
        return "\(title), sequence \(number) (slice \(sequence.slice)\(origin)), "
          + "\(sequence.tokens.count) tokens\n"
          + sequence.text(tokenizer, marksTargets: marksTargets)
      }.joined(separator: "\n\n")
    }
  }

  /// What step `number` (from 1) reads; of a phase that samples the prompts whose answers it learns
  /// from.
  ///
  /// - Throws: ``CorpusError/noStep(_:phase:count:)``.
  public func step(_ number: Int) throws(CorpusError) -> Reading {
    guard number >= 1, number <= phase.steps else {
      throw .noStep(number, phase: phase.name, count: phase.steps)
    }
    var reading = Reading(phase: phase.name, step: number, sequences: [])
    let slices: [TokenSlice]
    if let reinforcement = phase.reinforcement {
      let iteration = (number - 1) / reinforcement.stepsPerIteration(plan.batch)
      reading.iteration = iteration + 1
      slices = corpus.prompts(iteration: iteration, plan, phase: phaseIndex)
    } else {
      slices = try corpus.slices(step: number - 1, plan, phase: phaseIndex)
    }
    for (index, slice) in slices.enumerated() { reading.append(slice, index) }
    if case .text(let corpus) = corpus {
      let first = (number - 1) * plan.batch.sequences
      reading.name(corpus.sourceNames(of: first..<first + plan.batch.sequences))
    }
    return reading
  }

  /// What the phase's validations read: those between its steps, or the one at its end.
  public func validation(atEnd: Bool) -> Reading {
    let rule = phase.validation
    let limit = atEnd && rule.isFullAtEnd ? nil : rule.tokenLimit
    var reading = Reading(phase: phase.name, step: nil, sequences: [])
    for slice in 0..<plan.batch.slices {
      reading.append(corpus.validationSlice(slice, plan, tokenLimit: limit), slice)
    }
    if case .text(let corpus) = corpus {
      reading.name(
        corpus.sourceNamesOfValidation(
          sequenceLength: plan.model.sequenceLength, tokenLimit: limit))
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
        segmentStarts: sequence.segmentStarts,
        row: sequence.row == TokenSlice.Sequence.noRow ? nil : sequence.row)
    }
  }

  /// - Parameter sources: Of each sequence; none where there is no mixture.
  fileprivate mutating func name(_ sources: [String]) {
    for (index, source) in sources.enumerated() { sequences[index].source = source }
  }
}

extension RunTokens.Reading.Sequence {
  fileprivate func text(_ tokenizer: Tokenizer, marksTargets: Bool) -> String {
    let targets = marksTargets ? Set(1..<tokens.count).subtracting(masked.map { $0 + 1 }) : []
    var bytes: [UInt8] = []
    for (index, token) in tokens.enumerated() {
      if targets.contains(index), !targets.contains(index - 1) { bytes += ">>".utf8 }
      bytes += tokenizer.name(of: token)
      if targets.contains(index), !targets.contains(index + 1) { bytes += "<<".utf8 }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension ResolvedPlan {
  /// The phase whose corpus phase `index` reads: phases with the same data share that of the first.
  public func phaseWithTokens(of index: Int) -> Int {
    guard phases[index].kind.readsText else { return index }
    return phases.indices.first {
      phases[$0].kind.readsText && phases[$0].data == phases[index].data
    } ?? index
  }

  /// Where a run keeps the tokens of each source of phase `index`: in the folder of the first phase
  /// that reads them, of which a mixture has one for each source.
  public func tokenFolders(ofPhase index: Int, in run: String) -> [String] {
    let data = phases[index].data
    return data.sources.map { "\(run)/data/\(tokenFolder(of: $0.source, data.split))" }
  }

  private func tokenFolder(
    of source: DataChoice.Source, _ split: DataChoice.Split
  ) -> String {
    for (index, phase) in phases.enumerated()
    where phase.kind.readsText && phase.data.split == split {
      let place = phase.data.sources.firstIndex { $0.source == source }
      if let place { return phase.data.isMixture ? "\(index)-\(place)" : "\(index)" }
    }
    preconditionFailure("no phase reads \(source.name) as text")
  }
}

extension ResolvedPlan.Phase.Kind {
  /// Whether it reads running text as tokens.
  fileprivate var readsText: Bool { self != .tokenizer && !readsExamples }
}
