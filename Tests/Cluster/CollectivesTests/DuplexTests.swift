import Collectives
import Planning
import System
import Tensors
import Testing
import Transport

@Suite(.serialized) struct `Large exchanges` {
  /// Seconds of one exchange of `byteCount` per rank, best of `stepCount`; every rank holds an
  /// equal part of the slices, everything is ready at once.
  static func seconds(
    meshes: [Mesh], byteCount: Int, stepCount: Int, options: ExchangeOptions = ExchangeOptions()
  ) throws -> Double {
    let tree = SliceTree(sliceCount: 8)
    let holdings = dealtHoldings(tree: tree, worldSize: meshes.count)
    let count = byteCount / 4
    let buckets = stride(from: 0, to: count, by: 1 << 20).map { $0..<min(count, $0 + (1 << 20)) }
    let times = try onAllRanks(meshes) { mesh in
      let exchange = try GradientExchange(mesh: mesh, tree: tree, options: options)
      var nodes: [SliceNode: ExchangeBuffer] = [:]
      for node in holdings[mesh.rank] {
        nodes[node] = RankBuffers.buffer([count], filledWith: Float(1 << node.level))
      }
      let sum = RankBuffers.buffer([count], filledWith: 0)
      var best = Double.infinity
      for step in 0..<stepCount {
        // All ranks start together.
        _ = try exchange.exchangeStatistics(
          step: step, holdings: holdings, mine: statistics(of: holdings[mesh.rank], seed: 1))
        let start = Clock.monotonicSeconds
        exchange.begin(step: step, holdings: holdings, nodes: nodes, sum: sum, buckets: buckets)
        exchange.setStatistics(statistics(of: holdings[mesh.rank], seed: 1))
        for bucket in buckets.indices { exchange.markReady(bucket: bucket) }
        try exchange.wait()
        best = min(best, Clock.monotonicSeconds - start)
      }
      let isRight = sum.windows[0].withSpan { span in span.indices.allSatisfy { span[$0] == 8 } }
      #expect(isRight)
      exchange.close()
      return best
    }
    return times.max() ?? .infinity
  }

  @Test func `two ranks sending 256 MiB at once through 64 KiB socket buffers never stall`()
    throws
  {
    let meshes = try loopbackMeshes(worldSize: 2, isLending: false)
    for mesh in meshes {
      for connection in mesh.connections {
        connection?.socket.setBuffers(sendByteCount: 32 << 10, receiveByteCount: 32 << 10)
      }
    }
    let seconds = try Self.seconds(meshes: meshes, byteCount: 256 << 20, stepCount: 1)
    print("256 MiB through 64 KiB buffers: \(seconds) s")
  }

  @Test(.enabled(if: Environment.isMeasuring), arguments: [2, 4], [1, 16, 64])
  func `bandwidth`(worldSize: Int, mebibytes: Int) throws {
    let seconds = try Self.seconds(
      meshes: try loopbackMeshes(worldSize: worldSize), byteCount: mebibytes << 20, stepCount: 8)
    let bytes = Double(mebibytes << 20)
    let bus = bytes / seconds * 2 * Double(worldSize - 1) / Double(worldSize)
    print("\(worldSize) ranks, \(mebibytes) MiB: bus bandwidth \(bus / 1e9) GB/s")
  }
}

enum Environment {
  /// Figures are printed only when asked for: `COX_MEASURE=1`.
  static var isMeasuring: Bool { environmentValue("COX_MEASURE") == "1" }
}
