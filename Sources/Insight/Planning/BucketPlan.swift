public import Tensors

/// How what an operation sums is cut for the exchange.
///
/// A bucket is a range of elements that leaves as soon as its last contribution is computed. Those
/// of a gradient (look-up elements count from `layout.count` on) end where the backward pass
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

  /// Buckets of the gradients of several models, one behind the other.
  ///
  /// - Parameter lookupCount: Elements of each look-up part; adapters leave the table as it is.
  public static func buckets(
    of models: [StateLayout.Model], lookupCount: Int
  ) -> [Range<Int>] {
    var start = 0
    return models.flatMap { model in
      let lookups = model.role == .adapter ? 0 : lookupCount
      defer { start += model.layout.count + lookups }
      return buckets(layout: model.layout, lookupCount: lookups).map {
        start + $0.lowerBound..<start + $0.upperBound
      }
    }
  }

  /// Buckets of elements that are ready together.
  public static func buckets(elementCount: Int) -> [Range<Int>] {
    stride(from: 0, to: elementCount, by: elementCountMax).map {
      $0..<min($0 + elementCountMax, elementCount)
    }
  }

  /// The part of a bucket that one of `count` ranks sums: all have the same multiple of 16
  /// elements, and the last ones what is left.
  public static func segment(
    of rank: Int, among count: Int, in bucket: Range<Int>
  ) -> Range<Int> {
    let width = ((bucket.count + count - 1) / count + 15) / 16 * 16
    let start = min(bucket.lowerBound + rank * width, bucket.upperBound)
    return start..<min(start + width, bucket.upperBound)
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
