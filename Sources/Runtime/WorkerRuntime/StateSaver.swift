internal import System
internal import Tensors

/// Streams chunks of the state to the coordinator while the next operation computes.
///
/// Weights do not change between two updates; the update waits until the chunks are out.
final class StateSaver: Sendable {
  private struct Job {
    var position: Int
    var chunks: Range<Int>
  }
  private let job = Monitor<Job?>(nil)
  private let send: @Sendable (_ bytes: [UInt8], _ position: Int, _ chunk: Int) -> Void
  private let parts: [SharedRows<Float>]
  private let layout: StateChunks

  /// - Parameter parts: Master, first and second moment.
  init(
    parts: [SharedRows<Float>],
    send: @escaping @Sendable (_ bytes: [UInt8], _ position: Int, _ chunk: Int) -> Void
  ) {
    self.parts = parts
    self.send = send
    layout = StateChunks(count: parts[0].count)
    startDetachedThread { [self] in serve() }
  }

  func start(position: Int, chunks: Range<Int>) {
    waitIdle()
    job.update {
      $0 = Job(position: position, chunks: chunks.clamped(to: 0..<layout.chunkCount))
    }
  }

  /// Returns when nothing is being sent.
  func waitIdle() { _ = job.wait { $0 == nil ? true : nil } }

  private func serve() {
    while true {
      guard let next = job.wait({ $0 }) else { continue }
      for chunk in next.chunks { send(layout.bytes(of: chunk, in: parts), next.position, chunk) }
      job.update { $0 = nil }
    }
  }
}
