public import Settings
public import Tensors

/// What a phase reads, and which of it each of its operations does.
public enum PhaseCorpus: Sendable {
  case text(Corpus)
  case examples(ExampleCorpus)

  /// SHA-256 of it, 64 hex digits.
  public var textDigest: String? {
    switch self {
    case .text(let corpus): corpus.textDigest
    case .examples(let corpus): corpus.textDigest
    }
  }

  /// The slices of training step `step` (from 0) of the plan's phase `index`.
  ///
  /// - Throws: ``CorpusError`` where tokens cannot be read.
  public func slices(
    step: Int, _ plan: ResolvedPlan, phase index: Int
  ) throws(CorpusError) -> [TokenSlice] {
    try (0..<plan.batch.slices).map { (slice) throws(CorpusError) in
      switch self {
      case .text(let corpus):
        try corpus.slice(
          step: step, slice: slice, batch: plan.batch,
          sequenceLength: plan.model.sequenceLength, seed: plan.seed, phase: index)
      case .examples(let corpus): corpus.slice(step: step, slice: slice, batch: plan.batch)
      }
    }
  }

  /// The prompts of iteration `iteration` (from 0) of a phase that samples, in slices.
  public func prompts(
    iteration: Int, _ plan: ResolvedPlan, phase index: Int
  ) -> [TokenSlice] {
    guard case .examples(let corpus) = self, let count = plan.phases[index].reinforcement?.prompts
    else { return [] }
    let batch = ResolvedPlan.Batch(sequences: count, slices: plan.batch.slices, microbatch: 1)
    return (0..<plan.batch.slices).map {
      corpus.slice(step: iteration, slice: $0, batch: batch)
    }
  }

  /// Slice `slice` of a validation.
  ///
  /// - Parameter tokenLimit: Most tokens it reads; nil for all.
  public func validationSlice(
    _ slice: Int, _ plan: ResolvedPlan, tokenLimit: Int?
  ) -> TokenSlice {
    switch self {
    case .text(let corpus):
      corpus.validationSlice(
        slice: slice, sliceCount: plan.batch.slices,
        sequenceLength: plan.model.sequenceLength, tokenLimit: tokenLimit)
    case .examples(let corpus):
      corpus.validationSlice(
        slice: slice, sliceCount: plan.batch.slices,
        rowLimit: tokenLimit.map(corpus.rowLimit(ofTokens:)))
    }
  }
}
