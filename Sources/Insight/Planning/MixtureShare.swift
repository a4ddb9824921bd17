public import Settings
internal import Tensors

/// What a phase reads of one source of a mixture.
public struct MixtureShare: Equatable, Sendable {
  public let source: String
  /// Of the phase's tokens, 0 to 1.
  public let share: Double
  /// That the phase reads of it, in all its steps.
  public let tokenCount: Int
  /// That the source has to train on; nil where that is not known.
  public let sourceTokenCount: Int?

  /// How often the phase reads it.
  public var epochs: Double? {
    sourceTokenCount.map { Double(tokenCount) / Double(max($0, 1)) }
  }

  /// `75.0 % data/books: 1.2 M tokens, 3.40 epochs`.
  public var text: String {
    let read = "\(Figures.fixed(100 * share, 1)) % \(source): "
      + "\(Figures.short(Double(tokenCount))) tokens"
    return read + (epochs.map { ", \(Figures.fixed($0, 2)) epochs" } ?? "")
  }

  /// Of every source; none for a phase without a mixture or without steps.
  ///
  /// - Parameter sourceTokenCounts: By place in the mixture, as far as they are known.
  public static func shares(
    _ plan: ResolvedPlan, phase index: Int, sourceTokenCounts: [Int?]
  ) -> [MixtureShare] {
    let (phase, data) = (plan.phases[index], plan.phases[index].data)
    guard data.isMixture, phase.steps > 0 else { return [] }
    let counts = data.mixtureOrder.counts(ofFirst: phase.steps * plan.batch.sequences)
    return data.sources.indices.map { place in
      MixtureShare(
        source: data.sources[place].source.name, share: data.shares[place],
        tokenCount: counts[place] * plan.model.sequenceLength,
        sourceTokenCount: sourceTokenCounts[place])
    }
  }

  var json: JSONNode {
    .object([
      ("source", .text(source)), ("share", .decimal(share)), ("tokens", .integer(tokenCount)),
      ("source_tokens", sourceTokenCount.map { .integer($0) } ?? JSONNode(.null)),
      ("epochs", epochs.map { .decimal($0) } ?? JSONNode(.null)),
    ])
  }
}
