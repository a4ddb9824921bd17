internal import Checkpoints
internal import ControlProtocol
internal import Scheduling
internal import Settings
internal import System
internal import Transport

/// What reaches the coordinator from outside, in the order of arrival.
enum RuntimeEvent: Sendable {
  case arrived(WorkerHello, MessageChannel)
  case bulkArrived(worker: Int, BulkChannel)
  case bulkGone(worker: Int, BulkChannel)
  case message(worker: Int, WorkerMessage)
  case gone(worker: Int, cause: String, control: ObjectIdentifier)
  case log(worker: Int, text: String)
  case checkpointed(position: Int, CheckpointReader)
  case checkpointFailed(position: Int, reason: String)
  case stopRequested
  /// A shard or a checkpoint cannot be read any more.
  case sourceLost(reason: String)
}

extension RuntimeEvent {
  init(_ outcome: CheckpointIntake.Outcome) {
    switch outcome {
    case .saved(let position, let reader): self = .checkpointed(position: position, reader)
    case .failed(let position, let reason):
      self = .checkpointFailed(position: position, reason: reason)
    }
  }
}

/// Accepts connections and hears each one's greeting, on threads of its own.
///
/// Until a caller has shown what it is it gets little: one message of at most 1 KiB within 2
/// seconds, and there are at most 64 such callers.
final class Reception: Sendable {
  private struct State {
    var unknownCount = 0
    /// The run that second connections must name; nil until it is known.
    var run: UInt64?
    /// Control connections, while they last.
    var controls: [MessageChannel] = []
  }
  private static let unknownCountMax = 64

  private let listener: Listener
  private let intake: CheckpointIntake
  private let state = Monitor(State())
  private let post: @Sendable (RuntimeEvent) -> Void

  init(
    _ listener: Listener, intake: CheckpointIntake, post: @escaping @Sendable (RuntimeEvent) -> Void
  ) {
    self.listener = listener
    self.intake = intake
    self.post = post
  }

  /// Takes callers from now on. Their hellos may wait: data may have to be prepared first.
  func start() {
    startDetachedThread { [self] in sendHeartbeats() }
    startDetachedThread { [self] in
      while !listener.isClosed {
        guard let connection = try? listener.accept(deadline: .never) else {
          // Descriptors have run out, say: a caller waits meanwhile, and need not be asked for
          // without a pause.
          pauseThread(milliseconds: 50)
          continue
        }
        let isRoom = state.update { state in
          guard state.unknownCount < Self.unknownCountMax else { return false }
          state.unknownCount += 1
          return true
        }
        guard isRoom else {
          connection.close()
          continue
        }
        startDetachedThread { [self] in receive(connection) }
      }
    }
  }

  private func receive(_ connection: Connection) {
    let channel = MessageChannel(connection, byteCountMax: Greeting.byteCountMax)
    let bytes = try? channel.receive(deadline: .after(.seconds(2)))
    state.update { $0.unknownCount -= 1 }
    guard let bytes = bytes ?? nil else { return connection.close() }
    channel.byteCountMax = MessageChannel.byteCountMaxDefault
    switch try? MessageCoding.decode(Greeting.self, from: bytes) {
    case .control(let hello):
      state.update { $0.controls.append(channel) }
      post(.arrived(hello, channel))
    case .bulk(let version, let run, let worker):
      guard version == protocolVersion, run == state.update({ $0.run }) else {
        return connection.close()
      }
      receiveBulk(BulkChannel(connection), worker)
    case nil:
      // Another release may greet in other words; the version is where it always was.
      if let other = try? MessageCoding.decode(GreetingVersion.self, from: bytes),
        other.version != protocolVersion
      {
        let refusal = CoordinatorMessage.refused(
          reason: otherVersion(other.version), code: ExitCode.badPlan.rawValue)
        try? channel.send(MessageCoding.encode(refusal), deadline: .after(.seconds(2)))
      }
      connection.close()
    }
  }

  /// From now on second connections are taken, if they belong to this run.
  func open(run: UInt64) { state.update { $0.run = run } }

  private static let heartbeat = MessageCoding.encode(CoordinatorMessage.alive)

  /// Workers need to hear something, however long the next decision takes.
  private func sendHeartbeats() {
    while !listener.isClosed {
      for control in state.update({ $0.controls }) {
        guard (try? control.send(Self.heartbeat, deadline: .after(.seconds(1)))) == nil else {
          continue
        }
        state.update { $0.controls.removeAll { $0 === control } }
      }
      pauseThread(milliseconds: 1000)
    }
  }

  private func receiveBulk(_ bulk: BulkChannel, _ worker: Int) {
    post(.bulkArrived(worker: worker, bulk))
    while let frame = try? bulk.receive(deadline: .never) {
      switch BulkKind(rawValue: UInt64(frame.kind)) {
      case .state:
        intake.receive(
          position: Int(clamping: frame.a), chunk: Int(clamping: frame.b), bytes: frame.payload)
      case .log:
        post(.log(worker: worker, text: String(decoding: frame.payload, as: UTF8.self)))
      case .tokens, nil: break
      }
    }
    bulk.close()
    post(.bulkGone(worker: worker, bulk))
  }

  /// Reads a welcomed worker's messages until its connection ends or stays silent.
  static func listen(
    to worker: Int, over control: MessageChannel, silenceSeconds: Double,
    post: @escaping @Sendable (RuntimeEvent) -> Void
  ) {
    startDetachedThread {
      var cause = "its connection ended"
      do throws(TransportError) {
        while let bytes = try control.receive(
          deadline: .after(.milliseconds(Int(silenceSeconds * 1000))))
        {
          guard let message = try? MessageCoding.decode(WorkerMessage.self, from: bytes) else {
            cause = "it sent a message nobody can read"
            break
          }
          post(.message(worker: worker, message))
        }
      } catch {
        cause = "\(error)"
      }
      control.close()
      post(.gone(worker: worker, cause: cause, control: ObjectIdentifier(control)))
    }
  }
}
