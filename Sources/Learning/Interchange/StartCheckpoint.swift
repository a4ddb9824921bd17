internal import Checkpoints
public import Settings
internal import System
public import Tensors
internal import Tokenization

/// The checkpoint at which a run stands before its first step, with weights from elsewhere.
public enum StartCheckpoint {
  /// Writes `checkpoints/<phase>-0` into a run: the source's weights, zero moments, nothing done.
  ///
  /// Workers get it as they get any checkpoint, so that nothing but the coordinator reads the
  /// source. The numeric profile is left open: the run's first view decides it.
  ///
  /// - Parameters:
  ///   - plan: With the source's sizes; only the longest sequence may be another.
  ///   - phaseIndex: Of the first phase that workers take part in.
  ///   - layout: Of that phase's state: the policy, and a reward model where later phases ask one;
  ///     nil: the policy in training.
  ///   - reward: The reward model, where the layout has one.
  ///   - tokenizer: The contents of the run's `tokenizer.json`.
  /// - Returns: The checkpoint's folder.
  @discardableResult
  public static func write(
    _ source: ModelSource, for plan: ResolvedPlan, phaseIndex: Int, layout: StateLayout? = nil,
    reward: RewardSource? = nil, tokenizer: [UInt8], inRun runDirectory: String
  ) throws(InterchangeError) -> String {
    let layout = layout ?? StateLayout(training: plan.model)
    let parts = try layout.parts.map { part throws(InterchangeError) in
      let window = AlignedStorage(count: layout.count(of: part), filledWith: Float(0)).rows
      switch part {
      case .master(.policy): try source.loadWeights(into: window)
      case .master(.reward):
        guard let reward else { preconditionFailure("the run starts without a reward model") }
        try reward.loadWeights(into: window)
      case .master: preconditionFailure("no model to start \(part) with")
      case .firstMoment, .secondMoment, .rollouts: break
      }
      return window
    }
    let state = CheckpointState(
      run: plan.name, phaseIndex: phaseIndex, phaseName: plan.phases[phaseIndex].name, step: 0,
      position: 0, schedulePosition: 0, tokensTotal: 0, dataCursor: 0, profile: "",
      layout: layout, startsTuned: try source.isTuned())
    return try wrapping(checkpoint: { () throws(CheckpointError) in
      let writer = try CheckpointWriter(
        runDirectory: runDirectory, state: state, tokenizer: tokenizer,
        plan: Array(plan.planJSON().utf8))
      do throws(CheckpointError) {
        for chunk in 0..<writer.chunks.chunkCount {
          let bytes = writer.chunks.bytes(of: chunk, in: parts)
          try writer.writeChunk(index: chunk, bytes: bytes)
        }
      } catch {
        writer.abort()
        throw error
      }
      try writer.commit()
      return writer.path
    })
  }
}
