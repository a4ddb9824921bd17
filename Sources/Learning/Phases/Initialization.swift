internal import Operators
internal import Settings
internal import System
internal import Tensors

extension Replica {
  /// Draws the weights from the plan's seed, clears the moments, packs.
  ///
  /// Matrices are normal with mean 0 and the plan's deviation, gains 1. With `scalesResidual` the
  /// matrices that write to the residual stream are smaller by `1 / sqrt(2 layers)`.
  public func initialize() {
    firstMoment.fill(with: 0)
    secondMoment.fill(with: 0)
    master.fill(with: 0)
    for (index, parameter) in layout.parameters.enumerated() {
      let values = master[parameter.range]
      if parameter.role.isGain {
        values.fill(with: 1)
        continue
      }
      let stream = RandomStream(
        seed: plan.seed, purpose: Self.initializationPurpose + UInt64(index))
      engine.team.run(
        NormalFill(values: values, stream: stream, deviation: deviation(of: parameter.role)))
    }
    repack()
  }

  /// First of the purposes of initial draws, one for each tensor in flat order; dropout's purposes
  /// stay below.
  private static let initializationPurpose: UInt64 = 1 << 32

  private func deviation(of role: ParameterRole) -> Double {
    let base = plan.initialization.standardDeviation
    switch role {
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
