package import Checkpoints
internal import System

/// The checkpoint being written: chunks come in on the workers' bulk threads, and the thread that
/// brings the last one commits.
package final class CheckpointIntake: Sendable {
  /// What came of an attempt that was not abandoned.
  package enum Outcome: Sendable {
    case saved(position: Int, CheckpointReader)
    case failed(position: Int, reason: String)
  }

  private struct Attempt {
    var position: Int
    var writer: CheckpointWriter
    /// Every chunk has come: what becomes of it hangs on no worker any more. So it is until the one
    /// who asked for it has heard of the outcome: whoever asks again before that, does in vain.
    var isCommitting = false
  }

  /// Reads back and renames what a writer holds; may take seconds.
  package typealias Commit =
    @Sendable (CheckpointWriter) throws(CheckpointError) -> CheckpointReader

  private let attempt = Monitor<Attempt?>(nil)
  private let commit: Commit
  private let post: @Sendable (Outcome) -> Void

  package init(
    commit: @escaping Commit = { (writer) throws(CheckpointError) in try writer.commit() },
    post: @escaping @Sendable (Outcome) -> Void
  ) {
    self.commit = commit
    self.post = post
  }

  /// Starts an attempt; the one before it, if any, is given up.
  package func begin(position: Int, writer: CheckpointWriter) {
    let old = attempt.update { attempt -> Attempt? in
      defer { attempt = Attempt(position: position, writer: writer) }
      return attempt
    }
    if let old, !old.isCommitting { old.writer.abort() }
  }

  /// Gives up the attempt at `position`, because not every chunk of it will come.
  ///
  /// - Returns: false where there is none, or its chunks are all there: then its outcome follows.
  package func abandon(position: Int) -> Bool {
    let old = attempt.update { attempt -> Attempt? in
      guard attempt?.position == position, attempt?.isCommitting == false else { return nil }
      defer { attempt = nil }
      return attempt
    }
    old?.writer.abort()
    return old != nil
  }

  /// Whether the checkpoint at `position` is being committed: nobody needs to send it again.
  package func isCommitting(position: Int) -> Bool {
    attempt.update { $0?.position == position && $0?.isCommitting == true }
  }

  /// The outcome of the attempt at `position` is known to whoever asked for it.
  package func settle(position: Int) {
    attempt.update { if $0?.position == position, $0?.isCommitting == true { $0 = nil } }
  }

  package func receive(position: Int, chunk: Int, bytes: [UInt8]) {
    let writer = attempt.update { $0?.position == position ? $0?.writer : nil }
    guard let writer else { return }
    do throws(CheckpointError) {
      try writer.writeChunk(index: chunk, bytes: bytes)
      guard writer.missingChunks.isEmpty, beginCommit(writer) else { return }
      Failpoint.beforeCommit.pass(step: position)
      let reader = try commit(writer)
      post(.saved(position: position, reader))
    } catch .closed {
      // A chunk that came twice, or after the attempt was given up, changes nothing.
    } catch {
      forget(writer)
      writer.abort()
      post(.failed(position: position, reason: "\(error)"))
    }
  }

  /// Whether the caller is the one to commit.
  private func beginCommit(_ writer: CheckpointWriter) -> Bool {
    attempt.update { attempt in
      guard attempt?.writer === writer, attempt?.isCommitting == false else { return false }
      attempt?.isCommitting = true
      return true
    }
  }

  private func forget(_ writer: CheckpointWriter) {
    attempt.update { if $0?.writer === writer { $0 = nil } }
  }
}
