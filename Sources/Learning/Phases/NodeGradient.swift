public import Tensors

/// The gradient of one node of the slice tree: its own memory, reused step after step.
public final class NodeGradient: Sendable {
  /// `[layout.count]`. The part of an untied embedding is undefined until
  /// ``Replica/update(gradient:statistics:step:)`` fills it from the look-up part.
  public let flat: SharedRows<Float>
  /// Look-up part at full capacity; a step uses its first `R D` elements.
  public let lookup: SharedRows<Float>

  /// - Parameters:
  ///   - flatCount: Elements of the flat space.
  ///   - lookupCount: Most elements that the look-up part of a step may have.
  public init(flatCount: Int, lookupCount: Int) {
    flat = AlignedStorage(count: flatCount, filledWith: Float(0)).rows
    lookup = AlignedStorage(count: lookupCount, filledWith: Float(0)).rows
  }
}
