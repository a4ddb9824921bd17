public import Tensors

/// Named model sizes: those at which the project measures itself against others.
public enum ModelPreset: String, CaseIterable, Sendable {
  case tiny, small, medium, gpt2

  /// Layers, width, heads, feed-forward width, vocabulary, context, sequences per step.
  private var row: (Int, Int, Int, Int, Int, Int, Int) {
    switch self {
    case .tiny: (4, 128, 4, 352, 2048, 256, 8)
    case .small: (6, 384, 6, 1024, 8192, 256, 16)
    case .medium: (8, 512, 8, 1408, 16384, 512, 8)
    case .gpt2: (12, 768, 12, 2048, 32768, 512, 4)
    }
  }

  /// With a tied head and as many key-value heads as query heads.
  public var model: ModelShape {
    let (layers, width, heads, feedForward, vocabulary, context, _) = row
    return ModelShape(
      layerCount: layers, modelWidth: width, headCount: heads, keyValueHeadCount: heads,
      headWidth: width / heads, feedForwardWidth: feedForward, vocabularySize: vocabulary,
      sequenceLength: context, isHeadTied: true)
  }

  public var sequencesPerStep: Int { row.6 }
}
