internal import Planning
internal import Tensors

/// What one rank asks its exchange to do.
struct RoundRequest {
  let number: UInt32
  let step: Int
  let holdings: [[SliceNode]]
  let nodes: [SliceNode: ExchangeBuffer]
  let sum: ExchangeBuffer
  let buckets: [Range<Int>]
}

/// One exchange in progress: which pieces are where.
struct ExchangeRound {
  let request: RoundRequest
  let treeSum: TreeSum
  /// All held nodes, rank after rank; input `i` of the tree sum.
  let inputs: [SliceNode]
  /// This rank's part of ``inputs``.
  let mine: Range<Int>
  /// My pieces summed so far.
  var summedCount = 0
  /// Buckets `0 ..< readyCount` may leave.
  var readyCount = 0
  var statistics: [SliceNode: SliceStatistics] = [:]
  var hasOwnStatistics = false

  /// - Parameter last: The tree sum of the last round; used again where the holdings are its own.
  init(_ request: RoundRequest, tree: SliceTree, rank: Int, last: TreeSum?) {
    self.request = request
    inputs = request.holdings.flatMap { $0 }
    let first = request.holdings[..<rank].reduce(0) { $0 + $1.count }
    mine = first..<(first + request.holdings[rank].count)
    if let last, last.inputs == inputs {
      treeSum = last
    } else {
      treeSum = TreeSum(tree: tree, inputs: inputs)
    }
  }
}

/// Memory for pieces that have come and wait for the same pieces of other ranks.
///
/// A group holds one piece of every remote node. The group freed last is taken first: it is the
/// one that still lies in the cache.
struct SlotPool {
  private var storage: AlignedStorage<Float>?
  private var pieceCountMax = 0
  private(set) var inputCount = 0
  private(set) var groupCount = 0
  private var free: [Int] = []
  /// Group of piece `ordinal`, at `ordinal % groupCount`; nil when it has none yet.
  private var groups: [Int?] = []

  /// Divides the pool for a round. Allocates only when it has never been so large.
  mutating func prepare(inputCount: Int, pieceCountMax: Int, byteCount: Int) {
    self.inputCount = inputCount
    self.pieceCountMax = pieceCountMax
    guard inputCount > 0 else { return }
    let capacity = byteCount / MemoryLayout<Float>.stride
    groupCount = max(1, capacity / (inputCount * pieceCountMax))
    let needed = groupCount * inputCount * pieceCountMax
    if (storage?.count ?? 0) < needed {
      storage = AlignedStorage<Float>(count: max(needed, capacity), filledWith: 0)
    }
    free.removeAll(keepingCapacity: true)
    free.append(contentsOf: (0..<groupCount).reversed())
    groups.removeAll(keepingCapacity: true)
    groups.append(contentsOf: repeatElement(nil, count: groupCount))
  }

  /// The slot of one remote input's part of a piece. At most `groupCount` pieces have slots.
  mutating func slot(piece: Piece, input: Int) -> SharedRows<Float> {
    let place = piece.ordinal % groupCount
    if groups[place] == nil { groups[place] = free.removeLast() }
    guard let group = groups[place], let storage else {
      preconditionFailure("piece \(piece.ordinal) has no slot among \(groupCount) groups")
    }
    let base = (group * inputCount + input) * pieceCountMax
    return storage.rows[base..<(base + piece.range.count)]
  }

  /// Frees the slots of a piece that has been summed.
  mutating func release(ordinal: Int) {
    guard inputCount > 0, let group = groups[ordinal % groupCount] else { return }
    groups[ordinal % groupCount] = nil
    free.append(group)
  }
}
