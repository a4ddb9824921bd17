internal import Operators
public import Tensors

/// Chooses the next token from logits.
///
/// The draw of token `n` of a stream is a function of the stream's seed and `n`, so a stream gets
/// the same text alone or in a batch, and on every machine.
public struct Sampler: Equatable, Sendable {
  /// 0 takes the likeliest token; 1 samples from the model's own distribution.
  public var temperature: Double
  /// Samples from the smallest set of likeliest tokens whose probability reaches this; 1: all.
  public var topP: Double
  public var seed: UInt64

  public init(temperature: Double = 1, topP: Double = 1, seed: UInt64 = 0) {
    precondition(temperature >= 0, "temperature \(temperature) is negative")
    precondition(topP > 0 && topP <= 1, "top-p \(topP) is outside 0...1")
    self.temperature = temperature
    self.topP = topP
    self.seed = seed
  }

  /// The token that follows. Equal logits are ordered by id.
  ///
  /// - Parameters:
  ///   - logits: `[V]`.
  ///   - index: How many tokens were drawn in this stream before.
  public func next(_ logits: SharedRows<Float>, index: Int) -> UInt32 {
    let (best, top) = likeliest(logits)
    guard temperature > 0 else { return best }
    let weights = logits.withSpan { span in
      // e^-700 is below the last place of any sum of weights, of which one is 1.
      span.indices.map { PortableMath.exp(max(-700, (Double(span[$0]) - top) / temperature)) }
    }
    let total = weights.reduce(0, +)
    let draw = Double(RandomStream(seed: seed, purpose: Self.purpose).uniform(at: UInt64(index)))
    if topP == 1 { return pick(Array(weights.indices), weights, draw * total) }
    let order = weights.indices.sorted { (weights[$0], $1) > (weights[$1], $0) }
    var (kept, sum) = (0, 0.0)
    while kept < order.count && sum < topP * total {
      sum += weights[order[kept]]
      kept += 1
    }
    return pick(Array(order.prefix(kept)), weights, draw * sum)
  }

  /// Apart from the purposes of training.
  private static let purpose: UInt64 = 1 << 33

  private func likeliest(_ logits: SharedRows<Float>) -> (UInt32, Double) {
    logits.withSpan { span in
      var best = 0
      for id in span.indices where span[id] > span[best] { best = id }
      return (UInt32(best), Double(span[best]))
    }
  }

  /// The first id at which the running sum passes `threshold`; rounding may leave it unpassed, then
  /// the last.
  private func pick(_ ids: [Int], _ weights: [Double], _ threshold: Double) -> UInt32 {
    var sum = 0.0
    for id in ids {
      sum += weights[id]
      if sum > threshold { return UInt32(id) }
    }
    return UInt32(ids.last ?? 0)
  }
}
