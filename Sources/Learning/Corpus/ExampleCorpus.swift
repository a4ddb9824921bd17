public import Settings
internal import System
public import Tensors
public import Tokenization

/// Which examples a phase reads, and how.
public struct ExampleChoice: Equatable, Sendable {
  /// A world's documents are not read: it makes examples itself.
  public var source: ResolvedPlan.DataChoice.Source
  /// Of the rows of files that can be used: `tail f` holds back the last ones, `documents f` those
  /// of some prompts by hash. The world holds back every question that training never asks.
  public var split: ResolvedPlan.DataChoice.Split
  /// Examples of the world to train on.
  public var exampleCount: Int
  /// How often the labels of the world's pairs follow the rule, 0 to 1; those held back too.
  public var agreement: Double
  /// Tokens that must fit in a window after each prompt.
  public var answerRoom: Int
  /// Whether a row that cannot be used is an error; else it is passed over, counted and reported.
  public var isStrict: Bool

  public init(
    source: ResolvedPlan.DataChoice.Source, split: ResolvedPlan.DataChoice.Split = .tail(0.1),
    exampleCount: Int = 4096, agreement: Double = 1, answerRoom: Int = 1, isStrict: Bool = false
  ) {
    precondition(exampleCount > 0, "\(exampleCount) examples leave nothing to train on")
    precondition((0...1).contains(agreement), "an agreement of \(agreement)")
    precondition(answerRoom > 0, "an answer of \(answerRoom) tokens")
    self.source = source
    self.split = split
    self.exampleCount = exampleCount
    self.agreement = agreement
    self.answerRoom = answerRoom
    self.isStrict = isStrict
  }
}

/// The examples of a fine-tuning phase as tokens, in memory: those to train on in an order that
/// anybody can recompute, those held back in the order of the data.
///
/// Lives on the coordinator. Any slice of any step is a function of (data, tokenizer, batch, seed,
/// phase, step, slice); asking for it twice or out of order gives the same tokens. An example is
/// used whole or not at all.
public final class ExampleCorpus: Sendable {
  /// What the sequences of a phase are.
  public enum Form: String, Codable, CaseIterable, Sendable {
    /// Windows of whole conversations, attention inside each, the assistant's tokens as targets.
    case conversations
    /// For each pair two sequences that follow one another in a slice, chosen then rejected:
    /// prompt and answer, the answer's tokens (its end included) as targets. Both have the pair's
    /// row, and its tie.
    case pairs
    /// For each row one sequence: the prompt opened for an answer, then the expected answer with
    /// its end as targets, if there is one. See ``TokenSlice/Sequence/prompt``.
    case prompts
  }

  public let form: Form
  /// T.
  public let sequenceLength: Int
  /// SHA-256 of the examples as they are encoded, 64 hex digits.
  public let textDigest: String
  /// Every sequence's row is below it, in training and in validation.
  public let rowCount: Int
  public let trainingRowCount: Int
  /// Rows that cannot be used.
  public let passedOver: RowsPassedOver
  /// Of rows, used or not.
  public var rowsReadCount: Int { trainingRowCount + heldBack.count + passedOver.count }
  private let order: any SequenceOrder
  private let heldBack: [EncodedExample]

  /// Reads and encodes everything.
  ///
  /// - Parameters:
  ///   - sequenceLength: T; no sequence has more than T + 1 tokens.
  ///   - seed: The run's seed.
  ///   - phase: Index of the phase in the plan.
  ///   - expectedTextDigest: The ``textDigest`` that the examples must have, if it matters.
  ///   - event: Told what happened, for the log.
  ///   - progress: Told the share of the examples that has been encoded, 0 to 1.
  /// - Throws: ``CorpusError``: ``CorpusError/badRow(place:reason:)`` for a conversation among
  ///   pairs or a pair among conversations, and, if the choice is strict, for any row that cannot
  ///   be used (of no known form, too long for a window, without an answer, both answers the
  ///   same); ``CorpusError/noExamples(path:passedOver:)``;
  ///   ``CorpusError/emptySide(path:rowCount:isTraining:)``.
  public init(
    _ form: Form, _ choice: ExampleChoice, tokenizer: Tokenizer, sequenceLength: Int,
    seed: UInt64, phase: Int, expectedTextDigest: String? = nil,
    event: (CorpusEvent) -> Void = { _ in }, progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) {
    var reading = try ExampleReading(form, choice, tokenizer, sequenceLength: sequenceLength)
    let sides = try reading.sides(event, progress)
    textDigest = sides.digest
    if let expectedTextDigest, expectedTextDigest != textDigest {
      throw .changedText(path: reading.name, found: textDigest, expected: expectedTextDigest)
    }
    self.form = form
    self.sequenceLength = sequenceLength
    rowCount = sides.rowCount
    trainingRowCount = sides.training.count
    heldBack = sides.heldBack
    passedOver = reading.passedOver
    switch form {
    case .conversations:
      order = PackedOrder(
        ConversationPacking(
          sides.training.flatMap(\.conversations), sequenceLength: sequenceLength, seed: seed,
          phase: phase))
    case .pairs, .prompts:
      order = ShuffledOrder(sides.training, width: form.width, seed: seed, phase: phase)
    }
  }

  /// Every example that can be used, each sequence a window of its own, in the order of the data:
  /// for data that nobody trains on.
  ///
  /// - Throws: As the initializer, sides apart.
  public static func all(
    _ form: Form, _ choice: ExampleChoice, tokenizer: Tokenizer, sequenceLength: Int,
    event: (CorpusEvent) -> Void = { _ in }, progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) -> TokenSlice {
    var reading = try ExampleReading(form, choice, tokenizer, sequenceLength: sequenceLength)
    let used = try reading.usable(event, progress).examples
    return TokenSlice(sequences: used.flatMap(\.encoded.sequences))
  }

  // MARK: - Training

  /// Slice `slice` of training step `step`.
  ///
  /// - Precondition: Each slice of pairs has an even number of sequences.
  public func slice(step: Int, slice: Int, batch: ResolvedPlan.Batch) -> TokenSlice {
    precondition(step >= 0, "there is no step \(step)")
    precondition(0 <= slice && slice < batch.slices, "slice \(slice) of \(batch.slices)")
    precondition(
      batch.sequencesPerSlice.isMultiple(of: form.width),
      "\(batch.sequencesPerSlice) sequences of a slice are no pairs")
    let first = step * batch.sequences + slice * batch.sequencesPerSlice
    return TokenSlice(
      sequences: (first..<first + batch.sequencesPerSlice).map { order.sequence($0) })
  }

  /// Sequences in which every example is read `count` times. Epochs have as many as each other,
  /// except that conversations are packed anew.
  public func sequenceCount(ofEpochs count: Int) -> Int {
    precondition(count >= 0, "\(count) epochs")
    return order.sequenceCount(ofEpochs: count)
  }

  // MARK: - Validation

  public var heldBackRowCount: Int { heldBack.count }

  /// Slice `slice` of `sliceCount` of a validation: a contiguous run of the rows that it reads, in
  /// the order of the data. Every conversation has a window of its own.
  ///
  /// - Parameter rowLimit: Most rows it reads, evenly spaced; nil for all.
  public func validationSlice(slice: Int, sliceCount: Int, rowLimit: Int?) -> TokenSlice {
    precondition(0 <= slice && slice < sliceCount, "slice \(slice) of \(sliceCount)")
    let chosen = validationRows(rowLimit)
    let first = slice * chosen.count / sliceCount
    let last = (slice + 1) * chosen.count / sliceCount
    return TokenSlice(sequences: chosen[first..<last].flatMap { heldBack[$0].sequences })
  }

  /// What a validation reads: rows, and predictions that count.
  public func coverage(rowLimit: Int?) -> (rowCount: Int, tokenCount: Int) {
    let chosen = validationRows(rowLimit)
    let slice = TokenSlice(sequences: chosen.flatMap { heldBack[$0].sequences })
    return (chosen.count, slice.targetCount)
  }

  /// How many rows held back have about `tokenCount` tokens; at least one.
  public func rowLimit(ofTokens tokenCount: Int) -> Int {
    let all = heldBack.reduce(0) { sum, example in
      sum + example.conversations.reduce(0) { $0 + $1.tokens.count }
    }
    return max(1, tokenCount * heldBack.count / all)
  }

  private func validationRows(_ rowLimit: Int?) -> [Int] {
    let count = min(rowLimit ?? heldBack.count, heldBack.count)
    return (0..<count).map { $0 * heldBack.count / count }
  }
}

extension ExampleCorpus.Form {
  /// Sequences of an example.
  public var width: Int { self == .pairs ? 2 : 1 }

  /// Why a row is of another form, if it is.
  func mismatch(_ row: ExampleRow) -> String? {
    switch (self, row) {
    case (.conversations, .pair): "it is a pair of answers, where conversations are asked for"
    case (.pairs, .conversation): "it is a conversation, where pairs of answers are asked for"
    default: nil
    }
  }
}

extension ExampleReading.Sides {
  /// SHA-256 of all that is served, 64 hex digits.
  fileprivate var digest: String {
    var hash = SHA256()
    for side in [training, heldBack] {
      hash.update(UInt64(side.count))
      for example in side {
        hash.update(UInt64(example.row))
        hash.update(example.isTie ? 1 : 0)
        for conversation in example.conversations { conversation.update(&hash) }
      }
    }
    return hexText(hash.digest)
  }
}

extension EncodedConversation {
  fileprivate func update(_ hash: inout SHA256) {
    hash.update(UInt64(tokens.count))
    hash.update(
      zip(tokens, isLearned).flatMap { token, isLearned in
        [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: token >> $0) } + [isLearned ? 1 : 0]
      })
  }
}

extension TokenSlice.Sequence {
  /// Tokens before the first that counts as a target: all where none does.
  public var prompt: ArraySlice<UInt32> {
    tokens.prefix((isTarget.firstIndex(of: true) ?? isTarget.count) + 1)
  }

  /// The tokens after ``prompt``: the answer, with the token that ends it.
  public var answer: ArraySlice<UInt32> { tokens.dropFirst(prompt.count) }
}
