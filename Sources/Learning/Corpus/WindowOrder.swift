internal import Synchronization
package import Tensors

/// What the draws of a corpus are for.
enum CorpusPurpose {
  static let documents: UInt64 = 0x444F_4353  // "DOCS"
  static let windows: UInt64 = 0x5749_4E44  // "WIND"
  static let offset: UInt64 = 0x4F46_4653  // "OFFS"
  static let random: UInt64 = 0x5241_4E44  // "RAND"
  static let conversations: UInt64 = 0x434F_4E56  // "CONV"
  static let rows: UInt64 = 0x524F_5753  // "ROWS"
}

extension RandomStream {
  /// Uniform in `0 ..< bound` for bounds past 2^32 too: the high half of a 64 x 64 bit product.
  func longInteger(below bound: Int, at index: UInt64) -> Int {
    precondition(bound > 0, "nothing is below \(bound)")
    let draw = UInt64(bits(at: 2 * index)) << 32 | UInt64(bits(at: 2 * index + 1))
    return Int(draw.multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// 0 ..< count in random order (Fisher and Yates, from the end).
  package func permutation(count: Int) -> [UInt32] {
    precondition(count <= Int(UInt32.max), "\(count) is more than a permutation holds")
    var order = (0..<UInt32(count)).map { $0 }
    for index in stride(from: count - 1, to: 0, by: -1) {
      order.swapAt(index, longInteger(below: index + 1, at: UInt64(index)))
    }
    return order
  }
}

/// The order of one epoch of `order: shuffled`: documents permuted and laid end to end, cut into
/// windows of T + 1 tokens that overlap by one, windows permuted.
///
/// Random access: window `i` is found without making the others.
final class EpochOrder: Sendable {
  struct Key: Equatable, Sendable {
    var seed: UInt64
    var phase: Int
    /// Of the source in its mixture.
    var place: Int
    var epoch: Int
    var sequenceLength: Int
  }

  let key: Key
  private let stream: TokenStream
  /// Document at each place of the epoch.
  private let documents: [UInt32]
  /// First token of each place; one more at the end.
  private let starts: [Int]
  private let windows: [UInt32]
  private let offset: Int

  init(_ key: Key, _ stream: TokenStream) {
    func draws(_ purpose: UInt64) -> RandomStream {
      RandomStream(
        seed: key.seed, phase: key.phase, step: key.epoch, slice: key.place, purpose: purpose)
    }
    self.key = key
    self.stream = stream
    documents = draws(CorpusPurpose.documents).permutation(count: stream.documentCount)
    var starts = [0]
    starts.reserveCapacity(documents.count + 1)
    var position = 0
    for document in documents {
      position += stream.range(ofDocument: Int(document)).count
      starts.append(position)
    }
    self.starts = starts
    let count = Self.windowCount(stream.tokenCount, key.sequenceLength)
    windows = draws(CorpusPurpose.windows).permutation(count: count)
    let slack = min(stream.tokenCount - count * key.sequenceLength, key.sequenceLength)
    offset = draws(CorpusPurpose.offset).longInteger(below: slack, at: 0)
  }

  /// Windows of every epoch: as many as fit behind the largest offset (T - 1), so that the number
  /// does not depend on the draw; at least one.
  static func windowCount(_ tokenCount: Int, _ sequenceLength: Int) -> Int {
    precondition(tokenCount > sequenceLength, "\(tokenCount) tokens hold no window")
    return max(1, (tokenCount - sequenceLength) / sequenceLength)
  }

  /// The T + 1 tokens of window `index`, and the places in it at which documents start.
  func window(_ index: Int) throws(CorpusError) -> TrainingText.Window {
    var (tokens, documentStarts): TrainingText.Window = ([], [])
    tokens.reserveCapacity(key.sequenceLength + 1)
    let first = offset + Int(windows[index]) * key.sequenceLength
    let end = first + key.sequenceLength + 1
    var place = placeOfToken(first)
    while place < documents.count, starts[place] < end {
      if starts[place] >= first { documentStarts.append(starts[place] - first) }
      let inside = max(first - starts[place], 0)
      let whole = stream.range(ofDocument: Int(documents[place]))
      let upper = min(whole.lowerBound + end - starts[place], whole.upperBound)
      do { try stream.read(whole.lowerBound + inside..<upper, into: &tokens) } catch {
        throw .system(error)
      }
      place += 1
    }
    return (tokens, documentStarts)
  }

  /// The last place whose first token is not after `token`.
  private func placeOfToken(_ token: Int) -> Int {
    var low = 0
    var high = documents.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= token { low = middle } else { high = middle }
    }
    return low
  }
}

/// The orders of the epochs in use: a step may end one and begin the next.
final class EpochOrders<Key: Equatable & Sendable, Order: Sendable>: Sendable {
  private let recent = Mutex<[(key: Key, order: Order)]>([])
  private let make: @Sendable (Key) -> Order

  init(_ make: @escaping @Sendable (Key) -> Order) { self.make = make }

  func order(_ key: Key) -> Order {
    recent.withLock { recent in
      if let known = recent.first(where: { $0.key == key }) { return known.order }
      let made = make(key)
      recent = [(key, made)] + recent.prefix(1)
      return made
    }
  }
}
