internal import ControlProtocol
package import Corpus
package import Planning
package import Settings
internal import System
internal import Tensors

/// Tokens for the feeders: any operation's slices.
package final class TrainingSource: FeedSource {
  private let plan: ResolvedPlan
  private let program: PhaseProgram
  /// By phase index.
  private let corpora: [Int: Corpus]

  package init(plan: ResolvedPlan, program: PhaseProgram, corpora: [Int: Corpus]) {
    self.plan = plan
    self.program = program
    self.corpora = corpora
  }

  func tokens(at position: Int) throws(CorpusError) -> [UInt8] {
    switch program.operation(at: position) {
    case .train(let phase, let step):
      return TokenSliceCoding.encode(try trainingSlices(phase, step))
    case .validate(let phase, _, let isFull):
      guard let corpus = corpora[phase] else { return [] }
      return TokenSliceCoding.encode(
        (0..<plan.batch.slices).map {
          corpus.validationSlice(
            slice: $0, sliceCount: plan.batch.slices,
            sequenceLength: plan.model.sequenceLength, tokenLimit: tokenLimit(phase, isFull))
        })
    case .enter, .rollout, .end: return []
    }
  }

  private func trainingSlices(_ phase: Int, _ step: Int) throws(CorpusError) -> [TokenSlice] {
    guard let corpus = corpora[phase] else { return [] }
    return try (0..<plan.batch.slices).map { (slice) throws(CorpusError) in
      try corpus.slice(
        step: step, slice: slice, batch: plan.batch,
        sequenceLength: plan.model.sequenceLength, seed: plan.seed, phase: phase)
    }
  }

  /// Real tokens that the operation at `position` trains on.
  func trainingTokenCount(at position: Int) throws(CorpusError) -> Int {
    guard case .train(let phase, let step) = program.operation(at: position) else { return 0 }
    return try trainingSlices(phase, step).reduce(0) { $0 + $1.targetCount }
  }

  /// Predictions of a validation and the bytes of text they stand for.
  func coverage(phase: Int, isFull: Bool) -> (tokenCount: Int, byteCount: Int) {
    corpora[phase]?.validation.coverage(
      sequenceLength: plan.model.sequenceLength, tokenLimit: tokenLimit(phase, isFull)) ?? (0, 0)
  }

  private func tokenLimit(_ phase: Int, _ isFull: Bool) -> Int? {
    isFull ? nil : plan.phases[phase].validation.tokenLimit
  }
}
