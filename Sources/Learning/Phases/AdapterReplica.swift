internal import Operators
internal import Optimization
internal import Settings
internal import Tensors
internal import Transformer

/// The adapters of a policy, trained in its place: after each update its weights are made anew of
/// the reference's and of their product.
final class AdapterReplica: ModelReplica {
  private let policy, base: ModelReplica
  private let optimizer: AdamW
  /// What the product counts, and a gradient with respect to its factors.
  private let factor: Double

  /// - Parameters:
  ///   - policy: Learns of the adapters here; its graph must not have been made yet.
  ///   - base: Weights that never change.
  init(
    _ model: StateLayout.Model, plan: ResolvedPlan, engine: Engine, memory: SharedMemory,
    choice: AdapterChoice, policy: ModelReplica, base: ModelReplica
  ) {
    self.policy = policy
    self.base = base
    factor = choice.scale
    optimizer = AdamW(
      settings: plan.optimizer,
      groups: model.layout.parameters.map { UpdateGroup(ranges: [$0.range], isDecayed: true) })
    super.init(model, plan: plan, engine: engine, memory: memory)
    policy.adapters = (layout, master)
  }

  /// The policy's: its backward pass makes gradients for the adapters.
  override var transformer: Transformer { policy.transformer }

  override func scale(
    _ flat: SharedRows<Float>, lookup: SharedRows<Float>, rows: [Int], tokenCount: Int64
  ) -> AdamW.Scale {
    scale(flat, tokenCount: tokenCount, factor: factor)
  }

  override func update(
    _ flat: SharedRows<Float>, scale: AdamW.Scale, learningRate: Double, count: Int, step: Int
  ) {
    update(flat, by: optimizer, scale: scale, learningRate: learningRate, count: count, step: step)
    guard let adapters = transformer.adapterWeights else {
      preconditionFailure("the policy has no adapters")
    }
    adapters.pack(engine)
    adapters.merge(base: base.master, scale: Float(factor), engine)
  }
}
