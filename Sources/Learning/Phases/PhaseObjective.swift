internal import Operators
internal import Planning
internal import Settings
public import Tensors
internal import Transformer

extension Replica {
  /// The slice as the phase's models read it.
  ///
  /// A reward model scores an answer where it has read the token that ends it, so a sequence gets
  /// one more position, which predicts nothing.
  public func prepared(_ slice: TokenSlice) -> TokenSlice {
    guard phase.kind == .reward else { return slice }
    return slice.readToEnd(sequenceLength: plan.model.sequenceLength)
  }

  /// What a model of the phase minimizes over a micro-batch; nil: the sum of its token losses.
  ///
  /// - Parameter sequences: Those of `slice` that ``batch`` holds.
  func objective(
    of model: ModelReplica, _ slice: TokenSlice, _ sequences: Range<Int>
  ) -> RowObjective? {
    switch phase.kind {
    case .tokenizer, .pretrain, .anneal, .sft, .evaluate: nil
    case .reward: scoredPairs(RowRanges(slice, sequences))
    case .dpo: preferredPairs(RowRanges(slice, sequences), slice, sequences)
    case .ppo, .grpo:
      model.role == .value
        ? valuedAnswers(slice, sequences) : clippedAnswers(slice, sequences)
    }
  }

  /// The losses and measures of a slice that was held back, without dropout.
  public func evaluate(_ slice: TokenSlice) -> SliceStatistics {
    let size = plan.batch.microbatch
    guard phase.kind.readsPairs, let model = trained.first else {
      return policy.transformer.loss(of: slice, microbatch: size, by: &batch)
    }
    let weights = AlignedStorage(count: batchCapacity, filledWith: Float(0)).rows
    var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
    for start in stride(from: 0, to: slice.sequences.count, by: size) {
      let sequences = start..<min(start + size, slice.sequences.count)
      batch.load(sequences, of: slice, firstToken: 0)
      guard let objective = objective(of: model, slice, sequences) else { return sum }
      let values = model.transformer.values(batch)
      sum = sum + objective(values, weights[0..<values.count])
    }
    return sum
  }

  /// Bradley and Terry's model over the scores of both answers.
  private func scoredPairs(_ rows: RowRanges) -> RowObjective {
    return { values, weights in
      weights.fill(with: 0)
      var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
      for (pair, (chosen, rejected)) in rows.pairs.enumerated() {
        let (better, worse) = (chosen.upperBound - 1, rejected.upperBound - 1)
        let difference = values[better] - values[worse]
        let term = bradleyTerry(difference: difference, isTie: rows.isTie[pair])
        weights[better] = Float(term.slope)
        weights[worse] = Float(-term.slope)
        sum.tokenCount += 1
        sum.lossSum += term.loss
        sum.measures += Measures.pair(
          margin: difference, chosen: values[better], rejected: values[worse],
          lengths: (chosen.count, rejected.count), isTie: rows.isTie[pair])
      }
      return sum
    }
  }

  /// DPO or IPO over the log-probabilities of both answers.
  private func preferredPairs(
    _ rows: RowRanges, _ slice: TokenSlice, _ sequences: Range<Int>
  ) -> RowObjective {
    guard let preference = phase.preference else { preconditionFailure("dpo has its settings") }
    let loss: PairObjective =
      switch preference.loss {
      case .sigmoid:
        .sigmoid(beta: preference.beta, labelSmoothing: preference.labelSmoothing)
      case .identity: .identity(beta: preference.beta)
      }
    let reference = referenceLogProbabilities(rows, slice, sequences)
    let isTarget = batch.isTarget
    /// Sum or mean of an answer's log-probabilities, and what each token counts.
    @Sendable func answer(
      _ values: SharedRows<Double>, _ range: Range<Int>
    ) -> (logProbability: Double, share: Double) {
      let targets = range.filter { isTarget[$0] }
      let share = preference.isLengthNormalized ? 1 / Double(max(targets.count, 1)) : 1
      return (-targets.reduce(0) { $0 + values[$1] } * share, share)
    }
    return { values, weights in
      weights.fill(with: 0)
      var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
      // Nothing is to be learned of answers that are worth the same.
      for (index, (chosen, rejected)) in rows.pairs.enumerated() where !rows.isTie[index] {
        let (better, worse) = (answer(values, chosen), answer(values, rejected))
        let gains = (
          better.logProbability - reference[2 * index] * better.share,
          worse.logProbability - reference[2 * index + 1] * worse.share
        )
        let term = loss(margin: gains.0 - gains.1)
        // A row's value is its loss, the negative of its log-probability.
        for row in chosen { weights[row] = Float(-term.slope * better.share) }
        for row in rejected { weights[row] = Float(term.slope * worse.share) }
        sum.tokenCount += 1
        sum.lossSum += term.loss
        sum.measures += Measures.pair(
          margin: preference.beta * (gains.0 - gains.1), chosen: preference.beta * gains.0,
          rejected: preference.beta * gains.1, lengths: (chosen.count, rejected.count))
      }
      return sum
    }
  }

  /// The reference's log-probability of each answer, summed over its tokens. They are kept by the
  /// pair's row, since the reference does not change; a worker that never met the pair computes
  /// them, with the same bits.
  private func referenceLogProbabilities(
    _ rows: RowRanges, _ slice: TokenSlice, _ sequences: Range<Int>
  ) -> [Double] {
    let keys = sequences.map {
      ReferenceKey(row: slice.sequences[$0].row, isRejected: $0 % 2 == 1)
    }
    if keys.contains(where: { known[$0] == nil }) {
      let values = self[.reference].transformer.values(batch)
      for (key, range) in zip(keys, rows.ranges) {
        known[key] = -range.reduce(0) { $0 + (batch.isTarget[$1] ? values[$1] : 0) }
      }
    }
    return keys.map { known[$0] ?? 0 }
  }
}

/// Which answer of which pair.
struct ReferenceKey: Hashable {
  let row: UInt32
  let isRejected: Bool
}

/// Where the sequences of a micro-batch lie among its rows.
struct RowRanges {
  let ranges: [Range<Int>]
  /// Of each pair.
  let isTie: [Bool]

  init(_ slice: TokenSlice, _ sequences: Range<Int>) {
    var start = 0
    ranges = sequences.map { index in
      defer { start += slice.sequences[index].count }
      return start..<start + slice.sequences[index].count
    }
    isTie = stride(from: sequences.lowerBound, to: sequences.upperBound, by: 2).map {
      slice.sequences[$0].isTie
    }
  }

  /// Chosen and rejected answers follow one another.
  var pairs: [(Range<Int>, Range<Int>)] {
    stride(from: 0, to: ranges.count - 1, by: 2).map { (ranges[$0], ranges[$0 + 1]) }
  }
}
