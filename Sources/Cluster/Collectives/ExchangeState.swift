internal import Planning
internal import Tensors

/// What the caller's threads and the exchange's own thread tell each other.
struct ExchangeState {
  // From the callers, taken by the thread.
  var request: RoundRequest?
  var isReady: [Bool] = []
  var statistics: [SliceNode: SliceStatistics]?
  var statesToSend: [(rank: Int, windows: [SharedRows<Float>])] = []
  var statesToReceive: [(rank: Int, windows: [SharedRows<Float>])] = []
  var isAborting = false
  var isClosing = false
  /// The caller has waited as long as it may.
  var stalledAfter: Duration?

  // From the thread.
  var finishedRound: UInt32 = 0
  var result: SliceStatistics?
  var finishedAt: Int64 = 0
  var sendingStateCount = 0
  /// By rank: states that have not come yet.
  var receivingStateCounts: [Int]
  var failure: ExchangeError?
  /// The thread touches no buffer any more and never will.
  var isQuiet = false
  var figures = ExchangeFigures()

  // Between callers.
  var begunRound: UInt32 = 0
  var firstReadyAt: Int64?

  init(worldSize: Int) { receivingStateCounts = Array(repeating: 0, count: worldSize) }
}
