/// The sizes that define a Llama-shaped decoder.
public struct ModelShape: Codable, Equatable, Sendable {
  /// Most layers: a dropout mask's purpose counts them below its site in thousands.
  public static let layerCountMax = 1000
  /// Widest head that the attention kernels take: a row's sums stay on the stack.
  public static let headWidthMax = 256
  /// Longest sequence: sines of angles up to 2^20 are exact to their last bits.
  public static let sequenceLengthMax = 1 << 20

  public var layerCount: Int
  /// D.
  public var modelWidth: Int
  /// N, query heads.
  public var headCount: Int
  /// G, key-value heads; divides ``headCount``.
  public var keyValueHeadCount: Int
  /// H; even, because rotary positions turn pairs, and at most ``headWidthMax``.
  public var headWidth: Int
  /// F.
  public var feedForwardWidth: Int
  /// V.
  public var vocabularySize: Int
  /// T, the longest sequence.
  public var sequenceLength: Int
  /// Whether the output head is the embedding matrix.
  public var isHeadTied: Bool
  public var ropeTheta: Double
  public var normEpsilon: Double

  public init(
    layerCount: Int, modelWidth: Int, headCount: Int, keyValueHeadCount: Int, headWidth: Int,
    feedForwardWidth: Int, vocabularySize: Int, sequenceLength: Int, isHeadTied: Bool,
    ropeTheta: Double = 10_000, normEpsilon: Double = 1e-5
  ) {
    self.layerCount = layerCount
    self.modelWidth = modelWidth
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headWidth = headWidth
    self.feedForwardWidth = feedForwardWidth
    self.vocabularySize = vocabularySize
    self.sequenceLength = sequenceLength
    self.isHeadTied = isHeadTied
    self.ropeTheta = ropeTheta
    self.normEpsilon = normEpsilon
  }

  /// Columns of the fused query, key and value product: `(N + 2 G) H`.
  public var queryKeyValueWidth: Int { (headCount + 2 * keyValueHeadCount) * headWidth }
  /// Columns of the attention output: `N H`.
  public var attentionWidth: Int { headCount * headWidth }
  /// Parameters that take part in a matmul for every token: all but gains and an untied look-up.
  public var matmulParameterCount: Int {
    let attention = modelWidth * (queryKeyValueWidth + attentionWidth)
    let feedForward = 3 * modelWidth * feedForwardWidth
    return layerCount * (attention + feedForward) + vocabularySize * modelWidth
  }
}
