internal import Planning

/// Who computes what after a change of view inside an operation.
///
/// Slices whose sums a survivor holds stay with it. A slice that nobody holds stays with the
/// member it was dealt to if that one is still there, else it goes to the member that has the
/// least left to compute. Members without state (joiners) get nothing until the next operation.
struct SliceDealing {
  struct Candidate {
    /// Complete sums it holds of this operation.
    var nodes: [SliceNode]
    /// Slices it was dealt for this operation in the old view.
    var dealt: Set<Int>
    var holdsState: Bool
  }

  let tree: SliceTree

  /// Slices of each candidate, ascending.
  func deal(_ candidates: [Candidate]) -> [[Int]] {
    guard candidates.contains(where: { !$0.nodes.isEmpty }) else { return dealAnew(candidates) }
    var owner = [Int?](repeating: nil, count: tree.sliceCount)
    assignHeld(candidates, &owner)
    var work = [Int](repeating: 0, count: candidates.count)
    for slice in 0..<tree.sliceCount where owner[slice] == nil {
      guard let rank = candidates.firstIndex(where: { $0.holdsState && $0.dealt.contains(slice) })
      else { continue }
      owner[slice] = rank
      work[rank] += 1
    }
    for slice in 0..<tree.sliceCount where owner[slice] == nil {
      let able = candidates.indices.filter { candidates[$0].holdsState }
      guard let rank = able.min(by: { (work[$0], $0) < (work[$1], $1) }) else { continue }
      owner[slice] = rank
      work[rank] += 1
    }
    return candidates.indices.map { rank in
      (0..<tree.sliceCount).filter { owner[$0] == rank }
    }
  }

  /// Regularly, among those with state; a run's first operation finds nobody with state.
  private func dealAnew(_ candidates: [Candidate]) -> [[Int]] {
    let holders = candidates.indices.filter { candidates[$0].holdsState }
    let able = holders.isEmpty ? Array(candidates.indices) : holders
    var shares = [[Int]](repeating: [], count: candidates.count)
    for (rank, run) in zip(able, tree.deal(workerCount: able.count)) { shares[rank] = Array(run) }
    return shares
  }

  /// A slice held twice stays with the larger node: a worker that was taken for lost comes back
  /// with sums that another has computed again meanwhile. It drops those that it is not dealt.
  private func assignHeld(_ candidates: [Candidate], _ owner: inout [Int?]) {
    let held = candidates.indices.flatMap { rank in candidates[rank].nodes.map { (rank, $0) } }
    for (rank, node) in held.sorted(by: { ($1.1.level, $0.0) < ($0.1.level, $1.0) })
    where node.slices.upperBound <= tree.sliceCount
      && node.slices.allSatisfy({ owner[$0] == nil })
    {
      for slice in node.slices { owner[slice] = rank }
    }
  }
}
