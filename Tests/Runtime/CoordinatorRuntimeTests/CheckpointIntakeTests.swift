import Checkpoints
import CoordinatorRuntime
import Planning
import System
import Tensors
import Testing

@Suite struct `The intake of a checkpoint` {
  /// What came of the attempts, in order.
  private final class Outcomes: Sendable {
    private let list = Monitor<[String]>([])

    func add(_ outcome: CheckpointIntake.Outcome) {
      let text =
        switch outcome {
        case .saved(let position, let reader): "\(position) saved as \(reader.name)"
        case .failed(let position, let reason): "\(position) failed: \(reason)"
        }
      list.update { $0.append(text) }
    }

    func first(atMost seconds: Double = 30) -> String? {
      list.wait(atMost: seconds) { $0.first }
    }

    var all: [String] { list.update { $0 } }
  }

  private func writer(_ folder: RunFolder) throws -> CheckpointWriter {
    try folder.makeWriter(at: 2, tokensTotal: 64)
  }

  @Test(.timeLimit(.minutes(1)))
  func `cannot give up a checkpoint that is being committed`() throws {
    try withRun { run in
      let folder = try openRun(run)
      let outcomes = Outcomes()
      let (isCommitting, mayCommit) = (Monitor(false), Monitor(false))
      let intake = CheckpointIntake(
        commit: { (writer) throws(CheckpointError) in
          isCommitting.update { $0 = true }
          _ = mayCommit.wait(atMost: 30) { $0 ? true : nil }
          return try writer.commit()
        }, post: { outcomes.add($0) })
      let first = try writer(folder)
      intake.begin(position: 2, writer: first)
      startDetachedThread {
        for index in 0..<first.chunks.chunkCount {
          intake.receive(position: 2, chunk: index, bytes: zeros(first, index))
        }
      }
      #expect(isCommitting.wait(atMost: 30) { $0 ? true : nil } == true)
      // A member dies: its share has come all the same.
      #expect(!intake.abandon(position: 2))
      #expect(intake.isCommitting(position: 2))
      // A chunk that comes twice is nothing new; another attempt has files of its own.
      intake.receive(position: 2, chunk: 0, bytes: zeros(first, 0))
      let second = try writer(folder)
      #expect(second.aside != first.aside)
      mayCommit.update { $0 = true }
      #expect(outcomes.first() == "2 saved as a-2")
      second.abort()
      #expect(outcomes.all == ["2 saved as a-2"])
      // Whoever asks before the outcome is heard of gets no second attempt.
      #expect(intake.isCommitting(position: 2) && !intake.abandon(position: 2))
      intake.settle(position: 2)
      #expect(!intake.isCommitting(position: 2))
      #expect(try CheckpointReader.newest(inRun: run).reader?.name == "a-2")
      #expect(try Files.list("\(run)/checkpoints") == ["a-2"])
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func `takes a late chunk of a checkpoint that closed for nothing new`() throws {
    try withRun { run in
      let folder = try openRun(run)
      let outcomes = Outcomes()
      let intake = CheckpointIntake { outcomes.add($0) }
      let first = try writer(folder)
      intake.begin(position: 2, writer: first)
      // As a thread that looked just before the commit closed the writer.
      first.abort()
      intake.receive(position: 2, chunk: 0, bytes: zeros(first, 0))
      #expect(outcomes.all == [])
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func `gives up a checkpoint whose chunks have not all come`() throws {
    try withRun { run in
      let folder = try openRun(run)
      let outcomes = Outcomes()
      let intake = CheckpointIntake { outcomes.add($0) }
      intake.begin(position: 2, writer: try writer(folder))
      #expect(!intake.abandon(position: 1))
      #expect(intake.abandon(position: 2))
      #expect(!intake.abandon(position: 2))
      #expect(try Files.list("\(run)/checkpoints") == [])
      let again = try writer(folder)
      intake.begin(position: 2, writer: again)
      intake.receive(position: 2, chunk: 0, bytes: [1])
      #expect(outcomes.first()?.hasPrefix("2 failed: chunk 0 came with 1 bytes") == true)
      #expect(try Files.list("\(run)/checkpoints") == [])
    }
  }
}
