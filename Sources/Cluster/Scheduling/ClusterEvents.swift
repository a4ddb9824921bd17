public import ControlProtocol
public import Planning

/// What happened, as the scheduling core is told. Events may arrive late or twice, never early.
public enum ClusterEvent: Equatable, Sendable {
  /// A worker was welcomed; `member.worker` is its number.
  case joined(Member)
  /// Its control connection died, or it fell silent.
  case lost(worker: Int, cause: String)
  case suspended(worker: Int, view: Int, position: Int?, nodes: [SliceNode])
  case measuredPeak(worker: Int)
  /// `next` is the operation that it goes on with; nil: the one behind.
  case completed(worker: Int, view: Int, position: Int, next: Int? = nil)
  case peerLost(reporter: Int, view: Int, rank: Int, cause: String)
  /// The worker wants to leave in order.
  case leaving(worker: Int)
  /// The time to wait for workers that are expected is over.
  case gatherDeadline
  case checkpointed(position: Int)
  /// The attempt came to nothing; the older checkpoints stand.
  case checkpointFailed(position: Int)
  case stopRequested
}

/// What the runtime is to do, in order.
public enum Command: Equatable, Sendable {
  case suspend(workers: [Int], view: Int)
  case measurePeak(workers: [Int])
  /// Journal the view, then announce it to its members.
  case resume(Resumption)
  case grant(workers: [Int], view: Int, position: Int)
  /// Each worker sends its share of the state at `position`.
  case save(position: Int, workers: [Int])
  case abandonSave(position: Int)
  /// A worker that asked to leave may go: nothing depends on it any more.
  case release(worker: Int)
  /// A worker is cut off.
  case dismiss(worker: Int, reason: String)
  /// State of `from` was lost with all who held it; the run goes on from `to`.
  case rewound(from: Int, to: Int)
  case finish(RunEnd)
}

public enum RunEnd: Equatable, Sendable {
  /// Every operation is done and the last checkpoint verified.
  case completed
  /// Somebody asked to stop; what was done is in a checkpoint (if anything was done).
  case stopped
}
