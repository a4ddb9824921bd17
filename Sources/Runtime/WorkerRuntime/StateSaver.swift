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
  private struct State {
    var job: Job?
    var isStopping = false
  }
  private let state = Monitor(State())
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
    let job = Job(position: position, chunks: chunks.clamped(to: 0..<layout.chunkCount))
    state.update { $0.job = job }
  }

  /// Returns when nothing is being sent.
  func waitIdle() { _ = state.wait { $0.job == nil ? true : nil } }

  func stop() { state.update { $0.isStopping = true } }

  private func serve() {
    while true {
      let job = state.wait { state -> Job?? in
        if state.isStopping { return .some(nil) }
        return state.job.map { .some($0) }
      }
      guard let job = job ?? nil else { return }
      for chunk in job.chunks { send(layout.bytes(of: chunk, in: parts), job.position, chunk) }
      state.update { $0.job = nil }
    }
  }
}
