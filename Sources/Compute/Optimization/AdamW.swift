public import Operators
public import Settings
public import Tensors

/// Tensors that are updated together, and the packed matrix that is made from them while they are
/// still in cache.
public struct UpdateGroup: Sendable {
  /// Ranges of the flat space.
  public var ranges: [Range<Int>]
  /// Whether weight decay applies: to matrices, not to gains.
  public var isDecayed: Bool
  public var packed: PackedWeights?

  public init(ranges: [Range<Int>], isDecayed: Bool, packed: PackedWeights? = nil) {
    self.ranges = ranges
    self.isDecayed = isDecayed
    self.packed = packed
  }
}

/// Master weights and moments in the flat space, `[layout.count]` each.
public struct OptimizerState: Sendable {
  public let master, firstMoment, secondMoment: SharedRows<Float>

  public init(
    master: SharedRows<Float>, firstMoment: SharedRows<Float>, secondMoment: SharedRows<Float>
  ) {
    self.master = master
    self.firstMoment = firstMoment
    self.secondMoment = secondMoment
  }
}

/// AdamW over the flat space: one pass over memory that scales, clips, updates and packs.
///
/// Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
public struct AdamW: Sendable {
  public let settings: ResolvedPlan.Optimizer
  /// In the order in which they are updated: that in which the next forward pass needs them.
  public let groups: [UpdateGroup]

  public init(settings: ResolvedPlan.Optimizer, groups: [UpdateGroup]) {
    self.settings = settings
    self.groups = groups
  }

  /// What a summed gradient is multiplied by, and its norm.
  public struct Scale: Equatable, Sendable {
    /// `1 / tokenCount`, clip not included.
    public let mean: Double
    /// What the gradient lacks besides, as the factor of an adapter's product; 1 else.
    public let factor: Double
    /// Norm of the mean gradient.
    public let norm: Double
    /// `min(1, limit / (norm + 1e-6))`.
    public let clip: Double
    /// Whether the update is left out: no token counted, or the norm is not finite.
    public var isSkipped: Bool { !norm.isFinite || mean == 0 }

    public init(squareSum: Double, tokenCount: Int64, factor: Double = 1, limit: Double) {
      mean = tokenCount > 0 ? 1 / Double(tokenCount) : 0
      self.factor = factor
      norm = mean * factor * squareSum.squareRoot()
      clip = min(1, limit / (norm + 1e-6))
    }
  }

  /// Updates and packs everything.
  ///
  /// - Parameters:
  ///   - gradient: `[layout.count]`, the sum of token gradients.
  ///   - scale: Of this gradient.
  ///   - count: How many updates the moments have seen, this one included; from 1.
  ///   - betweenGroups: Called before the second and every further group, with its index.
  public func update(
    _ state: OptimizerState, gradient: SharedRows<Float>, scale: Scale, learningRate: Double,
    count: Int, engine: Engine, betweenGroups: (Int) -> Void = { _ in }
  ) {
    precondition(!scale.isSkipped, "a skipped step has no update (norm \(scale.norm))")
    for (index, group) in groups.enumerated() {
      if index > 0 { betweenGroups(index) }
      let arguments = AdamWArguments(
        scale: Float(scale.mean * scale.factor * scale.clip), learningRate: learningRate,
        beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon,
        weightDecay: group.isDecayed ? settings.weightDecay : 0,
        correction1: 1 - power(settings.beta1, count),
        correction2: 1 - power(settings.beta2, count))
      if let packed = group.packed, !engine.apart.contains(.optimizer) {
        let step = engine.adamWStep(
          master: state.master, firstMoment: state.firstMoment, secondMoment: state.secondMoment,
          gradient: gradient, arguments)
        engine.adamWAndPack(step, packed)
      } else {
        for range in group.ranges {
          engine.adamW(
            master: state.master[range], firstMoment: state.firstMoment[range],
            secondMoment: state.secondMoment[range], gradient: gradient[range], arguments)
        }
        if let packed = group.packed { engine.pack(packed, from: state.master) }
      }
    }
  }
}
