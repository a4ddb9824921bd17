public import Corpus

/// What a model said to a question.
public struct JudgedAnswer: Equatable, Sendable {
  public var text: String
  public var worth: AnswerWorth
  /// With the token that ends it.
  public var tokenCount: Int
  /// Whether it ended; otherwise it was cut.
  public var isEnded: Bool

  public init(text: String, worth: AnswerWorth, tokenCount: Int, isEnded: Bool) {
    self.text = text
    self.worth = worth
    self.tokenCount = tokenCount
    self.isEnded = isEnded
  }
}

/// How good answers are, and how long.
public struct AnswerSummary: Equatable, Sendable {
  public let accuracy: Share
  public let ended: Share
  public let byteCount: Mean
  public let tokenCount: Mean

  /// - Precondition: There are answers.
  public init(_ answers: [JudgedAnswer]) {
    accuracy = Share(answers.map(\.worth.isRight))
    ended = Share(answers.map(\.isEnded))
    byteCount = Mean(answers.map { Double($0.worth.byteCount) })
    tokenCount = Mean(answers.map { Double($0.tokenCount) })
  }
}

/// How often answers beat others to the same questions.
public struct WinRate: Equatable, Sendable {
  public let wins: Int
  public let ties: Int
  public let losses: Int

  /// - Parameter comparisons: Of each question: above 0 for a win, 0 for a tie.
  public init(_ comparisons: [Int]) {
    wins = comparisons.count { $0 > 0 }
    ties = comparisons.count { $0 == 0 }
    losses = comparisons.count { $0 < 0 }
  }

  /// `(wins + ties / 2) / questions`.
  public var rate: Share {
    Share(Double(wins) + Double(ties) / 2, of: wins + ties + losses)
  }

  public var tieShare: Double { Double(ties) / Double(wins + ties + losses) }
}

/// Answers held against those of another model.
public struct AnswerComparison: Equatable, Sendable {
  /// By the known rule: right beats wrong, then short beats long.
  public let overall: WinRate
  /// As if only that counted.
  public let byCorrectness: WinRate
  public let byLength: WinRate
  /// How much more often they are right than the others.
  public let accuracyGain: ShareDifference

  /// - Precondition: Both are to the same questions, of which there are some.
  public init(_ answers: [JudgedAnswer], over others: [JudgedAnswer]) {
    precondition(
      answers.count == others.count && !answers.isEmpty,
      "\(answers.count) answers against \(others.count)")
    let pairs = zip(answers.map(\.worth), others.map(\.worth))
    overall = WinRate(pairs.map { $0.preference(over: $1) })
    byCorrectness = WinRate(pairs.map { $0.correctness(over: $1) })
    accuracyGain = ShareDifference(
      answers.map(\.worth.isRight), over: others.map(\.worth.isRight))
    byLength = WinRate(pairs.map { $0.brevity(over: $1) })
  }
}

/// The likelihood that a model gives each choice of a question.
public struct JudgedChoices: Equatable, Sendable {
  /// ln p of each choice, its end included, nats.
  public var logProbabilities: [Double]
  /// Tokens of each choice.
  public var tokenCounts: [Int]
  public var answerIndex: Int

  public init(logProbabilities: [Double], tokenCounts: [Int], answerIndex: Int) {
    precondition(logProbabilities.count == tokenCounts.count, "choices differ in number")
    self.logProbabilities = logProbabilities
    self.tokenCounts = tokenCounts
    self.answerIndex = answerIndex
  }

  /// Whether the right choice is the likeliest: the first of those that are equal.
  public var isRight: Bool { likeliest(logProbabilities) == answerIndex }

  /// The same by the mean over a choice's tokens.
  public var isRightPerToken: Bool {
    likeliest(zip(logProbabilities, tokenCounts).map { $0 / Double($1) }) == answerIndex
  }

  private func likeliest(_ values: [Double]) -> Int? {
    values.indices.max { (values[$0], $1) < (values[$1], $0) }
  }
}

/// How often the right choice is the likeliest.
///
/// The figure is ``summed``: with its end, a choice's log-probability is that of exactly this
/// answer, so that no length needs to be divided out. ``perToken`` stands beside it.
public struct ChoiceSummary: Equatable, Sendable {
  public let summed: Share
  public let perToken: Share
  /// Mean over questions of 1 / choices.
  public let chance: Double

  /// - Precondition: There are questions.
  public init(_ choices: [JudgedChoices]) {
    summed = Share(choices.map(\.isRight))
    perToken = Share(choices.map(\.isRightPerToken))
    chance = Mean(choices.map { 1 / Double($0.tokenCounts.count) }).value
  }
}
