import ControlProtocol
import System
import Telemetry
import Testing
import Transport

/// Members that are missed, cut off, stuck or taken for lost, and what the others do meanwhile.
@Suite(.serialized) struct `A run whose members are missed` {
  @Test(.timeLimit(.minutes(3)))
  func `goes on after a restart with those who are there`() throws {
    try withRunFolder { run in
      let first = try RealCluster(run: run, waitingFor: 2)
      for _ in 0..<2 { try first.addWorker() }
      #expect(first.waitForStep(12))
      for process in first.workers + [first.coordinator] { process.signal(9) }
      #expect(first.wait() == 137)
      let second = try RealCluster(run: run)
      try second.addWorker()
      try expectReference(second)
      #expect(second.records().last?.workers == 1)
    }
  }

  /// Kernels that are slow enough for things to happen inside a step.
  private static let slowSteps = [
    "--set", "phases.pretrain.steps=3", "--set", "phases.pretrain.schedule.warmup=3",
  ]

  @Test(.timeLimit(.minutes(5)))
  func `sums each slice once when a worker comes back within the step that others redo`() throws {
    var outcomes: [RealCluster.Outcome] = []
    for workerCount in 1...2 {
      try withRunFolder { run in
        let cluster = try RealCluster(run: run, waitingFor: workerCount, extra: Self.slowSteps)
        for index in 0..<workerCount {
          try cluster.addWorker(options: ["--kernels", "scalar", "--name", "number-\(index)"])
        }
        if workerCount == 2 {
          #expect(cluster.waitForStep(1))
          // Each computes four slices. One is done, then frozen; the other does it again.
          let sliceSeconds = (cluster.records().last?.seconds ?? 4) / 4
          pauseThread(milliseconds: Int(1500 * sliceSeconds))
          cluster.workers[1].signal(19)
          #expect(cluster.waitForText("worker_lost: number-1"))
          pauseThread(milliseconds: Int(1300 * sliceSeconds))
          cluster.workers[1].signal(18)
          #expect(cluster.waitForText("worker_joined: number-1", times: 2))
        }
        #expect(cluster.wait() == 0, "\(cluster.errors)")
        for worker in cluster.workers { #expect(exitCode(of: worker) == 0) }
        outcomes.append(cluster.outcome)
      }
    }
    #expect(outcomes.first?.digest.count == 64)
    #expect(outcomes.first == outcomes.last)
  }

  @Test(.timeLimit(.minutes(3)))
  func `makes both connections anew when a worker loses only the second`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, waitingFor: 2)
      let relay = try Relay(to: cluster.address)
      defer { relay.close() }
      try cluster.addWorker(at: "\(relay.address)")
      try cluster.addWorker()
      for (index, step) in [3, 12, 22].enumerated() {
        #expect(cluster.waitForStep(step))
        relay.cutSecondConnections()
        #expect(cluster.waitForText("worker_joined: w", times: 3 + index))
      }
      try expectReference(cluster)
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 0])
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `cuts off a worker that lives and stands still`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, waitingFor: 2)
      try cluster.addWorker()
      try cluster.addWorker(failpoint: "hang:after-slice@7")
      try expectReference(cluster)
      #expect(cluster.errors.contains("cut off: no progress for 30 s"))
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 1])
    }
  }

  @Test(arguments: ["in-rolout", "hang:", "in-rollout@", "in-rollout@ppo@1@2"])
  func `has no worker with a failpoint that there is not`(failpoint: String) {
    let refused = command(
      ["worker", "--coordinator", "127.0.0.1:1"], environment: ["COX_FAILPOINT": failpoint])
    #expect(refused.code == 64)
    #expect(refused.errors.contains("COX_FAILPOINT is \"\(failpoint)\", not [hang:]NAME"))
  }

  @Test(.timeLimit(.minutes(3)))
  func `sends off a joiner that has no way to the member with the state`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run)
      // Nobody has this address (RFC 5737).
      try cluster.addWorker(options: ["--advertise", "192.0.2.1:0"])
      #expect(cluster.waitForStep(3))
      try cluster.addWorker()
      try expectReference(cluster)
      #expect(!cluster.errors.contains("rewound"))
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 1])
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `takes no worker of another run for its own`() throws {
    try withRunFolder { run in
      let first = try RealCluster(run: "\(run)-first")
      let stray = try first.addWorker()
      #expect(first.waitForStep(3))
      first.coordinator.signal(9)
      #expect(first.wait() == 137)
      let second = try RealCluster(run: run, listen: first.address)
      #expect(exitCode(of: stray) == 75)
      #expect(first.errors(ofWorker: 0).contains("another run has its place"))
      try second.addWorker()
      try expectReference(second)
      try Files.removeTree("\(run)-first")
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `lets a worker in although strangers hold every place before the greeting`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run)
      #expect(try (0..<10).contains { _ in try isTurnedAway(at: cluster.address) })
      try cluster.addWorker()
      try expectReference(cluster)
    }
  }

  /// Whether a caller whose greeting would be answered is turned away while 64 say nothing. They
  /// are let go after two seconds, in which this may not have come to pass on a busy machine.
  private func isTurnedAway(at address: String) throws -> Bool {
    let coordinator = try Address(parsing: address)
    func call() throws -> Connection {
      try Connection.connect(to: coordinator, deadline: .after(.seconds(10)))
    }
    let silent = try (0..<64).map { _ in try call() }
    let last = MessageChannel(try call())
    try? last.send(Array("{\"control\":{\"_0\":{\"version\":7}}}".utf8))
    let answer = (try? last.receive(deadline: .after(.seconds(10)))) ?? nil
    for connection in silent { connection.close() }
    return answer == nil
  }
}

/// Stands between workers and their coordinator, and can cut their second connections.
private final class Relay: Sendable {
  let address: Address
  private let coordinator: Address
  private let listener: Listener
  private let seconds = Monitor<[Connection]>([])

  init(to coordinator: String) throws {
    self.coordinator = try Address(parsing: coordinator)
    listener = try Listener(Address(host: "127.0.0.1", port: 0))
    address = listener.address
    startDetachedThread { [self] in
      while let guest = try? listener.accept(deadline: .after(.seconds(180))) {
        startDetachedThread { [self] in try? serve(guest) }
      }
    }
  }

  func close() { listener.close() }

  func cutSecondConnections() {
    let cut = seconds.update { seconds in
      defer { seconds = [] }
      return seconds
    }
    for connection in cut { connection.close() }
  }

  private func serve(_ guest: Connection) throws {
    let host = try Connection.connect(to: coordinator, deadline: .after(.seconds(10)))
    guard let greeting = try MessageChannel(guest).receive(deadline: .after(.seconds(10)))
    else { return }
    if case .bulk = try MessageCoding.decode(Greeting.self, from: greeting) {
      seconds.update { $0 += [guest, host] }
    }
    try MessageChannel(host).send(greeting)
    startDetachedThread { Self.pump(host, into: guest) }
    Self.pump(guest, into: host)
  }

  /// Hands on every byte, and the end.
  private static func pump(_ source: Connection, into sink: Connection) {
    var first: [UInt8] = [0]
    var more = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      var (firstCount, moreCount) = (0, 0)
      let isOpen = try? source.read(
        into: &first, filled: &firstCount, deadline: .after(.seconds(180)))
      guard isOpen == true else { break }
      _ = try? source.read(into: &more, filled: &moreCount, deadline: .after(.zero))
      guard (try? sink.write(first + more.prefix(moreCount), deadline: .after(.seconds(60)))) != nil
      else { break }
    }
    sink.finishWriting()
  }
}
