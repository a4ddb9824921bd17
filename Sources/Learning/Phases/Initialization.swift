internal import Operators
internal import Settings
internal import System
internal import Tensors

extension Replica {
  /// Draws the policy's weights from the plan's seed, clears everything else, packs.
  ///
  /// Matrices are normal with mean 0 and the plan's deviation, gains 1. With `scalesResidual` the
  /// matrices that write to the residual stream are smaller by `1 / sqrt(2 layers)`.
  public func initialize() {
    for part in parts { part.fill(with: 0) }
    for (index, parameter) in policy.layout.parameters.enumerated() {
      let purpose = Self.initializationPurpose + UInt64(index)
      draw(parameter, of: policy, RandomStream(seed: plan.seed, purpose: purpose))
    }
    repack()
  }

  /// Draws a tensor, the one with index `index` of its model, that no earlier model has.
  func drawNew(_ parameter: Parameter, _ index: Int, of model: ModelReplica) {
    let stream =
      model.role == .adapter
      ? RandomStream(
        seed: plan.seed, phase: phaseIndex, purpose: Self.adapterPurpose + UInt64(index))
      : RandomStream(seed: plan.seed, purpose: Self.headPurpose)
    draw(parameter, of: model, stream)
  }

  private func draw(_ parameter: Parameter, of model: ModelReplica, _ stream: RandomStream) {
    let values = model.master[parameter.range]
    if parameter.role.isGain { return values.fill(with: 1) }
    engine.team.run(
      NormalFill(values: values, stream: stream, deviation: deviation(of: parameter)))
  }

  /// First of the purposes of initial draws, one for each tensor in flat order; dropout's purposes
  /// stay below.
  private static let initializationPurpose: UInt64 = 1 << 32
  /// Of the head of a model that scores, made of one that speaks.
  private static let headPurpose: UInt64 = 1 << 34
  /// First of the purposes of a phase's adapters, one for each tensor in flat order.
  private static let adapterPurpose: UInt64 = 1 << 35

  /// `A x` is of the size of `x`, whatever the width; `B` is zero, so that the phase begins with
  /// the model as it was.
  private func deviation(of parameter: Parameter) -> Double {
    let base = plan.initialization.standardDeviation
    switch parameter.role {
    case .adapterA: return 1 / Double(parameter.shape[1]).squareRoot()
    case .adapterB: return 0
    case .attentionOutput, .down:
      let scales = plan.initialization.scalesResidual
      return scales ? base / (2 * Double(plan.model.layerCount)).squareRoot() : base
    default:
      return base
    }
  }
}

/// Fills a tensor with normal draws, each member a run of elements.
private struct NormalFill: TeamJob {
  let values: SharedRows<Float>
  let stream: RandomStream
  let deviation: Double

  func run(member: Int, memberCount: Int) {
    let first = values.count * member / memberCount
    let end = values.count * (member + 1) / memberCount
    values[first..<end].withMutableSpan { part in
      for index in part.indices {
        part[index] = Float(stream.normal(at: UInt64(first + index)) * deviation)
      }
    }
  }
}
