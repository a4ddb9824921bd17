public import Settings
internal import Tensors

/// What the arithmetic of a phase comes to, before it runs.
///
/// Sequences are taken at the context's length, prompts and answers at their limits: an upper
/// bound for a phase that reads examples. By phase, per token, N as in ``ModelFlops``:
///
///     pretrain, anneal, sft, reward    6 N of the model in training
///     sft of adapters                  4 N of the policy and 6 of each adapter parameter
///     dpo                              6 N of both answers; 2 N of the reference, the first time
///     grpo                             6 N and epoch; rollouts
///     ppo                              6 N and epoch, of policy and of value model; rollouts
///     reward, dpo on sampled pairs     the same and rollouts
///     rollouts                         2 N of the policy, prompts and answers; 2 N of each model
///                                      that is asked about them
///
/// with the attention term in the same proportions.
public struct PhaseCost: Equatable, Sendable {
  /// Work on so many tokens.
  public struct Part: Equatable, Sendable {
    public var tokenCount: Int
    /// PaLM formula.
    public var flops: Double
    /// The attention term halved.
    public var causalFlops: Double

    /// Forward passes of `models`.
    fileprivate init(reading tokenCount: Int, by models: [ModelFlops]) {
      self.tokenCount = tokenCount
      flops = models.reduce(0) { $0 + Double(tokenCount) * $1.perTokenForward }
      causalFlops = models.reduce(0) { $0 + Double(tokenCount) * $1.perTokenForwardCausal }
    }

    fileprivate init(training tokenCount: Int, _ flops: PhaseFlops) {
      self.tokenCount = tokenCount
      self.flops = Double(tokenCount) * flops.perToken
      causalFlops = Double(tokenCount) * flops.perTokenCausal
    }
  }

  /// Forward and backward of what the phase trains, in all its steps.
  public let training: Part
  /// What dpo asks the reference in its steps.
  public let reference: Part
  /// The policy reads prompts and draws answers.
  public let drawing: Part
  /// Reference, reward and value model read them, as far as the phase has them.
  public let judging: Part
  /// Of a token that a validation reads.
  let validationCausalFlops: Double

  public var flops: Double {
    training.flops + reference.flops + drawing.flops + judging.flops
  }

  /// Of a token of prompts and answers: drawn, and read by each model that is asked; 0 in a phase
  /// without rollouts.
  public var rollout: (perToken: Double, perTokenCausal: Double) {
    let count = Double(max(1, drawing.tokenCount))
    return (
      (drawing.flops + judging.flops) / count, (drawing.causalFlops + judging.causalFlops) / count
    )
  }

  public init(_ plan: ResolvedPlan, phase index: Int) {
    let phase = plan.phases[index]
    let policy = ModelFlops(plan.model), scoring = ModelFlops(plan.model, head: .score)
    let length = plan.model.sequenceLength
    let sequences = phase.kind.takesSteps ? phase.steps * plan.batch.sequences : 0
    let answers = phase.reinforcement.map { $0.iterations * $0.answerCount } ?? 0
    var judges: [ModelFlops] = []
    if let reinforcement = phase.reinforcement {
      judges = (phase.kind.hasReference ? [policy] : []) + (phase.kind == .ppo ? [scoring] : [])
        + (reinforcement.judge == .model || phase.continuesReward ? [scoring] : [])
    }
    training = Part(training: sequences * length, PhaseFlops(plan, phase: index))
    let isDPO = phase.kind == .dpo
    let compared = phase.samples ? answers : min(sequences, phase.pairSequenceCount ?? sequences)
    reference = Part(reading: isDPO ? compared * length : 0, by: [policy])
    drawing = Part(reading: answers * length, by: [policy])
    judging = Part(reading: answers * length, by: judges)
    let asked = phase.samples ? [policy] + judges : phase.kind == .reward ? [scoring]
      : isDPO ? [policy, policy] : [policy]
    validationCausalFlops = asked.reduce(0) { $0 + $1.perTokenForwardCausal }
  }
}

extension ResolvedPlan.Phase {
  /// Sequences of all pairs of the generated world; nil: only a file tells.
  fileprivate var pairSequenceCount: Int? {
    guard case .world = data.source, let examples else { return nil }
    return 2 * examples.count
  }
}
