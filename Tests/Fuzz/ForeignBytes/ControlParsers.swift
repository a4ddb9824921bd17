import ControlProtocol
import Planning
import Scheduling

/// Control messages, and the coordinator's decisions on them.
let controlParsers: [ForeignParser] = [controlMessages, schedule]

private let hello = WorkerHello(
  name: "w0", host: "boot-1", threadCount: 2, coreCount: 2,
  offers: [
    KernelOffer(profile: "portable", selfTest: "ab", kernels: "avx2", peakNominalGigaflops: nil)
  ],
  dataAddress: "127.0.0.1:4000", returning: ReturningWorker(run: 7, worker: 0))

private let resumption = Resumption(
  view: 2, members: [Member(worker: 0, name: "w0", dataAddress: "127.0.0.1:4000")], position: 5,
  slices: [[0, 1, 2, 3]], sources: [.own], grantedPosition: 10)

private func report(position: Int) -> OperationReport {
  OperationReport(
    view: 1, position: position, tokenCount: 512, lossSum: 3000.5, gradientNorm: .nan,
    learningRate: 1e-3, isSkipped: false, sliceCount: 4, recomputedCount: 0,
    time: OperationTime(), byteCount: 4096)
}

private let workerMessages: [WorkerMessage] = [
  .suspended(view: 1, position: nil, nodes: []),
  .suspended(
    view: 1, position: 5, nodes: [SliceNode(level: 1, index: 0), SliceNode(level: 0, index: 3)]),
  .measuredPeak(gigaflops: 116.5, cores: "0-1"),
  .completed(report(position: 5)),
  .peerLost(view: 1, rank: 1, cause: "gone"), .alive(progress: 4), .saveRefused(position: 5),
  .leaving,
]

private let controlMessages = ForeignParser(
  "control-messages",
  seeds: {
    let greetings: [Greeting] = [
      .control(hello), .bulk(version: protocolVersion, run: 7, worker: 0),
    ]
    let down: [CoordinatorMessage] = [
      .welcome(run: 7, worker: 0, name: "w0", profile: "portable", plan: "{}", tokenizer: ""),
      .alive,
      .refused(reason: "no", code: 78),
      .suspend(view: 1), .resume(resumption), .grant(view: 1, position: 9),
      .save(position: 5, chunks: 0..<3), .leave(reason: "done", code: 0), .alive,
    ]
    return greetings.map(MessageCoding.encode) + down.map(MessageCoding.encode)
      + workerMessages.map(MessageCoding.encode)
  },
  read: { bytes in
    readMessage(Greeting.self, bytes)
    readMessage(WorkerMessage.self, bytes)
    readMessage(CoordinatorMessage.self, bytes)
    if case .resume(let found)? = try? MessageCoding.decode(CoordinatorMessage.self, from: bytes) {
      _ = found.fits(operationCount: 10, sliceCount: 4)
    }
  })

private func readMessage<Message: ForeignMessage & Encodable>(
  _ type: Message.Type, _ bytes: [UInt8]
) {
  guard let message = try? MessageCoding.decode(type, from: bytes) else { return }
  let again = MessageCoding.encode(message)
  guard let read = try? MessageCoding.decode(type, from: again) else {
    preconditionFailure("\(type) does not read back: \(again)")
  }
  // Bytes are compared, because NaN is not equal to itself.
  requireSame(MessageCoding.encode(read), again, "\(type) written again")
}

/// Lines of one byte, which chooses a worker, and its message. Anything but a message lets the
/// worker come or go.
private let schedule = ForeignParser(
  "schedule",
  seeds: {
    // Once in the order in which workers say these things, and once with the largest position.
    let largest = report(position: ForeignNumber.limit - 1)
    return [workerMessages, workerMessages.prefix(3) + [.completed(largest)]].map { messages in
      let lines = messages.flatMap { message in
        [0, 1].map { "\($0) \(String(decoding: MessageCoding.encode(message), as: UTF8.self))" }
      }
      return Array(lines.joined(separator: "\n").utf8)
    }
  },
  read: { bytes in
    var schedule = ClusterSchedule(
      outline: RunOutline(
        tree: SliceTree(sliceCount: 4), operationCount: 100, checkpointPositions: [10, 100],
        phaseEnds: [10, 100], workerCountMin: 2))
    for worker in 0..<2 { check(schedule.apply(.joined(member(worker)))) }
    for line in bytes.split(separator: 0x0A).prefix(64) {
      guard let first = line.first else { continue }
      let worker = Int(first) % 3
      guard let message = try? MessageCoding.decode(
        WorkerMessage.self, from: Array(line.dropFirst()))
      else {
        let comes = first % 2 == 1
        check(
          schedule.apply(comes ? .joined(member(worker)) : .lost(worker: worker, cause: "")))
        continue
      }
      check(schedule.apply(event(message, of: worker)))
      precondition(
        (0...100).contains(schedule.committedPosition), "at \(schedule.committedPosition) of 100")
    }
  })

private func member(_ worker: Int) -> Member {
  Member(worker: worker, name: "w\(worker)", dataAddress: "127.0.0.1:\(4000 + worker)")
}

/// As the coordinator's driver tells its core.
private func event(_ message: WorkerMessage, of worker: Int) -> ClusterEvent {
  switch message {
  case .suspended(let view, let position, let nodes):
    .suspended(worker: worker, view: view, position: position, nodes: nodes)
  case .measuredPeak: .measuredPeak(worker: worker)
  case .completed(let report):
    .completed(
      worker: worker, view: report.view, position: report.position, next: report.nextPosition)
  case .peerLost(let view, let rank, let cause):
    .peerLost(reporter: worker, view: view, rank: rank, cause: cause)
  case .saveRefused(let position): .checkpointFailed(position: position)
  case .leaving: .leaving(worker: worker)
  case .alive(let progress): .checkpointed(position: Int(UInt(bitPattern: progress) % 101))
  }
}

/// Whatever workers said, a view that is announced is one that its members take.
private func check(_ commands: [Command]) {
  for case .resume(let resumption) in commands {
    precondition(
      resumption.fits(operationCount: 100, sliceCount: 4),
      "a view that does not fit: \(resumption)")
    let bytes = MessageCoding.encode(CoordinatorMessage.resume(resumption))
    precondition(
      (try? MessageCoding.decode(CoordinatorMessage.self, from: bytes)) != nil,
      "a view that no worker takes: \(resumption)")
  }
}
