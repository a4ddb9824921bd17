public import Operators
public import Tensors
public import Transformer

/// What a language model makes of the assistant's part in a conversation.
public struct ConversationLoss: Equatable, Sendable {
  /// Sum over the tokens of answers, their ends included, nats.
  public var lossSum: Double
  public var tokenCount: Int

  public init(lossSum: Double, tokenCount: Int) {
    self.lossSum = lossSum
    self.tokenCount = tokenCount
  }
}

extension Mean {
  /// The loss per token of answers, as training has it: every token counts as much as any other.
  ///
  /// - Precondition: There are tokens.
  public init(_ losses: [ConversationLoss]) {
    self.init(sums: losses.map(\.lossSum), over: losses.map(\.tokenCount))
  }

  /// How much `losses` have more per token than `others`, which are of the same conversations.
  ///
  /// - Precondition: There are tokens.
  public init(_ losses: [ConversationLoss], over others: [ConversationLoss]) {
    precondition(
      losses.map(\.tokenCount) == others.map(\.tokenCount), "losses of other conversations")
    self.init(
      sums: zip(losses, others).map { $0.lossSum - $1.lossSum }, over: losses.map(\.tokenCount))
  }
}

/// Lets a language model read conversations.
public struct ConversationTest {
  private var reader: RowReading

  /// - Parameter weights: With a language head.
  public init(_ weights: ModelWeights, engine: Engine) {
    precondition(weights.layout.head == .language, "a model that has no losses")
    reader = RowReading(
      weights, engine, rowCapacity: max(256, weights.layout.shape.sequenceLength))
  }

  /// The losses that a validation of an SFT phase adds up, one for each sequence.
  ///
  /// - Parameters:
  ///   - sequences: Conversations, each in a window of its own; at most T positions each.
  ///   - progress: Told the share of the sequences that have been read.
  /// - Throws: ``EvaluationError/notFinite(what:)``.
  public mutating func losses(
    of sequences: [TokenSlice.Sequence], progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [ConversationLoss] {
    let values = reader.values(of: sequences) { progress(Double($0) / Double(sequences.count)) }
    let found = zip(sequences, values).map { sequence, values in
      zip(values, sequence.isTarget).reduce(into: ConversationLoss(lossSum: 0, tokenCount: 0)) {
        guard $1.1 else { return }
        $0.lossSum += $1.0
        $0.tokenCount += 1
      }
    }
    guard found.allSatisfy(\.lossSum.isFinite) else { throw .notFinite(what: "a loss") }
    return found
  }
}
