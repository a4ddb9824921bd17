internal import Planning
public import Settings
public import Tensors

/// A message that can say what is impossible about it.
///
/// JSON holds any number, and whoever reads a message adds one to it, multiplies it or counts up
/// to it. So numbers that no honest sender could mean are refused before anybody uses them.
public protocol ForeignMessage: Decodable {
  /// What no honest sender would have written, in words; nil where all of it is possible.
  var impossibility: String? { get }
}

/// Bounds of the numbers in messages and records.
public enum ForeignNumber {
  /// Positions, steps, counts and numbers of workers are below this: far out of any run's reach,
  /// and so small that neither products with a plan's sizes nor long sums overflow.
  public static let limit = 1 << 48
  /// Views travel as 32 bits on the data plane.
  public static let viewLimit = 1 << 32
  /// Slices of a step, and members of a view, are below this.
  static let sliceLimit = 1 << 16

  /// The first of the numbers that is not in `0..<limit`, in words.
  public static func firstImpossible(
    _ numbers: KeyValuePairs<String, Int>, limit: Int = limit
  ) -> String? {
    numbers.first { !(0..<limit).contains($0.value) }.map {
      "\($0.key) \($0.value) is outside 0..<\(limit)"
    }
  }
}

extension Greeting: ForeignMessage {
  public var impossibility: String? {
    switch self {
    case .control(let hello):
      hello.offers.isEmpty
        ? "it offers no kernels"
        : ForeignNumber.firstImpossible([
          "worker": hello.returning?.worker ?? 0, "thread count": hello.threadCount,
        ])
    case .bulk(_, _, let worker): ForeignNumber.firstImpossible(["worker": worker])
    }
  }
}

extension GreetingVersion: ForeignMessage {
  /// Any number may be a version.
  public var impossibility: String? { nil }
}

extension CoordinatorMessage: ForeignMessage {
  public var impossibility: String? {
    switch self {
    case .welcome(_, let worker, _, _, _, _): ForeignNumber.firstImpossible(["worker": worker])
    case .suspend(let view): impossibleView(view)
    case .resume(let resumption): resumption.impossibility
    case .grant(let view, let position):
      impossibleView(view) ?? ForeignNumber.firstImpossible(["position": position])
    case .save(let position, let chunks):
      ForeignNumber.firstImpossible([
        "position": position, "chunk": chunks.lowerBound, "chunk count": chunks.upperBound,
      ])
    case .refused, .measurePeak, .leave, .alive: nil
    }
  }
}

extension WorkerMessage: ForeignMessage {
  public var impossibility: String? {
    switch self {
    case .suspended(let view, let position, let nodes):
      impossibleView(view) ?? ForeignNumber.firstImpossible(["position": position ?? 0])
        ?? nodes.lazy.compactMap(impossibility(of:)).first
    case .completed(let report): report.impossibility
    case .peerLost(let view, let rank, _):
      impossibleView(view) ?? ForeignNumber.firstImpossible(["rank": rank])
    case .saveRefused(let position): ForeignNumber.firstImpossible(["position": position])
    case .measuredPeak, .alive, .leaving: nil
    }
  }
}

private func impossibleView(_ view: Int) -> String? {
  ForeignNumber.firstImpossible(["view": view], limit: ForeignNumber.viewLimit)
}

private func impossibility(of node: SliceNode) -> String? {
  // So many levels that no tree of a plan is deeper, so few that the node's range can be computed.
  ForeignNumber.firstImpossible(
    ["node level": node.level, "node index": node.index], limit: ForeignNumber.sliceLimit)
    ?? ForeignNumber.firstImpossible(["node level": node.level], limit: 17)
}

extension OperationReport {
  var impossibility: String? {
    impossibleView(view)
      ?? ForeignNumber.firstImpossible([
        "position": position, "next position": nextPosition,
        "token count": Int(clamping: tokenCount),
        "slice count": sliceCount, "recomputed count": recomputedCount, "byte count": byteCount,
      ])
  }
}

extension Resumption {
  var impossibility: String? {
    if let view = impossibleView(view) { return view }
    guard !members.isEmpty, members.count <= ForeignNumber.sliceLimit,
      slices.count == members.count, sources.count == members.count
    else {
      return "\(members.count) members, shares of \(slices.count), sources of \(sources.count)"
    }
    for case .member(let rank) in sources where !members.indices.contains(rank) {
      return "state comes from rank \(rank) of \(members.count)"
    }
    return ForeignNumber.firstImpossible([
      "position": position, "granted position": grantedPosition,
    ])
  }

  /// Whether this view can be one of a run of `operationCount` operations: every slice of the tree
  /// is somebody's, once, nothing is granted behind the end, and gaps are behind its start.
  public func fits(operationCount: Int, sliceCount: Int) -> Bool {
    position <= operationCount && grantedPosition <= operationCount
      && gaps.allSatisfy { 0 <= $0.value && $0.value < $0.key && $0.key <= position }
      && slices.joined().sorted() == Array(0..<sliceCount)
  }
}

extension ResolvedPlan {
  /// Whether these can be the tokens of one operation: sizes and ids are those of the plan, so
  /// that whoever computes with them stays inside its memory.
  ///
  /// - Parameter sequencesPerSlice: nil: any number.
  public func fits(_ slices: [TokenSlice], sequencesPerSlice: Int?) -> Bool {
    slices.count == batch.slices
      && slices.allSatisfy { slice in
        slice.sequences.count == sequencesPerSlice ?? slice.sequences.count
          && slice.sequences.allSatisfy { sequence in
            (1...model.sequenceLength).contains(sequence.count)
              && sequence.tokens.allSatisfy { $0 < model.vocabularySize }
          }
      }
  }
}
