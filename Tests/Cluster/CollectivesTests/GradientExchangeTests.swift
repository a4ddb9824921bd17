import Collectives
import Planning
import System
import Tensors
import Testing
import Transport

@Suite(.serialized) struct `Gradient exchange` {
  let tree = SliceTree(sliceCount: 8)
  static let counts = [5000, 333]

  /// Small pieces and few slots, so that a test of thousands of elements meets every border.
  static var options: ExchangeOptions {
    var options = ExchangeOptions()
    options.pieceCountMax = 256
    options.slotByteCount = 64 << 10
    return options
  }

  /// Exchanges `stepCount` steps on all ranks and compares each sum with the tree's definition.
  func check(
    meshes: [Mesh], holdings: @escaping @Sendable (Int) -> [[SliceNode]], stepCount: Int = 2,
    seed: UInt64
  ) throws {
    let tree = tree
    let counts = Self.counts
    let total = counts.reduce(0, +)
    _ = try onAllRanks(meshes) { mesh in
      let exchange = try GradientExchange(mesh: mesh, tree: tree, options: Self.options)
      for step in 0..<stepCount {
        let seed = seed &+ UInt64(step) &* 1000
        let leaf = { (slice: Int, index: Int) in
          wildValue(seed: seed, slice: slice, index: index)
        }
        let holdings = holdings(step)
        let buffers = RankBuffers(holding: holdings[mesh.rank], counts: counts, leaf: leaf)
        let before = buffers.nodes.mapValues { $0.windows.map(\.array) }
        let result = try exchange.exchange(
          step: step, holdings: holdings, buffers: buffers,
          buckets: unevenBuckets(count: total, seed: seed), seed: seed)
        #expect(result == nodeStatistics(tree.root, seed: seed))
        var offset = 0
        for window in buffers.sum.windows {
          for index in 0..<window.count {
            let expected = RankBuffers.treeValue(tree.root) { leaf($0, offset + index) }
            guard window[index].bitPattern != expected.bitPattern else { continue }
            Issue.record("rank \(mesh.rank) element \(offset + index): \(window[index])")
            return
          }
          offset += window.count
        }
        for (node, buffer) in buffers.nodes {
          #expect(before[node] == buffer.windows.map(\.array), "\(node) was written to")
        }
      }
      exchange.close()
    }
  }

  @Test(arguments: [1, 2, 3, 5, 8, 11])
  func `sums equal the sequential tree bit for bit, whatever the number of ranks`(
    worldSize: Int
  ) throws {
    let tree = tree
    try check(
      meshes: try Mesh.local(worldSize: worldSize),
      holdings: { _ in dealtHoldings(tree: tree, worldSize: worldSize) }, seed: 1)
  }

  @Test(arguments: 0..<24)
  func `sums are exact for slices scattered over ranks anyhow, anew at every step`(
    seed: Int
  ) throws {
    let tree = tree
    let worldSize = 1 + RandomStream(seed: UInt64(seed), purpose: 4).integer(below: 6, at: 0)
    try check(
      meshes: try Mesh.local(worldSize: worldSize),
      holdings: { step in
        scatteredHoldings(
          tree: tree, worldSize: worldSize, seed: UInt64(seed) &* 31 &+ UInt64(step))
      }, stepCount: 3, seed: UInt64(seed))
  }

  @Test func `one rank may hold everything while the others stand by`() throws {
    let root = [tree.root]
    try check(
      meshes: try Mesh.local(worldSize: 3), holdings: { _ in [[], root, []] }, seed: 5)
  }

  @Test func `works over TCP and counts what it sent`() throws {
    let tree = tree
    let meshes = try loopbackMeshes(worldSize: 3, isLending: false)
    #expect(meshes[0].congestion == meshes[2].congestion)
    try check(
      meshes: meshes, holdings: { _ in dealtHoldings(tree: tree, worldSize: 3) }, seed: 6)
  }

  @Test func `buckets may become ready in any order and late`() throws {
    let tree = tree
    let total = Self.counts.reduce(0, +)
    let holdings = dealtHoldings(tree: tree, worldSize: 2)
    let buckets = (0..<10).map { $0 * total / 10..<($0 + 1) * total / 10 }
    let results = try onAllRanks(try Mesh.local(worldSize: 2)) { mesh in
      let exchange = try GradientExchange(mesh: mesh, tree: tree, options: Self.options)
      let buffers = RankBuffers(holding: holdings[mesh.rank], counts: Self.counts) {
        wildValue(seed: 8, slice: $0, index: $1)
      }
      exchange.begin(
        step: 0, holdings: holdings, nodes: buffers.nodes, sum: buffers.sum, buckets: buckets)
      let order = mesh.rank == 0 ? Array(buckets.indices) : buckets.indices.reversed()
      for bucket in order { exchange.markReady(bucket: bucket) }
      exchange.setStatistics(statistics(of: holdings[mesh.rank], seed: 8))
      try exchange.wait()
      let figures = exchange.figures
      #expect(figures.bytesSent > 4 * total && figures.bytesReceived > 4 * total)
      #expect(figures.exposedSeconds >= 0 && figures.hiddenSeconds >= 0)
      exchange.close()
      return buffers.sum.windows.map { $0.array.map(\.bitPattern) }
    }
    #expect(results[0] == results[1])
  }

  @Test func `one slow peer delays the others and changes nothing`() throws {
    let tree = tree
    let holdings = dealtHoldings(tree: tree, worldSize: 3)
    let pace = Monitor(0)
    let results = try onAllRanks(try Mesh.local(worldSize: 3)) { mesh in
      let exchange = try GradientExchange(mesh: mesh, tree: tree, options: Self.options)
      let buffers = RankBuffers(holding: holdings[mesh.rank], counts: [40_000]) {
        wildValue(seed: 9, slice: $0, index: $1)
      }
      let buckets = (0..<8).map { $0 * 5000..<($0 + 1) * 5000 }
      exchange.begin(
        step: 0, holdings: holdings, nodes: buffers.nodes, sum: buffers.sum, buckets: buckets)
      exchange.setStatistics(statistics(of: holdings[mesh.rank], seed: 9))
      for bucket in buckets.indices {
        // Rank 1 takes its time; the clock of a monitor that nobody updates is the pause.
        if mesh.rank == 1 { _ = pace.wait(atMost: 0.02) { _ -> Int? in nil } }
        exchange.markReady(bucket: bucket)
      }
      let result = try exchange.wait()
      exchange.close()
      return (result, buffers.sum.windows[0].array.map(\.bitPattern))
    }
    let expected = (0..<40_000).map { index in
      RankBuffers.treeValue(tree.root) { wildValue(seed: 9, slice: $0, index: index) }.bitPattern
    }
    for (result, sum) in results {
      #expect(result == nodeStatistics(tree.root, seed: 9))
      #expect(sum == expected)
    }
  }

  @Test func `statistics alone are summed without buffers`() throws {
    let tree = tree
    let holdings = scatteredHoldings(tree: tree, worldSize: 4, seed: 3)
    let results = try onAllRanks(try Mesh.local(worldSize: 4)) { mesh in
      let exchange = try GradientExchange(mesh: mesh, tree: tree, options: Self.options)
      return try (0..<50).map { step in
        try exchange.exchangeStatistics(
          step: step, holdings: holdings,
          mine: statistics(of: holdings[mesh.rank], seed: UInt64(step)))
      }
    }
    for step in 0..<50 {
      for rank in 0..<4 {
        #expect(results[rank][step] == nodeStatistics(tree.root, seed: UInt64(step)))
      }
    }
  }

  @Test func `state travels ahead of gradients, windows of any size`() throws {
    let tree = tree
    let holdings = dealtHoldings(tree: tree, worldSize: 2)
    let sizes = [1000, 0, 1, 777]
    let results = try onAllRanks(try Mesh.local(worldSize: 2)) { mesh in
      let exchange = try GradientExchange(mesh: mesh, tree: tree, options: Self.options)
      let state = RankBuffers.buffer(sizes, filledWith: 0).windows
      if mesh.rank == 0 {
        for (window, rows) in state.enumerated() {
          for index in 0..<rows.count { rows[index] = Float(window * 10_000 + index) }
        }
        exchange.sendState(to: 1, windows: state)
      } else {
        try exchange.receiveState(from: 0, into: state)
      }
      let buffers = RankBuffers(holding: holdings[mesh.rank], counts: [3000]) {
        wildValue(seed: 10, slice: $0, index: $1)
      }
      let sums = try exchange.exchange(
        step: 4, holdings: holdings, buffers: buffers, buckets: [0..<3000], seed: 10)
      try exchange.waitStateSent()
      exchange.close()
      return (state.map(\.array), sums)
    }
    #expect(results[0].0 == results[1].0)
    #expect(results[0].1 == results[1].1)
  }
}
