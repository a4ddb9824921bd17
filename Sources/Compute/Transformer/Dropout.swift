internal import Operators
internal import Tensors

/// Dropout of one slice of a step: which stream decides where.
///
/// A mask is a function of (seed, phase, step, slice, site, layer) and of the element's index
/// inside the slice, so it does not depend on how a slice is cut into micro-batches.
public struct Dropout: Equatable, Sendable {
  /// Probability that an element becomes zero.
  public var rate: Float
  public var seed: UInt64
  public var phase: Int
  public var step: Int
  public var slice: Int

  public init(rate: Float, seed: UInt64, phase: Int, step: Int, slice: Int) {
    self.rate = rate
    self.seed = seed
    self.phase = phase
    self.step = step
    self.slice = slice
  }

  /// Where an element may be dropped.
  enum Site: UInt64 { case embedding = 1, attention, feedForward }

  /// The mask of rows of `width` elements, of which the first is row `firstRow` of the slice; nil
  /// where nothing is dropped.
  func mask(_ site: Site, layer: Int, firstRow: Int, width: Int) -> DropoutMask? {
    guard rate > 0 else { return nil }
    let stream = RandomStream(
      seed: seed, phase: phase, step: step, slice: slice,
      purpose: site.rawValue * 1000 + UInt64(layer))
    return DropoutMask(rate: rate, stream: stream, firstIndex: UInt64(firstRow * width))
  }
}
