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
/// - Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
public struct ModelFlops: Equatable, Sendable {
  /// N: ``Tensors/ModelShape/matmulParameterCount``.
  public let matmulParameterCount: Int
  public let layerCount: Int
  /// A.
  public let attentionWidth: Int
  /// T.
  public let sequenceLength: Int

  /// - Parameter head: A head that scores has one row.
  public init(_ shape: ModelShape, head: HeadKind = .language) {
    let rows = shape.vocabularySize * shape.modelWidth
    let left = head == .score ? rows - shape.modelWidth : 0
    matmulParameterCount = shape.matmulParameterCount - left
    layerCount = shape.layerCount
    attentionWidth = shape.attentionWidth
    sequenceLength = shape.sequenceLength
  }

  private var attention: Double {
    12 * Double(layerCount) * Double(attentionWidth) * Double(sequenceLength)
  }

  /// Forward and backward, by the PaLM formula.
  public var perToken: Double { 6 * Double(matmulParameterCount) + attention }
  /// Forward and backward, the attention term halved.
  public var perTokenCausal: Double { 6 * Double(matmulParameterCount) + attention / 2 }
  /// A third of ``perToken``: without the backward pass.
  public var perTokenForward: Double { perToken / 3 }
  /// A third of ``perTokenCausal``.
  public var perTokenForwardCausal: Double { perTokenCausal / 3 }

  /// The formula with its numbers, for a calculator.
  public var formula: String {
    "6 x \(matmulParameterCount) matmul parameters + 12 x \(layerCount) layers"
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
    models = plan.stateLayout(inPhase: index).models.filter(\.isTrained).map {
      ModelFlops(plan.model, head: $0.role.head)
    }
  }

  public var perToken: Double { models.reduce(0) { $0 + $1.perToken } }
  public var perTokenCausal: Double { models.reduce(0) { $0 + $1.perTokenCausal } }
  public var formula: String { models.map(\.formula).joined(separator: " + ") }
}
