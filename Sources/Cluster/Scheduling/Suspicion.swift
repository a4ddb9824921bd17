/// Which members cannot reach each other, as they say themselves.
///
/// A connection that fails does not tell which of its ends is at fault, and chance decides which
/// end says so first. So an accusation counts against the pair, and the blame falls on the end of
/// it that is part of most pairs.
struct Suspicion: Equatable, Sendable {
  private struct Pair: Hashable {
    let workers: Set<Int>
  }

  /// Views in which a pair of workers failed, with no operation completed between.
  private var counts: [Pair: Int] = [:]
  /// Pairs that failed in the view that is being given up.
  private var failing: Set<Pair> = []

  /// A pair that failed in so many views is cut. One failure is an accident of the network or a
  /// death that is about to be seen; a port that is closed stays closed.
  private static let viewCountMax = 3

  mutating func note(_ reporter: Int, cannotReach accused: Int) {
    failing.insert(Pair(workers: [reporter, accused]))
  }

  /// All have answered: whatever they had to say of the view, they have said.
  mutating func endView() {
    for pair in failing { counts[pair, default: 0] += 1 }
    failing = []
  }

  /// The ends of pairs that failed too often, each with the number of pairs it is part of.
  var suspects: [Int: Int] {
    let cut = counts.filter { $0.value >= Self.viewCountMax }.keys
    var degrees: [Int: Int] = [:]
    for worker in Set(cut.flatMap(\.workers)) {
      degrees[worker] = counts.keys.count { $0.workers.contains(worker) }
    }
    return degrees
  }

  mutating func forget(_ worker: Int) {
    counts = counts.filter { !$0.key.workers.contains(worker) }
    failing = failing.filter { !$0.workers.contains(worker) }
  }
}
