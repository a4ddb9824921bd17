public import Settings
internal import Tensors

/// Bytes that the gradients of one step put on the wire.
///
/// Direct exchange: for each of N workers, a rank sends the parts that others own of every node
/// it holds, and its own summed part to all others. With E elements and n nodes held:
///
///     sent = 4 E (n + 1) (N - 1) / N
public struct WireBytes: Equatable, Sendable {
  public let workerCount: Int
  /// E: all but an untied embedding's rows, and the touched look-up rows at most.
  public let elementCount: Int
  /// Sent in a step by each worker, standby ones left out.
  public let sentByWorker: [Int]

  public init(plan: ResolvedPlan, workerCount: Int) {
    let layout = ParameterLayout(plan.model)
    let buckets = BucketPlan.buckets(
      layout: layout, lookupCount: plan.lookupRowCountMax * plan.model.modelWidth)
    let tree = SliceTree(sliceCount: plan.batch.slices)
    let runs = tree.deal(workerCount: workerCount).filter { !$0.isEmpty }
    let elements = buckets.reduce(0) { $0 + $1.count }
    self.workerCount = runs.count
    elementCount = elements
    sentByWorker = runs.map { run in
      4 * elements * (tree.nodes(covering: run).count + 1) * (runs.count - 1) / runs.count
    }
  }

  public var sentMax: Int { sentByWorker.max() ?? 0 }
  public var sentInAll: Int { sentByWorker.reduce(0, +) }
}

extension ResolvedPlan {
  /// Most rows of the embedding that a step may read: R.
  public var lookupRowCountMax: Int { min(model.vocabularySize, tokensPerStep) }
}
