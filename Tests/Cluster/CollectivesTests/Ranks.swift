import Collectives
import Planning
import System
import Tensors
import Transport

/// Runs `body` on its own thread; `value()` waits for what it returned or threw.
final class Background<Value: Sendable>: Sendable {
  private let outcome = Monitor<Result<Value, any Error>?>(nil)

  init(_ body: @escaping @Sendable () throws -> Value) {
    startDetachedThread { [self] in
      let result = Result { try body() }
      outcome.update { $0 = result }
    }
  }

  func value(within seconds: Double = 30) throws -> Value {
    guard let result = outcome.wait(atMost: seconds, { $0 }) else {
      throw TransportError.timedOut(operation: "thread", peer: "test")
    }
    return try result.get()
  }
}

/// One rank's buffers for one step, in two windows (flat part and look-up part).
struct RankBuffers: Sendable {
  let nodes: [SliceNode: ExchangeBuffer]
  let sum: ExchangeBuffer

  static func buffer(_ counts: [Int], filledWith value: Float) -> ExchangeBuffer {
    ExchangeBuffer(
      counts.map { count in
        // Storage has no empty form; a part of it does.
        AlignedStorage<Float>(count: max(count, 1), filledWith: value).rows[0..<count]
      })
  }

  /// Fills each held node with the sum, along the tree, of what `leaf` gives its slices.
  init(
    holding nodes: [SliceNode], counts: [Int], leaf: (_ slice: Int, _ index: Int) -> Float
  ) {
    var buffers: [SliceNode: ExchangeBuffer] = [:]
    for node in nodes {
      let buffer = Self.buffer(counts, filledWith: 0)
      var offset = 0
      for window in buffer.windows {
        for index in 0..<window.count {
          window[index] = Self.treeValue(node) { leaf($0, offset + index) }
        }
        offset += window.count
      }
      buffers[node] = buffer
    }
    self.nodes = buffers
    // What is not overwritten shows.
    sum = Self.buffer(counts, filledWith: .signalingNaN)
  }

  /// The definition: `sum[node] = sum[left] + sum[right]`.
  static func treeValue(_ node: SliceNode, _ leaf: (Int) -> Float) -> Float {
    node.level == 0
      ? leaf(node.index) : treeValue(node.left, leaf) + treeValue(node.right, leaf)
  }
}

/// Numbers of very different size, so that every other order of summation shows.
func wildValue(seed: UInt64, slice: Int, index: Int) -> Float {
  let stream = RandomStream(seed: seed, slice: slice, purpose: 1)
  let magnitude = Int(stream.bits(at: UInt64(2 * index)) % 24) - 12
  let value = stream.uniform(at: UInt64(2 * index + 1)) - 0.5
  return Float(sign: .plus, exponent: magnitude, significand: value)
}

/// Deals the slices of `tree` to ranks in any way at all: ranks get scattered nodes or none.
func scatteredHoldings(tree: SliceTree, worldSize: Int, seed: UInt64) -> [[SliceNode]] {
  let stream = RandomStream(seed: seed, purpose: 2)
  var slices: [[Int]] = Array(repeating: [], count: worldSize)
  for slice in 0..<tree.sliceCount {
    slices[stream.integer(below: worldSize, at: UInt64(slice))].append(slice)
  }
  return slices.map { tree.nodes(covering: $0) }
}

/// The holdings that the scheduler deals: contiguous runs.
func dealtHoldings(tree: SliceTree, worldSize: Int) -> [[SliceNode]] {
  tree.deal(workerCount: worldSize).map { tree.nodes(covering: $0) }
}

/// Statistics of a slice that show any wrong order or double count.
func sliceStatistics(_ slice: Int, seed: UInt64) -> SliceStatistics {
  SliceStatistics(
    tokenCount: Int64(slice * 7 + 1),
    lossSum: Double(wildValue(seed: seed, slice: slice, index: 999_999)) * 1.1)
}

func nodeStatistics(_ node: SliceNode, seed: UInt64) -> SliceStatistics {
  node.level == 0
    ? sliceStatistics(node.index, seed: seed)
    : nodeStatistics(node.left, seed: seed) + nodeStatistics(node.right, seed: seed)
}

func statistics(of nodes: [SliceNode], seed: UInt64) -> [SliceNode: SliceStatistics] {
  var found: [SliceNode: SliceStatistics] = [:]
  for node in nodes { found[node] = nodeStatistics(node, seed: seed) }
  return found
}

/// Buckets of uneven sizes over `count` elements, ascending.
func unevenBuckets(count: Int, seed: UInt64) -> [Range<Int>] {
  let stream = RandomStream(seed: seed, purpose: 3)
  var buckets: [Range<Int>] = []
  var start = 0
  while start < count {
    let width = 1 + stream.integer(below: max(1, count / 3), at: UInt64(buckets.count))
    buckets.append(start..<min(count, start + width))
    start = buckets[buckets.count - 1].upperBound
  }
  return buckets
}

extension GradientExchange {
  /// One whole exchange with everything ready at once.
  func exchange(
    step: Int, holdings: [[SliceNode]], buffers: RankBuffers, buckets: [Range<Int>],
    seed: UInt64
  ) throws -> SliceStatistics {
    begin(
      step: step, holdings: holdings, nodes: buffers.nodes, sum: buffers.sum, buckets: buckets)
    if !holdings[rank].isEmpty {
      setStatistics(statistics(of: holdings[rank], seed: seed))
      for bucket in buckets.indices { markReady(bucket: bucket) }
    }
    return try wait()
  }
}

/// Runs `body` for every rank on its own thread and returns what they returned, by rank.
func onAllRanks<Value: Sendable>(
  _ meshes: [Mesh], _ body: @escaping @Sendable (Mesh) throws -> Value
) throws -> [Value] {
  let threads = meshes.map { mesh in Background { try body(mesh) } }
  return try threads.map { try $0.value() }
}

/// A mesh over real TCP on this machine, by rank.
func loopbackMeshes(
  worldSize: Int, congestion: String = "cubic", isLending: Bool = true
) throws -> [Mesh] {
  let listeners = try (0..<worldSize).map { _ in
    try Listener(Address(host: "127.0.0.1", port: 0), congestion: congestion)
  }
  let addresses = listeners.map(\.address)
  let threads = listeners.indices.map { rank in
    Background {
      try Mesh.build(
        run: 7, view: 1, rank: rank, addresses: addresses, listener: listeners[rank],
        congestion: congestion, isLending: isLending, deadline: .after(.seconds(20)))
    }
  }
  return try threads.map { try $0.value() }
}
