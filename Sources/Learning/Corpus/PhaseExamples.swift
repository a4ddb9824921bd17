public import Settings
internal import Tensors
public import Tokenization

extension ExampleCorpus {
  /// The examples of a plan's phase.
  public convenience init(
    _ plan: ResolvedPlan, phase index: Int, tokenizer: Tokenizer,
    expectedTextDigest: String? = nil, event: (CorpusEvent) -> Void = { _ in },
    progress: (Double) -> Void = { _ in }
  ) throws(CorpusError) {
    let phase = plan.phases[index]
    let settings = phase.examples ?? ResolvedPlan.Examples()
    let choice = ExampleChoice(
      source: phase.data.source, split: phase.data.split, exampleCount: settings.count,
      agreement: settings.agreement,
      // A whole answer, and a position that reads its end.
      answerRoom: (phase.reinforcement?.answerTokens ?? 0) + 1, isStrict: settings.isStrict)
    let form: Form =
      phase.samples ? .prompts : phase.kind.readsPairs ? .pairs : .conversations
    // A reward model needs a position that reads an answer's end.
    let room = form == .pairs && phase.kind == .reward ? 1 : 0
    try self.init(
      form, choice, tokenizer: tokenizer, sequenceLength: plan.model.sequenceLength - room,
      seed: plan.seed, phase: index, expectedTextDigest: expectedTextDigest, event: event,
      progress: progress)
  }
}

extension ResolvedPlan {
  /// Who scores the answers of a phase whose judge is a rule; nil for other phases.
  public func answerRule(ofPhase index: Int) -> AnswerRule? {
    let phase = phases[index]
    guard phase.reinforcement?.judge == .rule, let examples = phase.examples else { return nil }
    switch phase.data.source {
    case .path: return .match
    case .world(let seed, _): return .world(World(seed: seed), exampleCount: examples.count)
    }
  }
}
