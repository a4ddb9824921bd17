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
  private let corpora: [Int: PhaseCorpus]

  package init(plan: ResolvedPlan, program: PhaseProgram, corpora: [Int: PhaseCorpus]) {
    self.plan = plan
    self.program = program
    self.corpora = corpora
  }

  func tokens(at position: Int) throws(CorpusError) -> [UInt8] {
    TokenSliceCoding.encode(try slices(at: position))
  }

  /// None for an operation that reads nothing of the data.
  private func slices(at position: Int) throws(CorpusError) -> [TokenSlice] {
    switch program.operation(at: position) {
    case .train(let phase, let step): try trainingSlices(phase, step)
    case .rollout(let phase, let iteration):
      corpora[phase]?.prompts(iteration: iteration, plan, phase: phase) ?? []
    case .validate(let phase, _, let isFull):
      (0..<plan.batch.slices).map { validationSlice(phase, slice: $0, isFull: isFull) }
    case .enter, .end: []
    }
  }

  /// A phase that learns from the policy's own answers reads them where they are.
  private func trainingSlices(_ phase: Int, _ step: Int) throws(CorpusError) -> [TokenSlice] {
    guard let corpus = corpora[phase], !plan.phases[phase].samples else { return [] }
    return try corpus.slices(step: step, plan, phase: phase)
  }

  private func validationSlice(_ phase: Int, slice: Int, isFull: Bool) -> TokenSlice {
    corpora[phase]?.validationSlice(slice, plan, tokenLimit: tokenLimit(phase, isFull))
      ?? TokenSlice(sequences: [])
  }

  /// Real tokens that the operation at `position` trains on, as far as the data tell: what a phase
  /// learns from its own answers only they do.
  func trainingTokenCount(at position: Int) throws(CorpusError) -> Int {
    guard case .train(let phase, let step) = program.operation(at: position) else { return 0 }
    let kind = plan.phases[phase].kind
    let length = plan.model.sequenceLength
    return try trainingSlices(phase, step).reduce(0) { sum, slice in
      let read = kind == .reward ? slice.readToEnd(sequenceLength: length) : slice
      return sum + (kind.readsExamples ? read.positionCount : read.targetCount)
    }
  }

  /// Predictions of a validation and the bytes of text they stand for; 0 where they are not known.
  func coverage(phase: Int, isFull: Bool) -> (tokenCount: Int, byteCount: Int) {
    let limit = tokenLimit(phase, isFull)
    switch corpora[phase] {
    case .text(let corpus):
      return corpus.validation.coverage(
        sequenceLength: plan.model.sequenceLength, tokenLimit: limit)
    case .examples(let corpus):
      return (corpus.coverage(rowLimit: limit.map(corpus.rowLimit(ofTokens:))).tokenCount, 0)
    case nil: return (0, 0)
    }
  }

  /// What a validation reads, in words: `140 tokens`, `20 pairs`, `16 prompts`.
  func extent(phase: Int, isFull: Bool) -> String {
    guard case .examples(let corpus) = corpora[phase], corpus.form != .conversations else {
      return "\(coverage(phase: phase, isFull: isFull).tokenCount) tokens"
    }
    let limit = tokenLimit(phase, isFull).map(corpus.rowLimit(ofTokens:))
    let count = corpus.coverage(rowLimit: limit).rowCount
    return "\(count) \(corpus.form == .pairs ? "pairs" : "prompts")"
  }

  /// Why rows of a phase were passed over, in words; nil where all are used.
  func rowsPassedOver(phase: Int) -> String? {
    guard case .examples(let corpus) = corpora[phase], corpus.passedOver.count > 0 else {
      return nil
    }
    return "\(corpus.passedOver.count) of \(corpus.rowsReadCount) rows passed over: "
      + corpus.passedOver.reasons
  }

  private func tokenLimit(_ phase: Int, _ isFull: Bool) -> Int? {
    isFull ? nil : plan.phases[phase].validation.tokenLimit
  }
}
