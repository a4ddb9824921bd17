public import Tensors

/// Conversations laid into windows, epoch after epoch, each epoch in another order.
///
/// A window holds whole conversations, as many as fit in the epoch's order, and attention stays
/// inside each. So a window may be shorter than T, and nothing is padded. What a window holds is a
/// function of (conversations, seed, phase, its number); asking out of order gives the same.
public struct ConversationPacking: Sendable {
  private let conversations: [EncodedConversation]
  private let sequenceLength: Int
  private let seed: UInt64
  private let phase: Int
  /// Of the epochs asked for so far: the conversations of each window.
  private var epochs: [[[Int]]] = []

  /// - Parameters:
  ///   - conversations: At least one, of two tokens at least and T + 1 at most.
  ///   - sequenceLength: T.
  public init(
    _ conversations: [EncodedConversation], sequenceLength: Int, seed: UInt64, phase: Int
  ) {
    precondition(!conversations.isEmpty, "there is no conversation to pack")
    precondition(
      conversations.allSatisfy { (2...sequenceLength + 1).contains($0.tokens.count) },
      "a conversation does not fit \(sequenceLength) positions")
    self.conversations = conversations
    self.sequenceLength = sequenceLength
    self.seed = seed
    self.phase = phase
  }

  /// Windows of the first `count` epochs.
  public mutating func windowCount(ofEpochs count: Int) -> Int {
    while epochs.count < count { epochs.append(pack(epoch: epochs.count)) }
    return epochs.prefix(count).reduce(0) { $0 + $1.count }
  }

  /// Window `number`, counted over all epochs.
  public mutating func window(_ number: Int) -> TokenSlice.Sequence {
    var (epoch, rest) = (0, number)
    while true {
      _ = windowCount(ofEpochs: epoch + 1)
      if rest < epochs[epoch].count { return sequence(of: epochs[epoch][rest]) }
      rest -= epochs[epoch].count
      epoch += 1
    }
  }

  private func pack(epoch: Int) -> [[Int]] {
    let stream = RandomStream(
      seed: seed, phase: phase, step: epoch, purpose: CorpusPurpose.conversations)
    var windows: [[Int]] = []
    var room = 0
    for index in stream.permutation(count: conversations.count).map(Int.init) {
      let count = conversations[index].tokens.count
      if count > room {
        windows.append([])
        room = sequenceLength + 1
      }
      windows[windows.count - 1].append(index)
      room -= count
    }
    return windows
  }

  private func sequence(of members: [Int]) -> TokenSlice.Sequence {
    var tokens: [UInt32] = []
    var isLearned: [Bool] = []
    var starts: [UInt32] = []
    for index in members {
      starts.append(UInt32(tokens.count))
      tokens += conversations[index].tokens
      // The first token of a conversation is not predicted by the one before it.
      isLearned += [false] + conversations[index].isLearned.dropFirst()
    }
    return TokenSlice.Sequence(
      tokens: tokens, isTarget: Array(isLearned.dropFirst()), segmentStarts: starts)
  }
}
