import ControlProtocol
import System
import Testing
import Transport

/// Programs that are not what the other side takes them for.
@Suite(.serialized) struct `A stranger` {
  /// Greets a coordinator with these bytes and returns what it says until it ends the connection.
  private func answers(
    to greeting: [UInt8], at address: String
  ) throws -> [CoordinatorMessage] {
    let channel = try connect(to: address)
    try channel.send(greeting)
    var found: [CoordinatorMessage] = []
    while let bytes = try channel.receive(deadline: .after(.seconds(30))) {
      found.append(try MessageCoding.decode(CoordinatorMessage.self, from: bytes))
    }
    return found
  }

  private func connect(to address: String) throws -> MessageChannel {
    MessageChannel(
      try Connection.connect(to: Address(parsing: address), deadline: .after(.seconds(10))))
  }

  private func hello(version: Int) -> WorkerHello {
    WorkerHello(
      version: version, name: "", host: "here", threadCount: 1, coreCount: 1, offers: [],
      dataAddress: "127.0.0.1:1")
  }

  private func expectRefusal(_ answers: [CoordinatorMessage], naming version: Int) {
    guard case .refused(let reason, let code) = answers.last else {
      Issue.record("not refused: \(answers)")
      return
    }
    #expect(code == 78)
    #expect(reason.contains("version \(version),"), "\(reason)")
    #expect(reason.contains("coordinator \(protocolVersion);"), "\(reason)")
  }

  @Test(.timeLimit(.minutes(3)))
  func `is refused by a coordinator, which goes on undisturbed`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run)
      let address = cluster.address
      // A worker of another release, one that greets in today's words and one that does not.
      let known = MessageCoding.encode(Greeting.control(hello(version: 99)))
      expectRefusal(try answers(to: known, at: address), naming: 99)
      let unknown = Array("{\"control\":{\"_0\":{\"version\":7,\"colour\":\"red\"}}}".utf8)
      expectRefusal(try answers(to: unknown, at: address), naming: 7)

      // The connection ends at the length, before a byte of the message has come.
      let large = try connect(to: address).connection
      try large.write(MessageHeader(payloadByteCount: 1025).bytes, deadline: .after(.seconds(10)))
      #expect(try endSeconds(of: large) < 1.5)
      // 1 KiB is read, and is no greeting.
      #expect(try answers(to: [UInt8](repeating: 0x20, count: 1024), at: address) == [])
      // Silence ends after 2 seconds: not before, and with room for a busy machine.
      let silent = try endSeconds(of: try connect(to: address).connection)
      #expect(silent > 1.9 && silent < 20, "\(silent) s")

      try cluster.addWorker()
      try expectReference(cluster)
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `that waits for a run which cannot start is told so, and its exit code`() throws {
    try withRunFolder { run in
      try Files.createDirectory(run)
      // Enough text in the first phase to say hello while it is read; the second phase has none.
      let plan = Self.planWithoutText(folder: run)
      try Files.write(Array(plan.utf8), to: "\(run)/plan.json")
      let cluster = try RealCluster(run: run, plan: "\(run)/plan.json")
      var hello = hello(version: protocolVersion)
      hello.offers = [
        KernelOffer(
          profile: "portable", selfTest: "", kernels: "none", peakNominalGigaflops: nil)
      ]
      let known = MessageCoding.encode(Greeting.control(hello))
      let found = try answers(to: known, at: cluster.address)
      guard case .leave(let reason, let code) = found.last else {
        Issue.record("not told to leave: \(found), \(cluster.errors)")
        return
      }
      #expect(code == 66)
      #expect(reason.contains("missing.txt"), "\(reason)")
      #expect(cluster.wait() == 66)
    }
  }

  private static func planWithoutText(folder: String) -> String {
    """
    {
      "model": { "layers": 1, "width": 16, "heads": 2, "context": 8 },
      "tokenizer": { "kind": "bpe", "vocabulary": 1000 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "name": "a", "data": { "source": "world", "documents": 40000 } },
        { "kind": "pretrain", "name": "b", "data": { "source": "\(folder)/missing.txt" } }
      ]
    }
    """
  }

  /// How long the other side keeps a connection on which nothing more is sent, seconds.
  private func endSeconds(of connection: Connection) throws -> Double {
    let start = Clock.monotonicSeconds
    var byte: [UInt8] = [0]
    var filled = 0
    // A connection that is cut with unread bytes is reset, which is an end too.
    let isOpen = (try? connection.read(
      into: &byte, filled: &filled, deadline: .after(.seconds(30)))) ?? false
    #expect(!isOpen)
    return Clock.monotonicSeconds - start
  }

  /// Whether this processor has kernels of two profiles.
  static let hasTwoProfiles = Host.processorFeatures.contains("avx512_bf16")

  @Test(
    .timeLimit(.minutes(3)), .enabled(if: hasTwoProfiles, "this processor has one profile only"))
  func `with another numeric profile is sent away with both names`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run)
      try cluster.addWorker(options: ["--kernels", "avx512bf16"])
      #expect(cluster.waitForStep(1))
      let other = try cluster.addWorker(options: ["--kernels", "avx2"])
      #expect(exitCode(of: other) == 78)
      let reason = cluster.errors(ofWorker: 1)
      #expect(reason.contains("avx512bf16") && reason.contains("portable"), "\(reason)")
      #expect(cluster.wait() == 0, "\(cluster.errors)")
    }
  }

  // MARK: In the coordinator's place

  /// Runs a worker against a listener whose callers `answer` serves; nil: nobody accepts.
  private func worker(
    timeout: Int, against answer: (@Sendable (Connection) -> Void)?
  ) throws -> (code: Int32, errors: String, seconds: Double) {
    let listener = try Listener(Address(parsing: "127.0.0.1:0"))
    startDetachedThread {
      guard let answer else { return }
      while let connection = try? listener.accept(deadline: .after(.seconds(60))) {
        answer(connection)
      }
    }
    let start = Clock.monotonicSeconds
    let found = command(
      ["worker", "--coordinator", "\(listener.address)", "--threads", "1", "--connect-timeout",
        "\(timeout)"])
    let seconds = Clock.monotonicSeconds - start
    listener.close()
    return (found.code, found.errors, seconds)
  }

  @Test(.timeLimit(.minutes(3))) func `may refuse a worker, which ends with its code`() throws {
    let found = try worker(timeout: 60) { connection in
      let channel = MessageChannel(connection)
      _ = try? channel.receive(deadline: .after(.seconds(10)))
      let refusal = CoordinatorMessage.refused(reason: otherVersion(98), code: 78)
      try? channel.send(MessageCoding.encode(refusal))
    }
    #expect(found.code == 78, "\(found.errors)")
    #expect(found.errors.contains("version 98"))
  }

  @Test(.timeLimit(.minutes(3))) func `that speaks HTTP is named for what it is not`() throws {
    let found = try worker(timeout: 60) { connection in
      try? connection.write(
        Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), deadline: .after(.seconds(10)))
    }
    #expect(found.code == 69, "\(found.errors)")
    #expect(found.errors.contains("is no coordinator"))
    #expect(found.seconds < 30)
  }

  @Test(.timeLimit(.minutes(3)))
  func `that hangs up or says nothing is given up in time, in few words`() throws {
    let rude = try worker(timeout: 1) { $0.close() }
    #expect(rude.code == 69)
    #expect(rude.errors.contains("it closed the connection"), "\(rude.errors)")
    #expect(rude.errors.split(separator: "\n").count < 5, "\(rude.errors)")
    let silent = try worker(timeout: 1, against: nil)
    #expect(silent.code == 69)
    #expect(silent.errors.contains("no answer in time"), "\(silent.errors)")
    #expect(silent.seconds < 30)
  }
}
