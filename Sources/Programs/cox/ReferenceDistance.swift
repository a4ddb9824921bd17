import Checkpoints
import Evaluation
import Phases
import Settings
import Tensors

/// How far a phase took its model from its reference: means over the tokens of answers that the
/// model draws at temperature 1, which both estimates suppose (docs/numerics.md), nats.
struct ReferenceDistance {
  let k1: Double
  let k3: Double
  let tokenCount: Int

  /// - Returns: nil for the model of a phase that has no reference.
  init?(_ model: SavedModel, _ sheet: QuestionSheet, _ invocation: Invocation) throws {
    let checkpoint = model.checkpoint
    let phase = model.plan.phases[checkpoint.state.phaseIndex]
    guard [.ppo, .dpo, .grpo].contains(phase.kind),
      checkpoint.stateLayout.model(.reference) != nil
    else { return nil }
    let reference = try SavedModel(checkpoint.path, role: .reference, invocation)
    let (drawn, theirs) = try sheet.draw(model, readBy: reference)
    let estimates = zip(drawn, theirs).flatMap { answer, theirs in
      zip(answer.continuation.logProbabilities, theirs).map {
        KLEstimate(logProbability: $0, reference: $1)
      }
    }
    let share = 1 / Double(max(estimates.count, 1))
    k1 = share * estimates.reduce(0) { $0 + $1.k1 }
    k3 = share * estimates.reduce(0) { $0 + $1.k3 }
    tokenCount = estimates.count
  }
}
