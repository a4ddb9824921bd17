internal import Checkpoints
internal import System

/// The checkpoint being written: chunks come in on the workers' bulk threads, and the thread that
/// brings the last one commits.
final class CheckpointIntake: Sendable {
  private struct Attempt {
    var position: Int
    var writer: CheckpointWriter
    var isCommitting = false
  }
  private let attempt = Monitor<Attempt?>(nil)
  private let post: @Sendable (RuntimeEvent) -> Void

  init(post: @escaping @Sendable (RuntimeEvent) -> Void) { self.post = post }

  /// Starts an attempt; the one before it, if any, is given up.
  func begin(position: Int, writer: CheckpointWriter) {
    let old = attempt.update { attempt -> Attempt? in
      defer { attempt = Attempt(position: position, writer: writer) }
      return attempt
    }
    if let old, !old.isCommitting { old.writer.abort() }
  }

  func abandon(position: Int) {
    let old = attempt.update { attempt -> Attempt? in
      guard attempt?.position == position, attempt?.isCommitting == false else { return nil }
      defer { attempt = nil }
      return attempt
    }
    old?.writer.abort()
  }

  func receive(position: Int, chunk: Int, bytes: [UInt8]) {
    let writer = attempt.update { $0?.position == position ? $0?.writer : nil }
    guard let writer else { return }
    do throws(CheckpointError) {
      try writer.writeChunk(index: chunk, bytes: bytes)
      guard writer.missingChunks.isEmpty else { return }
      let isMine = attempt.update { attempt -> Bool in
        guard attempt?.writer === writer, attempt?.isCommitting == false else { return false }
        attempt?.isCommitting = true
        return true
      }
      guard isMine else { return }
      try writer.commit()
      attempt.update { if $0?.writer === writer { $0 = nil } }
      post(.checkpointed(position: position, name: writer.name))
    } catch {
      attempt.update { if $0?.writer === writer { $0 = nil } }
      writer.abort()
      post(.checkpointFailed(position: position, reason: "\(error)"))
    }
  }
}
