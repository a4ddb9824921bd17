public import Planning
public import Tensors

/// The answers of an iteration, as rows of ``RolloutShape`` in memory.
///
/// Rows are filled slice by slice into memory that is zero elsewhere, and added: a sum of one value
/// and zeros is that value. So no element may be -0, which adding +0 would change.
public struct Rollouts {
  public let shape: RolloutShape
  private let rows: SharedRows<Float>

  public init(_ shape: RolloutShape, _ rows: SharedRows<Float>) {
    precondition(rows.count == shape.count, "\(rows.count) elements are not [\(shape.count)]")
    self.shape = shape
    self.rows = rows
  }

  /// What one answer's row says.
  public struct Answer: Equatable, Sendable {
    /// Index of the prompt in its data.
    public var row: UInt32
    /// Tokens of prompt and answer.
    public var tokens: [UInt32]
    public var promptCount: Int
    /// Whether it ended; otherwise it was cut.
    public var isEnded: Bool
    public var score: Double
    /// Whether the judge's score was no finite number, so that it counts as 0.
    public var isUnscored: Bool
    /// For each token of the answer; under the policy that drew it, the reference (the policy where
    /// that does not change) and the value model (0 without one).
    public var logProbabilities, reference, values: [Double]
    public var advantages, returns: [Double]

    public var answerCount: Int { tokens.count - promptCount }

    /// As a model reads it: the answer's tokens are targets.
    public func sequence(row: UInt32) -> TokenSlice.Sequence {
      TokenSlice.Sequence(
        tokens: tokens, isTarget: (1..<tokens.count).map { $0 >= promptCount }, row: row)
    }
  }

  private enum Column: Int, CaseIterable {
    case logProbability, reference, value, advantage, `return`
  }

  private func start(of column: Column, _ answer: Int) -> Int {
    answer * shape.width + RolloutShape.headCount + shape.sequenceLength + 1
      + column.rawValue * shape.answerTokens
  }

  public subscript(_ index: Int) -> Answer {
    get {
      let first = index * shape.width
      let promptCount = Int(rows[first + 1])
      let count = Int(rows[first + 2])
      let tokens = first + RolloutShape.headCount..<first + RolloutShape.headCount + promptCount
        + count
      func column(_ column: Column) -> [Double] {
        let start = start(of: column, index)
        return rows[start..<start + count].array.map(Double.init)
      }
      return Answer(
        row: UInt32(rows[first]), tokens: rows[tokens].array.map { UInt32($0) },
        promptCount: promptCount, isEnded: rows[first + 3] == 1, score: Double(rows[first + 4]),
        isUnscored: rows[first + 5] == 1, logProbabilities: column(.logProbability),
        reference: column(.reference), values: column(.value), advantages: column(.advantage),
        returns: column(.return))
    }
    nonmutating set {
      let first = index * shape.width
      let head = [
        Double(newValue.row), Double(newValue.promptCount), Double(newValue.answerCount),
        newValue.isEnded ? 1 : 0, newValue.score, newValue.isUnscored ? 1 : 0,
      ]
      put(head, at: first)
      put(newValue.tokens.map(Double.init), at: first + RolloutShape.headCount)
      put(newValue.logProbabilities, at: start(of: .logProbability, index))
      put(newValue.reference, at: start(of: .reference, index))
      put(newValue.values, at: start(of: .value, index))
      put(newValue.advantages, at: start(of: .advantage, index))
      put(newValue.returns, at: start(of: .return, index))
    }
  }

  private func put(_ values: [Double], at start: Int) {
    rows[start..<start + values.count].withMutableSpan { span in
      for index in span.indices { span[index] = Float(values[index]) + 0 }
    }
  }

  /// Whitens the advantages of all answers together, each token once.
  func whitenAdvantages() {
    let counts = (0..<shape.answerCount).map { Int(rows[$0 * shape.width + 2]) }
    let all = counts.indices.flatMap { index in
      let start = start(of: .advantage, index)
      return rows[start..<start + counts[index]].array.map(Double.init)
    }
    let whitened = Advantages.whiten(all)
    var next = 0
    for (index, count) in counts.enumerated() {
      put(Array(whitened[next..<next + count]), at: start(of: .advantage, index))
      next += count
    }
  }

  /// The pairs that a step learns from, in slices: answers to one prompt, two and two.
  ///
  /// - Parameters: As ``batch(step:sequences:slices:permutation:)``; the permutation is of pairs.
  func pairBatch(
    step: Int, sequences: Int, slices: Int, permutation: (_ epoch: Int) -> [UInt32]
  ) -> [TokenSlice] {
    let perStep = sequences / 2
    let perEpoch = shape.answerCount / sequences
    let (epoch, place) = step.quotientAndRemainder(dividingBy: perEpoch)
    let chosen = permutation(epoch)[place * perStep..<(place + 1) * perStep]
    let share = perStep / slices
    return (0..<slices).map { slice in
      let first = chosen.startIndex + slice * share
      return TokenSlice(
        sequences: chosen[first..<first + share].flatMap { pair in
          let row = 2 * Int(pair)
          return Answer.pair(self[row], self[row + 1], firstRow: row)
        })
    }
  }

  /// The answers that a step learns from, in slices.
  ///
  /// - Parameters:
  ///   - step: Counted from 0 at the start of the phase.
  ///   - permutation: Of all answers of the iteration, for an epoch of it.
  func batch(
    step: Int, sequences: Int, slices: Int, permutation: (_ epoch: Int) -> [UInt32]
  ) -> [TokenSlice] {
    let perEpoch = shape.answerCount / sequences
    let (epoch, place) = step.quotientAndRemainder(dividingBy: perEpoch)
    let chosen = permutation(epoch)[place * sequences..<(place + 1) * sequences]
    let share = sequences / slices
    return (0..<slices).map { slice in
      let first = chosen.startIndex + slice * share
      return TokenSlice(
        sequences: chosen[first..<first + share].map { self[Int($0)].sequence(row: $0) })
    }
  }
}

extension Rollouts.Answer {
  /// An answer as it was drawn, not judged yet.
  package init(
    row: UInt32, tokens: [UInt32], promptCount: Int, isEnded: Bool, logProbabilities: [Double]
  ) {
    self.init(
      row: row, tokens: tokens, promptCount: promptCount, isEnded: isEnded, score: 0,
      isUnscored: false, logProbabilities: logProbabilities, reference: [], values: [],
      advantages: [], returns: [])
  }

  /// Two answers to a prompt as a pair, the better one first; equal ones are a tie.
  ///
  /// - Parameter firstRow: Row of the sequence of `first`; that of `second` has the next.
  static func pair(_ first: Self, _ second: Self, firstRow: Int) -> [TokenSlice.Sequence] {
    let both = [first, second].enumerated().map { index, answer in
      var sequence = answer.sequence(row: UInt32(firstRow + index))
      sequence.isTie = first.score == second.score
      return sequence
    }
    return first.score >= second.score ? both : both.reversed()
  }

  /// What it adds to the measures of its iteration.
  var measures: SIMD16<Double> {
    Measures.answer(
      score: score, isUnscored: isUnscored, isEnded: isEnded, promptCount: promptCount,
      logProbabilities: logProbabilities,
      estimates: zip(logProbabilities, reference).map { mine, reference in
        let estimate = KLEstimate(logProbability: mine, reference: reference)
        return (k1: estimate.k1, k3: estimate.k3)
      })
  }
}
