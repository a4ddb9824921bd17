public import Settings
internal import Tensors

/// Bytes that the exchanges of a plan put on the wire.
///
/// Direct exchange among N workers, those on standby included: a bucket b is cut into N segments,
/// of which each worker owns one, s. It sends the owners the others' parts of the n nodes that it
/// holds, and all others the sum of its own:
///
///     sent = 4 sum_b [n (|b| - |s|) + (N - 1) |s|]      about 4 E (n + 1) (N - 1) / N
///
/// Headers (64 bytes a piece) and statistics come on top.
public struct WireBytes: Equatable, Sendable {
  /// What is summed over all workers once.
  public struct Exchange: Equatable, Sendable {
    public let bucketCount: Int
    /// E.
    public let elementCount: Int
    /// By worker; one on standby holds no nodes and sums its segments like the others.
    public let sentByWorker: [Int]

    public var sentMax: Int { sentByWorker.max() ?? 0 }
    public var sentInAll: Int { sentByWorker.reduce(0, +) }

    /// - Parameter nodeCounts: Nodes that each worker holds.
    fileprivate init(_ buckets: [Range<Int>], nodeCounts: [Int]) {
      bucketCount = buckets.count
      elementCount = buckets.reduce(0) { $0 + $1.count }
      sentByWorker = nodeCounts.enumerated().map { rank, nodeCount in
        4 * buckets.reduce(0) { sum, bucket in
          let own = BucketPlan.segment(of: rank, among: nodeCounts.count, in: bucket).count
          return sum + nodeCount * (bucket.count - own) + (nodeCounts.count - 1) * own
        }
      }
    }
  }

  /// A step that trains the policy alone.
  public let policy: Exchange
  /// A step of each of the plan's phases, with as many look-up rows as it can touch; nothing where
  /// there are no steps.
  public let steps: [Exchange]
  /// The answers of an iteration of each phase; nothing where there are none.
  public let rollouts: [Exchange]

  public init(plan: ResolvedPlan, workerCount: Int) {
    let tree = SliceTree(sliceCount: plan.batch.slices)
    let nodeCounts = tree.deal(workerCount: workerCount).map { tree.nodes(covering: $0).count }
    let lookupCount = plan.lookupRowCountMax * plan.model.modelWidth
    func step(_ state: StateLayout) -> Exchange {
      let buckets = BucketPlan.buckets(
        of: state.models.filter(\.isTrained), lookupCount: lookupCount)
      return Exchange(buckets, nodeCounts: nodeCounts)
    }
    policy = step(StateLayout(training: plan.model))
    steps = plan.phases.indices.map { index in
      plan.phases[index].kind.takesSteps
        ? step(plan.stateLayout(inPhase: index)) : Exchange([], nodeCounts: nodeCounts)
    }
    rollouts = plan.phases.indices.map { index in
      let elementCount = plan.rolloutShape(ofPhase: index)?.count ?? 0
      return Exchange(BucketPlan.buckets(elementCount: elementCount), nodeCounts: nodeCounts)
    }
  }
}

extension ResolvedPlan {
  /// Most rows of the embedding that a step may read: R.
  public var lookupRowCountMax: Int { min(model.vocabularySize, tokensPerStep) }
}
