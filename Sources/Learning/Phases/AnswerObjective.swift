internal import Corpus
internal import Planning
internal import Settings
public import Tensors
internal import Transformer

/// What PPO and GRPO minimize over the answers of a mini-batch.
extension Replica {
  /// The step of a phase that learns from the policy's own answers, in slices.
  ///
  /// Mini-batches are a permutation of the iteration's answers, or of its pairs of answers, by
  /// (seed, phase, iteration, epoch).
  public func answerBatch(step: Int) -> [TokenSlice] {
    let perIteration = settings.stepsPerIteration(plan.batch)
    let (iteration, rest) = step.quotientAndRemainder(dividingBy: perIteration)
    let isPaired = phase.kind.readsPairs
    func permutation(_ epoch: Int) -> [UInt32] {
      RandomStream(
        seed: plan.seed, phase: phaseIndex, step: iteration * settings.epochs + epoch,
        purpose: Self.permutationPurpose
      ).permutation(count: settings.answerCount / (isPaired ? 2 : 1))
    }
    let (sequences, slices) = (plan.batch.sequences, plan.batch.slices)
    return isPaired
      ? answers.pairBatch(
        step: rest, sequences: sequences, slices: slices, permutation: permutation)
      : answers.batch(step: rest, sequences: sequences, slices: slices, permutation: permutation)
  }

  private static let permutationPurpose: UInt64 = 0x4550_4F43  // "EPOC"

  /// Takes the answers of an iteration over into the state.
  ///
  /// - Parameter sum: Of all slices.
  public func takeRollouts(_ sum: SharedRows<Float>) {
    rollouts?.copy(from: sum)
    known = [:]
    if phase.kind == .ppo { answers.whitenAdvantages() }
  }

  var answers: Rollouts {
    guard let rollouts, let shape = plan.rolloutShape(ofPhase: phaseIndex) else {
      preconditionFailure("phase \(phase.name) has no answers")
    }
    return Rollouts(shape, rollouts)
  }

  private var settings: ResolvedPlan.Reinforcement {
    guard let settings = phase.reinforcement else {
      preconditionFailure("phase \(phase.name) does not learn from answers")
    }
    return settings
  }

  /// The rows of a micro-batch that predict an answer's tokens, with the answer.
  private func targets(
    _ slice: TokenSlice, _ sequences: Range<Int>
  ) -> [(rows: Range<Int>, answer: Rollouts.Answer)] {
    zip(sequences, RowRanges(slice, sequences).ranges).map { index, range in
      let answer = answers[Int(slice.sequences[index].row)]
      let first = range.lowerBound + answer.promptCount - 1
      return (first..<first + answer.answerCount, answer)
    }
  }

  /// The clipped policy loss; in GRPO with the divergence from the reference beside it.
  func clippedAnswers(_ slice: TokenSlice, _ sequences: Range<Int>) -> RowObjective {
    let targets = targets(slice, sequences)
    let loss = ClippedPolicy(clip: settings.clip)
    let beta = phase.kind == .grpo ? settings.beta : 0
    return { values, weights in
      weights.fill(with: 0)
      var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
      for (rows, answer) in targets {
        for (index, row) in rows.enumerated() {
          // Rounded as the old one was, so that an unchanged policy has a ratio of 1.
          let logProbability = Double(Float(-values[row]))
          let outcome = loss(
            logProbability: logProbability, old: answer.logProbabilities[index],
            advantage: answer.advantages[index])
          let estimate = KLEstimate(
            logProbability: logProbability, reference: answer.reference[index])
          // A row's value is its loss, the negative of its log-probability.
          weights[row] = Float(-(outcome.term.slope + beta * estimate.slope))
          sum.tokenCount += 1
          sum.lossSum += outcome.term.loss + beta * estimate.k3
          sum.measures += Measures.policyToken(
            ratio: outcome.ratio, isClipped: outcome.isClipped,
            old: answer.logProbabilities[index] - logProbability, loss: outcome.term.loss,
            divergence: estimate.k3)
        }
        sum.measures[Measures.tokens] += Double(answer.tokens.count - 1)
      }
      return sum
    }
  }

  /// The clipped loss of the value model. Its tokens are counted by the policy's.
  func valuedAnswers(_ slice: TokenSlice, _ sequences: Range<Int>) -> RowObjective {
    let targets = targets(slice, sequences)
    let loss = ClippedValue(clip: settings.valueClip)
    return { values, weights in
      weights.fill(with: 0)
      var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
      for (rows, answer) in targets {
        for (index, row) in rows.enumerated() {
          let target = answer.returns[index]
          let term = loss(value: values[row], old: answer.values[index], target: target)
          weights[row] = Float(term.slope)
          sum.measures += Measures.valueToken(
            loss: term.loss, value: values[row], target: target)
        }
      }
      return sum
    }
  }
}
