internal import Synchronization
internal import Tensors

/// Which window each sequence number of a phase stands for; epochs follow one another without
/// gaps. A function of the number alone, asked for in any order.
protocol SequenceOrder: Sendable {
  func sequence(_ number: Int) -> TokenSlice.Sequence
  /// Sequences of the first `count` epochs.
  func sequenceCount(ofEpochs count: Int) -> Int
}

/// Windows of whole conversations.
final class PackedOrder: SequenceOrder {
  private let packing: Mutex<ConversationPacking>

  init(_ packing: ConversationPacking) { self.packing = Mutex(packing) }

  func sequence(_ number: Int) -> TokenSlice.Sequence { packing.withLock { $0.window(number) } }

  func sequenceCount(ofEpochs count: Int) -> Int {
    packing.withLock { $0.windowCount(ofEpochs: count) }
  }
}

/// Example after example, permuted anew in each epoch; the sequences of one follow one another.
final class ShuffledOrder: SequenceOrder {
  private let examples: [EncodedExample]
  /// Sequences of each example.
  private let width: Int
  /// By epoch: the permutation.
  private let orders: EpochOrders<Int, [UInt32]>

  init(_ examples: [EncodedExample], width: Int, seed: UInt64, phase: Int) {
    precondition(
      examples.allSatisfy { $0.conversations.count == width },
      "an example has not \(width) sequences")
    self.examples = examples
    self.width = width
    orders = EpochOrders { [count = examples.count] epoch in
      RandomStream(seed: seed, phase: phase, step: epoch, purpose: CorpusPurpose.rows)
        .permutation(count: count)
    }
  }

  func sequence(_ number: Int) -> TokenSlice.Sequence {
    let (example, member) = number.quotientAndRemainder(dividingBy: width)
    let (epoch, place) = example.quotientAndRemainder(dividingBy: examples.count)
    return examples[Int(orders.order(epoch)[place])].sequences[member]
  }

  func sequenceCount(ofEpochs count: Int) -> Int { count * examples.count * width }
}
