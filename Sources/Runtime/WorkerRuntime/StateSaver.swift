internal import System
internal import Tensors

/// Streams chunks of the state to the coordinator while the next operation computes.
///
/// Weights do not change between two updates; the update waits until the chunks are out.
final class StateSaver: Sendable {
  private struct Job {
    var position: Int
    var chunks: Range<Int>
    var layout: StateChunks
    var parts: [SharedRows<Float>]
  }
  private let job = Monitor<Job?>(nil)
  private let send: @Sendable (_ bytes: [UInt8], _ position: Int, _ chunk: Int) -> Void

  init(send: @escaping @Sendable (_ bytes: [UInt8], _ position: Int, _ chunk: Int) -> Void) {
    self.send = send
    startDetachedThread { [self] in serve() }
  }

  /// - Parameter parts: A window for each part of the state.
  func start(
    position: Int, chunks: Range<Int>, layout: StateChunks, parts: [SharedRows<Float>]
  ) {
    waitIdle()
    job.update {
      $0 = Job(
        position: position, chunks: chunks.clamped(to: 0..<layout.chunkCount), layout: layout,
        parts: parts)
    }
  }

  /// Returns when nothing is being sent.
  func waitIdle() { _ = job.wait { $0 == nil ? true : nil } }

  private func serve() {
    while true {
      guard let next = job.wait({ $0 }) else { continue }
      for chunk in next.chunks {
        send(next.layout.bytes(of: chunk, in: next.parts), next.position, chunk)
      }
      job.update { $0 = nil }
    }
  }
}
