internal import Settings
internal import Tensors

/// What a phase trains on of one source, as windows of T + 1 tokens: a window is a function of
/// (tokens, place in the mixture, seed, phase, index), and any is found without those before it.
struct TrainingText: Sendable {
  let name: String
  let stream: TokenStream
  /// Its place in the mixture, so that no two sources share draws.
  private let place: Int
  private let orders: EpochOrders<EpochOrder.Key, EpochOrder>

  init(name: String, stream: TokenStream, place: Int) {
    self.name = name
    self.stream = stream
    self.place = place
    orders = EpochOrders { EpochOrder($0, stream) }
  }

  /// A window, and the places in it at which documents start.
  typealias Window = (tokens: [UInt32], documentStarts: [Int])

  /// Window `index` of the phase, counted over all epochs.
  ///
  /// - Throws: ``CorpusError/system(_:)`` if the tokens can no longer be read.
  func window(
    _ index: Int, _ order: ResolvedPlan.DataChoice.Order, sequenceLength: Int, seed: UInt64,
    phase: Int
  ) throws(CorpusError) -> Window {
    switch order {
    case .shuffled:
      let count = EpochOrder.windowCount(stream.tokenCount, sequenceLength)
      let key = EpochOrder.Key(
        seed: seed, phase: phase, place: place, epoch: index / count,
        sequenceLength: sequenceLength)
      return try orders.order(key).window(index % count)
    case .random:
      let draws = RandomStream(
        seed: seed, phase: phase, slice: place, purpose: CorpusPurpose.random)
      let first = draws.longInteger(
        below: stream.tokenCount - sequenceLength, at: UInt64(index))
      return try windowAsItLies(first..<first + sequenceLength + 1)
    }
  }

  private func windowAsItLies(_ range: Range<Int>) throws(CorpusError) -> Window {
    var tokens: [UInt32] = []
    do { try stream.read(range, into: &tokens) } catch { throw .system(error) }
    let start = stream.documentStarts.partitioningIndex { $0 >= range.lowerBound }
    let inside = stream.documentStarts[start...].prefix { $0 < range.upperBound }
    return (tokens, inside.map { $0 - range.lowerBound })
  }
}
