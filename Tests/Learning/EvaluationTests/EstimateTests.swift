import Corpus
import Evaluation
import Testing

@Suite struct `Shares and means` {
  /// Newcombe 1998, table I, method 3.
  @Test(arguments: [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
    (1, 29, 0.0061, 0.1718),
  ]) func `have the intervals that Newcombe prints`(
    count: Int, total: Int, low: Double, high: Double
  ) {
    let interval = Share(count, of: total).interval
    #expect(abs(interval.lowerBound - low) < 5e-5 && abs(interval.upperBound - high) < 5e-5)
    let mirrored = Share(total - count, of: total).interval
    #expect(abs(mirrored.lowerBound - (1 - interval.upperBound)) < 1e-15)
    #expect(abs(mirrored.upperBound - (1 - interval.lowerBound)) < 1e-15)
  }

  @Test func `reach 0 and 1 exactly where nothing or all is so`() {
    for total in 1...200 {
      #expect(Share(0, of: total).interval.lowerBound == 0)
      #expect(Share(total, of: total).interval.upperBound == 1)
      #expect(Share(0, of: total).interval.upperBound > 0)
    }
  }

  @Test func `of a mean follow from deviation and count`() {
    // Deviation sqrt(10 / 4), error of the mean sqrt(0.5).
    let mean = Mean([1, 2, 3, 4, 5])
    #expect(mean.value == 3)
    #expect(abs(mean.interval.upperBound - (3 + 1.959_964 * 0.707_107)) < 1e-5)
    #expect(abs(mean.interval.lowerBound - (3 - 1.959_964 * 0.707_107)) < 1e-5)
    #expect(Mean([7]).interval == 7...7)
  }

  /// Whole things are drawn: 300 times the same three differ as three do, and not as their parts.
  @Test func `of parts follow from the things that they are parts of`() {
    // R = 12 / 6; rests 1 - 2, 4 - 4, 7 - 6: variance 3 / 2 (1 + 0 + 1) / 36 = 1 / 12.
    let mean = Mean(sums: [1, 4, 7], over: [1, 2, 3])
    #expect(mean.value == 2)
    #expect(abs(mean.interval.upperBound - (2 + 1.959_964 * 0.288_675)) < 1e-5)
    #expect(abs(mean.interval.lowerBound - (2 - 1.959_964 * 0.288_675)) < 1e-5)
    #expect(Mean(sums: [1, 2, 3], over: [1, 1, 1]) == Mean([1, 2, 3]))
    // Things with the same mean of their parts leave no doubt.
    #expect(Mean(sums: [2, 6, 0], over: [1, 3, 0]).interval == 2...2)
    #expect(Mean(sums: [6], over: [3]).interval == 2...2)
    let whole = Mean(sums: [100, 400, 700], over: [100, 200, 300])
    #expect(abs(whole.interval.upperBound - mean.interval.upperBound) < 1e-12)
  }

  /// Complete responses before and after a therapy, Cavo et al. 2012, with the interval that
  /// Fagerland, Lydersen and Laake print (2017, table 8.4 of "Statistical analysis of contingency
  /// tables").
  @Test func `of a difference between shares of the same cases are Newcombe's`() {
    func difference(_ both: Int, _ one: Int, _ other: Int, _ none: Int) -> ShareDifference {
      func cases(_ counts: (Int, Bool)...) -> [Bool] {
        counts.flatMap { count, value in [Bool](repeating: value, count: count) }
      }
      return ShareDifference(
        cases((both + one, true), (other + none, false)),
        over: cases((both, true), (one, false), (other, true), (none, false)))
    }
    let found = difference(59, 6, 16, 80)
    #expect(abs(found.value + 0.0621) < 5e-5)
    #expect(abs(found.interval.lowerBound + 0.1186) < 5e-5)
    #expect(abs(found.interval.upperBound + 0.0046) < 5e-5)
    let turned = difference(59, 16, 6, 80)
    #expect(turned.value == -found.value)
    #expect(abs(turned.interval.upperBound + found.interval.lowerBound) < 1e-15)
    // Whoever never differed in 20 cases may yet.
    let same = difference(16, 0, 0, 4)
    #expect(same.value == 0 && same.interval.lowerBound < -0.02 && same.interval.upperBound > 0.02)
    #expect(difference(5, 0, 0, 0).interval.lowerBound < -0.3)
    #expect(difference(0, 5, 0, 0).interval.contains(1))
  }

  @Test func `of some things at even distances`() {
    #expect((0..<10).map { $0 }.evenly(4) == [0, 2, 5, 7])
    #expect([3, 1].evenly(nil) == [3, 1] && [3, 1].evenly(9) == [3, 1])
    #expect([String]().evenly(3) == [])
  }
}

@Suite struct `Judged answers` {
  private func answer(_ isRight: Bool, _ byteCount: Int, isEnded: Bool = true) -> JudgedAnswer {
    JudgedAnswer(
      text: "", worth: AnswerWorth(isRight: isRight, byteCount: byteCount),
      tokenCount: byteCount / 2, isEnded: isEnded)
  }

  @Test func `are counted`() {
    let summary = AnswerSummary([
      answer(true, 4), answer(true, 8), answer(false, 12, isEnded: false), answer(true, 8),
    ])
    #expect(summary.accuracy == Share(3, of: 4) && summary.ended == Share(3, of: 4))
    #expect(summary.byteCount.value == 8 && summary.tokenCount.value == 4)
  }

  @Test func `win, lose and tie by the rule and by each half of it`() {
    let mine = [
      answer(true, 9), answer(true, 9), answer(true, 9), answer(false, 3), answer(false, 3),
    ]
    let others = [
      answer(false, 3), answer(true, 9), answer(true, 12), answer(true, 3), answer(false, 2),
    ]
    let found = AnswerComparison(mine, over: others)
    // Right beats wrong; a tie; shorter; wrong; longer.
    #expect(found.overall == WinRate([1, 0, 1, -1, -1]))
    #expect(found.byCorrectness == WinRate([1, 0, 0, -1, 0]))
    #expect(found.byLength == WinRate([-1, 0, 1, 0, -1]))
    #expect(
      found.accuracyGain
        == ShareDifference(
          [true, true, true, false, false], over: [false, true, true, true, false]))
    #expect(found.overall.rate == Share(2.5, of: 5) && found.overall.tieShare == 0.2)
    #expect(found.byLength.rate.value == 0.4 && found.byLength.tieShare == 0.4)
    let turned = AnswerComparison(others, over: mine).overall
    #expect(turned.rate.value == 1 - found.overall.rate.value)
  }

  @Test func `choose the likeliest, summed or by the mean over tokens`() {
    func choices(_ values: [Double], _ counts: [Int], right: Int) -> JudgedChoices {
      JudgedChoices(logProbabilities: values, tokenCounts: counts, answerIndex: right)
    }
    // Means: -2, -1, -1.5, -2.
    let long = choices([-4, -5, -3, -4], [2, 5, 2, 2], right: 1)
    #expect(!long.isRight && long.isRightPerToken)
    let short = choices([-4, -5, -3, -4], [2, 5, 2, 2], right: 2)
    #expect(short.isRight && !short.isRightPerToken)
    // Of equal ones the first.
    #expect(choices([-1, -1], [1, 1], right: 0).isRight)
    #expect(!choices([-1, -1], [1, 1], right: 1).isRight)
    let summary = ChoiceSummary([long, short, choices([-1, -2], [1, 1], right: 0)])
    #expect(summary.summed == Share(2, of: 3) && summary.perToken == Share(2, of: 3))
    #expect(abs(summary.chance - (0.25 + 0.25 + 0.5) / 3) < 1e-15)
  }
}

@Suite struct `Scored pairs` {
  private func pair(
    _ margin: Double, isTie: Bool = false, _ lengths: (Int, Int) = (5, 5)
  ) -> ScoredPair {
    ScoredPair(
      margin: margin, isTie: isTie, chosenByteCount: lengths.0, rejectedByteCount: lengths.1)
  }

  @Test func `foretell by the logistic function, without overflow`() {
    #expect(pair(0).winProbability == 0.5)
    // 1 / (1 + e^-2), and ln(1 + e^2).
    #expect(abs(pair(2).winProbability - 0.880_797_077_977_882) < 1e-14)
    #expect(abs(pair(-2).winProbability - 0.119_202_922_022_118) < 1e-14)
    #expect(abs(pair(-2).loss - 2.126_928_011_042_973) < 1e-14)
    #expect(abs(pair(2, isTie: true).loss - 1.126_928_011_042_973) < 1e-14)
    #expect(pair(-2, isTie: true).loss == pair(2, isTie: true).loss)
    #expect(pair(1e6).winProbability == 1 && pair(-1e6).winProbability >= 0)
    #expect(pair(-1e6).loss == 1e6)
  }

  @Test func `are summed up`() throws {
    let summary = try #require(
      PairSummary([
        pair(1, (9, 3)), pair(2, (4, 8)), pair(0, (7, 7)), pair(-1, (3, 5)),
        pair(5, isTie: true, (1, 90)),
      ]))
    #expect(summary.accuracy == Share(2.5, of: 4) && summary.equalScoreCount == 1)
    #expect(summary.longerChosen == Share(1.5, of: 4))
    #expect(summary.shorterChosen == Share(2.5, of: 4))
    // The longer one is ahead in the first and the last; the third is a draw.
    #expect(summary.longerWins == Share(2.5, of: 4))
    #expect(summary.equalLengthCount == 1 && summary.tieCount == 1)
    #expect(summary.margin.value == 0.5)
    #expect(PairSummary([pair(3, isTie: true)]) == nil)
  }

  @Test func `are calibrated where as many win as was foretold`() {
    // Four foretold with 0.75, three of them right; the fourth is foretold 0.25.
    let good = Calibration(winProbabilities: [0.75, 0.75, 0.75, 0.25])
    #expect(good.error == 0)
    #expect(good.bins.map(\.count) == [0, 0, 4, 0, 0, 0, 0, 4, 0, 0])
    #expect(good.bins.map(\.won) == [0, 0, 1, 0, 0, 0, 0, 3, 0, 0])
    // Foretold with certainty, and wrong half of the time.
    let sure = Calibration(winProbabilities: [1, 0])
    #expect(sure.error == 0.5 && sure.bins[9].count == 2 && sure.bins[0].won == 1)
    // Half of the answers off by 0.4, half by 0.1.
    let mixed = Calibration(winProbabilities: [0.6, 0.9])
    #expect(abs(mixed.error - 0.25) < 1e-15)
    #expect(Calibration(winProbabilities: [0.5]).bins.reduce(0) { $0 + $1.count } == 2)
  }
}
