public import Tensors

/// How the gradient of a step is cut for the exchange.
///
/// A bucket is a range of the flat space (look-up elements count from `layout.count` on) that
/// leaves as soon as its last contribution is computed. Buckets end where the backward pass
/// finishes a layer, so that the network works while the cores compute the next one.
public enum BucketPlan {
  /// Largest bucket: 4 MiB of `f32`. Larger ones start later, smaller ones pay more per frame.
  public static let elementCountMax = 1 << 20
  /// Parts smaller than 64 KiB travel with the next one.
  public static let elementCountMin = 1 << 14

  /// Buckets in the order in which they are ready; the last is the look-up part.
  ///
  /// - Parameter lookupCount: Elements of the look-up part of the step.
  public static func buckets(layout: ParameterLayout, lookupCount: Int) -> [Range<Int>] {
    var buckets: [Range<Int>] = []
    var start = 0
    let ends = readyEnds(layout)
    for end in ends where end - start >= elementCountMin || end == ends.last {
      let parts = max(1, (end - start + elementCountMax - 1) / elementCountMax)
      var cuts = (0...parts).map { start + (end - start) * $0 / parts / 16 * 16 }
      cuts[parts] = end
      buckets += zip(cuts, cuts.dropFirst()).map { $0..<$1 }.filter { !$0.isEmpty }
      start = end
    }
    if lookupCount > 0 { buckets.append(layout.count..<layout.count + lookupCount) }
    return buckets
  }

  /// Where the backward pass stands after the head and after each layer. An untied embedding has
  /// no dense gradient: its look-up part stands for it.
  private static func readyEnds(_ layout: ParameterLayout) -> [Int] {
    let layers = (0..<layout.shape.layerCount).reversed()
    guard let first = layers.first else { return [layout.count] }
    return [layout.range(ofLayer: first).lowerBound]
      + layers.map { layout.range(ofLayer: $0).upperBound }
  }
}
