public import Settings
public import Tensors

/// Floating-point operations that a token costs.
///
/// The PaLM formula, which others print too: six for each parameter that takes part in a product
/// (a tied head once, a look-up never), two of them forward and four backward, and the two
/// products of attention over a window of T tokens:
///
///     FLOPs per token = 6 N + 12 L A T
///
/// with N matmul parameters, L layers, A = heads x head width (the model's width in most models)
/// and T tokens of context. The causal figure halves the attention term, which is the work really
/// done, so it can never pass the peak. Nothing is credited for computing something twice.
///
/// Frozen parameters have no gradient of their own: with adapters of `a` parameters in training it
/// is `4 N + 6 a` for `6 N`.
///
/// - Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
public struct ModelFlops: Equatable, Sendable {
  /// N: ``Tensors/ModelShape/matmulParameterCount``.
  public let matmulParameterCount: Int
  /// a; nil: all parameters are trained.
  public let adapterParameterCount: Int?
  public let layerCount: Int
  /// A.
  public let attentionWidth: Int
  /// T.
  public let sequenceLength: Int

  /// - Parameters:
  ///   - head: A head that scores has one row.
  ///   - adapter: What is trained in place of the parameters; nil: these are.
  public init(_ shape: ModelShape, head: HeadKind = .language, adapter: AdapterChoice? = nil) {
    let rows = shape.vocabularySize * shape.modelWidth
    let left = head == .score ? rows - shape.modelWidth : 0
    matmulParameterCount = shape.matmulParameterCount - left
    adapterParameterCount = adapter.map { ParameterLayout(shape, adapter: $0).parameterCount }
    layerCount = shape.layerCount
    attentionWidth = shape.attentionWidth
    sequenceLength = shape.sequenceLength
  }

  private var attention: Double {
    12 * Double(layerCount) * Double(attentionWidth) * Double(sequenceLength)
  }

  /// Forward and backward of the parameters.
  private var products: Double {
    let all = Double(matmulParameterCount)
    return adapterParameterCount.map { 4 * all + 6 * Double($0) } ?? 6 * all
  }

  /// Forward and backward, by the PaLM formula.
  public var perToken: Double { products + attention }
  /// Forward and backward, the attention term halved.
  public var perTokenCausal: Double { products + attention / 2 }
  /// A third of what training all parameters costs: without the backward pass. Adapters are part
  /// of the parameters then.
  public var perTokenForward: Double { (6 * Double(matmulParameterCount) + attention) / 3 }
  /// The same, the attention term halved.
  public var perTokenForwardCausal: Double {
    (6 * Double(matmulParameterCount) + attention / 2) / 3
  }

  /// The formula with its numbers, for a calculator.
  public var formula: String {
    let parameters = adapterParameterCount.map {
      "4 x \(matmulParameterCount) matmul parameters + 6 x \($0) of adapters"
    } ?? "6 x \(matmulParameterCount) matmul parameters"
    return parameters + " + 12 x \(layerCount) layers"
      + " x \(attentionWidth) x \(sequenceLength) (PaLM; causal: 6 for 12)"
  }
}

/// What a real token costs in a phase: forward and backward of every model that it trains.
///
/// A token of a PPO step costs the policy's and the value model's; rollouts, and what frozen models
/// are asked there, count apart.
public struct PhaseFlops: Equatable, Sendable {
  private let models: [ModelFlops]

  public init(_ plan: ResolvedPlan, phase index: Int) {
    let state = plan.stateLayout(inPhase: index)
    models = state.models.filter(\.isTrained).map {
      ModelFlops(plan.model, head: $0.role.head, adapter: state.adapter)
    }
  }

  public var perToken: Double { models.reduce(0) { $0 + $1.perToken } }
  public var perTokenCausal: Double { models.reduce(0) { $0 + $1.perTokenCausal } }
  public var formula: String { models.map(\.formula).joined(separator: " + ") }
}
