internal import Corpus
public import Operators
public import Tensors
public import Tokenization
public import Transformer

/// What a reward model makes of two answers to the same prompt.
public struct ScoredPair: Equatable, Sendable {
  /// Score of the answer that was preferred minus that of the other.
  public var margin: Double
  /// Whether neither was preferred.
  public var isTie: Bool
  /// UTF-8 bytes of both answers.
  public var chosenByteCount: Int
  public var rejectedByteCount: Int

  public init(
    margin: Double, isTie: Bool = false, chosenByteCount: Int, rejectedByteCount: Int
  ) {
    self.margin = margin
    self.isTie = isTie
    self.chosenByteCount = chosenByteCount
    self.rejectedByteCount = rejectedByteCount
  }

  /// How likely the preferred answer was to win, by the scores: `1 / (1 + e^-margin)`.
  public var winProbability: Double { sigmoid(margin) }

  /// `-ln` of that, nats; of a tie, half a win for each.
  public var loss: Double { (isTie ? margin / 2 : 0) - logSigmoid(margin) }
}

/// How well scores foretell preferences.
///
/// Ties have no winner: they count in ``loss`` only.
public struct PairSummary: Equatable, Sendable {
  /// Pairs whose preferred answer has the higher score; half of those with equal scores.
  public let accuracy: Share
  /// How often the longer answer is the preferred one, and the shorter one; half of the pairs with
  /// answers of equal length.
  public let longerChosen: Share
  public let shorterChosen: Share
  /// How often the longer answer has the higher score; half of the pairs with equal scores or
  /// answers of equal length.
  public let longerWins: Share
  public let margin: Mean
  /// Bradley-Terry, nats.
  public let loss: Mean
  public let tieCount: Int
  /// Pairs whose answers have the same score.
  public let equalScoreCount: Int
  /// Pairs whose answers are equally long.
  public let equalLengthCount: Int
  public let calibration: Calibration

  /// nil if there is no pair but ties.
  public init?(_ pairs: [ScoredPair]) {
    let decided = pairs.filter { !$0.isTie }
    guard !decided.isEmpty else { return nil }
    let lengths = decided.map { $0.chosenByteCount - $0.rejectedByteCount }
    let wins = decided.map { $0.margin == 0 ? 0 : $0.margin > 0 ? 1 : -1 }
    accuracy = WinRate(wins).rate
    longerChosen = WinRate(lengths).rate
    shorterChosen = WinRate(lengths.map { -$0 }).rate
    longerWins = WinRate(zip(wins, lengths).map { $0 * $1.signum() }).rate
    margin = Mean(decided.map(\.margin))
    loss = Mean(pairs.map(\.loss))
    tieCount = pairs.count - decided.count
    equalScoreCount = decided.count { $0.margin == 0 }
    equalLengthCount = lengths.count { $0 == 0 }
    calibration = Calibration(winProbabilities: decided.map(\.winProbability))
  }
}

/// Foretold probabilities against what came.
///
/// Each pair is seen from both sides: the preferred answer, foretold to win with `p`, won; the
/// other, foretold with `1 - p`, did not. So the bins mirror each other, and no order in which
/// answers stand matters.
public struct Calibration: Equatable, Sendable {
  public struct Bin: Equatable, Sendable {
    /// Answers in it.
    public var count = 0
    /// Sum of their foretold probabilities.
    public var foretold = 0.0
    /// How many won.
    public var won = 0

    /// How far what was foretold lies from what came, 0 for no answers.
    public var gap: Double {
      count == 0 ? 0 : abs(foretold - Double(won)) / Double(count)
    }
  }

  public static let binCount = 10
  /// `[binCount]` of equal width from 0 to 1.
  public let bins: [Bin]

  /// - Parameter winProbabilities: Of each pair's preferred answer.
  public init(winProbabilities: [Double]) {
    var bins = [Bin](repeating: Bin(), count: Self.binCount)
    for probability in winProbabilities {
      // The other answer goes into the mirrored bin, also where p lies between two bins.
      let place = min(Int(probability * Double(Self.binCount)), Self.binCount - 1)
      bins[place].count += 1
      bins[place].foretold += probability
      bins[place].won += 1
      bins[Self.binCount - 1 - place].count += 1
      bins[Self.binCount - 1 - place].foretold += 1 - probability
    }
    self.bins = bins
  }

  /// The mean gap, each bin counting as its answers do: the expected calibration error.
  ///
  /// - Source: Naeini et al. 2015; Guo et al. 2017, equation 3.
  public var error: Double {
    let total = bins.reduce(0) { $0 + $1.count }
    return total == 0 ? 0 : bins.reduce(0) { $0 + Double($1.count) * $1.gap } / Double(total)
  }
}

/// Lets a reward model score pairs.
public struct PairTest {
  private var reader: RowReading
  private let tokenizer: Tokenizer

  /// - Parameter weights: With a score head.
  public init(_ weights: ModelWeights, engine: Engine, tokenizer: Tokenizer) {
    precondition(weights.layout.head == .score, "a model that does not score")
    reader = RowReading(
      weights, engine, rowCapacity: max(256, weights.layout.shape.sequenceLength))
    self.tokenizer = tokenizer
  }

  /// Scores pairs where training does: at the position that has read the token which ends an
  /// answer.
  ///
  /// - Parameters:
  ///   - sequences: For each pair two, chosen then rejected; at most T tokens each.
  ///   - progress: Told the share of the sequences that have been read.
  /// - Throws: ``EvaluationError/notFinite(what:)``.
  public mutating func scores(
    of sequences: [TokenSlice.Sequence], progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [ScoredPair] {
    precondition(sequences.count.isMultiple(of: 2), "\(sequences.count) sequences are no pairs")
    let whole = sequences.map { sequence in
      // One more token, which nothing reads: so the last one has a position.
      TokenSlice.Sequence(
        tokens: sequence.tokens + [0],
        isTarget: [Bool](repeating: false, count: sequence.tokens.count))
    }
    let scores = reader.values(of: whole) { progress(Double($0) / Double(sequences.count)) }
      .map { $0[$0.count - 1] }
    guard scores.allSatisfy(\.isFinite) else { throw .notFinite(what: "a score") }
    return stride(from: 0, to: sequences.count, by: 2).map { first in
      ScoredPair(
        margin: scores[first] - scores[first + 1], isTie: sequences[first].isTie,
        chosenByteCount: byteCount(sequences[first]),
        rejectedByteCount: byteCount(sequences[first + 1]))
    }
  }

  private func byteCount(_ sequence: TokenSlice.Sequence) -> Int {
    tokenizer.decode(Array(sequence.answer)).count
  }
}
