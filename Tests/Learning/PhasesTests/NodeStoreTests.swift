import Operators
import Phases
import Planning
import Settings
import Tensors
import Testing

@Suite struct `Node store` {
  /// Two sequences of this length are more than one chunk of the head.
  private static let overChunk = Engine.headChunkTokenCount / 2 + 10
  private static let adapter = AdapterChoice(
    rank: 3, alpha: 4.5, targets: [.query, .value, .gate, .down])

  /// The gradient of each slice apart, added along the tree by hand.
  private func byHand(_ node: SliceNode, _ gradients: Gradients, step: Int) -> [Float] {
    if node.level == 0 {
      let sum = gradients.work.makeSum()
      _ = gradients.work.compute(
        gradients.replica.plan.slice(node.index, step: step), slice: node.index, into: sum,
        accumulate: false, isCancelled: { false }, finished: { _ in })
      return gradients.bits(sum).map(Float.init(bitPattern:))
    }
    let left = byHand(node.left, gradients, step: step)
    let right = byHand(node.right, gradients, step: step)
    return zip(left, right).map { $0 + $1 }
  }

  @Test(
    arguments: [
      (2, true, 13, nil), (1, true, 13, nil), (2, false, 13, nil), (2, true, Self.overChunk, nil),
      (2, true, 13, Self.adapter), (1, false, 13, Self.adapter),
      (2, true, Self.overChunk, Self.adapter),
    ], [0..<4, 1..<4, 2..<3])
  func `its nodes are the slices added along the tree, bit for bit`(
    shape: (microbatch: Int, isHeadTied: Bool, length: Int, adapter: AdapterChoice?),
    slices: Range<Int>
  ) {
    var plan = tinyPlan(
      microbatch: shape.microbatch, isHeadTied: shape.isHeadTied, sequenceLength: shape.length)
    if let adapter = shape.adapter { plan = plan.adapting(adapter) }
    withReplica(plan, threadCount: 2) { replica in
      if shape.adapter != nil {
        replica.enter(1)
        // With B at zero A would have no gradient.
        let (root, sum) = Gradients(replica).whole(plan.slices(step: 0), step: 0)
        let windows = GradientWork(replica).windows(of: root)
        #expect(!replica.update(windows, statistics: sum, step: 0).skipped)
      }
      let gradients = Gradients(replica)
      let store = gradients.store
      store.begin(step: 3, slices: plan.slices(step: 3))
      var ready: [Range<Int>] = []
      let isDone = store.compute(
        slices, tokens: { plan.slice($0, step: 3) }, isCancelled: { false },
        ready: { ready.append($0) })
      #expect(isDone)
      #expect(store.nodes.keys.sorted() == store.tree.nodes(covering: slices))
      for (node, sum) in store.nodes {
        let expected = byHand(node, gradients, step: 3).map(\.bitPattern)
        #expect(gradients.bits(sum) == expected)
        let count = node.slices.reduce(0) { $0 + plan.slice($1, step: 3).targetCount }
        #expect(store.statistics[node]?.tokenCount == Int64(count))
      }
      #expect(ready.first?.lowerBound == 0)
      let sum = store.nodes.values.first.map(gradients.work.windows) ?? []
      #expect(ready.last?.upperBound == sum.reduce(0) { $0 + $1.count })
      for (range, next) in zip(ready, ready.dropFirst()) {
        #expect(range.upperBound == next.lowerBound)
      }
      #expect(
        store.bufferCount
          == MemoryPlan.bufferCount(
            slices: slices, sliceCount: 4, joinsLeaves: plan.batch.microbatchesPerSlice == 1))
    }
  }

  @Test func `more slices may be added after an exchange was abandoned`() {
    let plan = tinyPlan(sequences: 8, slices: 8, microbatch: 1)
    withReplica(plan) { replica in
      let gradients = Gradients(replica)
      let store = gradients.store
      store.begin(step: 0, slices: plan.slices(step: 0))
      for part in [2..<5, 0..<2, 5..<8] {
        let isDone = store.compute(
          part, tokens: { plan.slice($0, step: 0) }, isCancelled: { false }, ready: { _ in })
        #expect(isDone)
      }
      #expect(store.nodes.keys.sorted() == [store.tree.root])
      let expected = byHand(store.tree.root, gradients, step: 0).map(\.bitPattern)
      #expect(store.nodes[store.tree.root].map(gradients.bits) == expected)
    }
  }

  @Test func `sums that another worker makes again are dropped, those beside them stay`() {
    let plan = tinyPlan(sequences: 8, slices: 8, microbatch: 1)
    withReplica(plan) { replica in
      let gradients = Gradients(replica)
      let store = gradients.store
      store.begin(step: 0, slices: plan.slices(step: 0))
      func compute(_ slices: Range<Int>) -> Bool {
        store.compute(
          slices, tokens: { plan.slice($0, step: 0) }, isCancelled: { false }, ready: { _ in })
      }
      #expect(compute(0..<7))
      // Slice 3 is inside 0..<4, of which the rest is another's.
      store.keep(only: 3..<8)
      #expect(store.nodes.keys.sorted() == store.tree.nodes(covering: 4..<7))
      #expect(store.statistics.keys.sorted() == store.nodes.keys.sorted())
      #expect(compute(3..<8))
      #expect(store.nodes.keys.sorted() == store.tree.nodes(covering: 3..<8))
      for (node, sum) in store.nodes {
        #expect(gradients.bits(sum) == byHand(node, gradients, step: 0).map(\.bitPattern))
      }
    }
  }

  @Test(arguments: [5, 20, 45, 60, 90])
  func `cancelling at any moment loses no finished slice`(questionCount: Int) {
    let plan = tinyPlan()
    withReplica(plan) { replica in
      let gradients = Gradients(replica)
      let store = gradients.store
      store.begin(step: 0, slices: plan.slices(step: 0))
      var asked = 0
      _ = store.compute(
        0..<4, tokens: { plan.slice($0, step: 0) },
        isCancelled: {
          asked += 1
          return asked > questionCount
        }, ready: { _ in })
      let isDone = store.compute(
        0..<4, tokens: { plan.slice($0, step: 0) }, isCancelled: { false }, ready: { _ in })
      #expect(isDone)
      let expected = byHand(store.tree.root, gradients, step: 0).map(\.bitPattern)
      #expect(store.nodes[store.tree.root].map(gradients.bits) == expected)
    }
  }
}
