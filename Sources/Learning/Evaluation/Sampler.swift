public import Operators
internal import Tensors

/// Chooses the tokens of a stream.
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

  /// How token `index` of the stream, from 0, is drawn.
  public func draw(at index: Int) -> TokenDraw {
    let stream = RandomStream(seed: seed, purpose: Self.purpose)
    return TokenDraw(
      temperature: temperature, topP: topP, uniform: Double(stream.uniform(at: UInt64(index))))
  }

  /// Apart from the purposes of training.
  private static let purpose: UInt64 = 1 << 33
}
