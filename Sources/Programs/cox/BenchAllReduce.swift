internal import Collectives
internal import Planning
internal import Settings
internal import System
internal import Tensors
internal import Transport

/// The gradient exchange of workers that have nothing else to do, over loopback.
struct AllReduceBench {
  /// What one rank found in the timed rounds.
  private struct Finding {
    /// Of each sum, from the end of the one before.
    var seconds: [Double] = []
    /// Of this program.
    var coreSeconds = 0.0
    var bytesSent = 0
    var bytesLent = 0
  }

  private let workerCount: Int
  private let elementCount: Int
  private let rounds: Int
  private let congestion: String
  private let isLending: Bool
  private let tree: SliceTree

  private static let warmUpCount = 2

  init(_ invocation: Invocation) {
    workerCount = invocation.integer("workers") ?? 2
    elementCount = (invocation.integer("bytes") ?? 64 << 20) / 4
    rounds = invocation.integer("rounds") ?? 10
    congestion = invocation.text("congestion") ?? Connection.defaultCongestion
    isLending = !invocation.has("no-lending")
    var sliceCount = 1
    while sliceCount < workerCount { sliceCount *= 2 }
    tree = SliceTree(sliceCount: sliceCount)
  }

  func measure() throws -> [(String, JSONNode)] {
    let meshes = try connect()
    let ranks = meshes.map { mesh in Thread { [self] in try exchange(mesh) } }
    let findings = try ranks.map { try $0.value() }
    let seconds = findings[0].seconds
    let sent = findings.reduce(0) { $0 + $1.bytesSent }
    let lent = findings.reduce(0) { $0 + $1.bytesLent }
    let bytes = Double(4 * elementCount)
    let factor = 2 * Double(workerCount - 1) / Double(workerCount)
    func bandwidth(_ seconds: Double) -> Double { bytes / seconds * 1e-9 }
    let median = bandwidth(BenchCommand.median(seconds))
    let best = bandwidth(seconds.min() ?? 1)
    let worst = bandwidth(seconds.max() ?? 1)
    return [
      ("algorithm", .text("direct")),
      (
        "transport",
        .text(
          lent > 0 ? "lent, the rest over loopback TCP, a thread per rank"
            : "loopback TCP, a thread per rank")
      ),
      ("congestion", .text(meshes[0].congestion ?? "none")),
      ("workers", .integer(workerCount)), ("bytes", .integer(4 * elementCount)),
      ("rounds", .integer(rounds)), ("bytes_sent", .integer(sent)), ("bytes_lent", .integer(lent)),
      (
        "core_seconds_per_GB",
        BenchCommand.rounded(findings[0].coreSeconds / Double(sent) * 1e9, 3)
      ),
      ("seconds_median", .decimal(BenchCommand.median(seconds))),
      ("algbw_GBps", BenchCommand.rounded(median, 3)),
      ("busbw_GBps", BenchCommand.rounded(median * factor, 3)),
      ("busbw_GBps_best", BenchCommand.rounded(best * factor, 3)),
      ("busbw_GBps_worst", BenchCommand.rounded(worst * factor, 3)),
    ]
  }

  private func connect() throws -> [Mesh] {
    let listeners = try (0..<workerCount).map { _ in
      try Listener(Address(host: "127.0.0.1", port: 0), congestion: congestion)
    }
    let addresses = listeners.map(\.address)
    let builders = listeners.indices.map { rank in
      Thread { [congestion, isLending] in
        try Mesh.build(
          run: 1, view: 1, rank: rank, addresses: addresses, listener: listeners[rank],
          congestion: congestion, isLending: isLending, deadline: .after(.seconds(20)))
      }
    }
    return try builders.map { try $0.value() }
  }

  /// One rank's part.
  private func exchange(_ mesh: Mesh) throws -> Finding {
    let exchange = try GradientExchange(mesh: mesh, tree: tree)
    let holdings = tree.deal(workerCount: workerCount).map { tree.nodes(covering: $0) }
    var nodes: [SliceNode: ExchangeBuffer] = [:]
    var statistics: [SliceNode: SliceStatistics] = [:]
    for node in holdings[mesh.rank] {
      nodes[node] = buffer(filledWith: Float(node.slices.count))
      statistics[node] = SliceStatistics(tokenCount: 1, lossSum: 1)
    }
    let sum = buffer(filledWith: 0)
    let buckets = BucketPlan.buckets(elementCount: elementCount)
    var finding = Finding()
    var last = Clock.monotonicSeconds
    for round in 0..<Self.warmUpCount + rounds {
      if round == Self.warmUpCount {
        let figures = exchange.figures
        finding.coreSeconds = -Clock.processSeconds
        finding.bytesSent = -Int(figures.bytesSent)
        finding.bytesLent = -Int(figures.bytesLent)
      }
      exchange.begin(step: round, holdings: holdings, nodes: nodes, sum: sum, buckets: buckets)
      exchange.setStatistics(statistics)
      for bucket in buckets.indices { exchange.markReady(bucket: bucket) }
      try exchange.wait()
      let now = Clock.monotonicSeconds
      if round >= Self.warmUpCount { finding.seconds.append(now - last) }
      last = now
    }
    let figures = exchange.figures
    finding.coreSeconds += Clock.processSeconds
    finding.bytesSent += Int(figures.bytesSent)
    finding.bytesLent += Int(figures.bytesLent)
    let found = sum.windows[0][elementCount - 1]
    guard found == Float(tree.sliceCount) else {
      throw PlainError("the sum is \(found), not \(tree.sliceCount)")
    }
    exchange.close()
    return finding
  }

  private func buffer(filledWith value: Float) -> ExchangeBuffer {
    ExchangeBuffer([AlignedStorage(count: elementCount, filledWith: value).rows])
  }
}

/// Runs `body` on its own thread; ``value()`` waits for what it returned or threw.
private final class Thread<Value: Sendable>: Sendable {
  private let outcome = Monitor<Result<Value, any Error>?>(nil)

  init(_ body: @escaping @Sendable () throws -> Value) {
    startDetachedThread { [outcome] in
      let result = Result { try body() }
      outcome.update { $0 = result }
    }
  }

  func value() throws -> Value {
    guard let result = outcome.wait({ $0 }) else {
      preconditionFailure("a wait without a limit ends with a value")
    }
    return try result.get()
  }
}
