import System
import Testing
import Transport

/// Runs `body` on its own thread; `value()` waits for what it returned or threw.
final class Background<Value: Sendable>: Sendable {
  private let outcome = Monitor<Result<Value, any Error>?>(nil)

  init(_ body: @escaping @Sendable () throws -> Value) {
    startDetachedThread { [self] in
      let result = Result { try body() }
      outcome.update { $0 = result }
    }
  }

  func value(within seconds: Double = 20) throws -> Value {
    guard let result = outcome.wait(atMost: seconds, { $0 }) else {
      throw TransportError.timedOut(operation: "thread", peer: "test")
    }
    return try result.get()
  }
}

var soon: Deadline { .after(.seconds(20)) }

@Suite struct `Addresses` {
  @Test(arguments: [
    ("localhost:80", "localhost", 80), ("10.0.0.1:65535", "10.0.0.1", 65535),
    ("[::1]:4000", "::1", 4000), ("node-3.cluster:0", "node-3.cluster", 0),
  ])
  func `reads HOST:PORT and writes it back`(text: String, host: String, port: Int) throws {
    let address = try Address(parsing: text)
    #expect(address == Address(host: host, port: port))
    #expect(address.description == text)
  }

  @Test(arguments: ["", ":", "host", "host:", ":80", "::1:80", "host:65536", "host:-1", "host:+1",
    "host:8 0", "host:99999999999999999999999"])
  func `refuses anything else`(text: String) {
    #expect(throws: TransportError.invalidAddress(text: text)) { try Address(parsing: text) }
  }

  @Test func `knows which addresses only this machine can reach`() {
    #expect(Address(host: "127.0.0.1", port: 1).isLoopback)
    #expect(Address(host: "::1", port: 1).isLoopback)
    #expect(Address(host: "localhost", port: 1).isLoopback)
    #expect(!Address(host: "127.evil.example.com", port: 1).isLoopback)
    #expect(!Address(host: "0.0.0.0", port: 1).isLoopback)
  }
}

@Suite struct `Listener and connection` {
  func connected() throws -> (client: Connection, server: Connection) {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    let client = try Connection.connect(to: listener.address, deadline: soon)
    return (client, try listener.accept(deadline: soon))
  }

  @Test func `carry bytes both ways over a port the system chose`() throws {
    let (client, server) = try connected()
    #expect(client.localAddress?.description == server.peer)
    #expect(client.remoteAddress == server.localAddress)
    let a = MessageChannel(client)
    let b = MessageChannel(server)
    try a.send([1, 2, 3])
    try b.send([])
    #expect(try b.receive(deadline: soon) == [1, 2, 3])
    #expect(try a.receive(deadline: soon) == [])
  }

  @Test func `use the congestion control asked for, or the system's and say so`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0), congestion: "reno")
    let client = try Connection.connect(
      to: listener.address, congestion: "no-such-control", deadline: soon)
    let server = try listener.accept(deadline: soon)
    #expect(server.congestion == "reno")
    #expect(client.congestion?.isEmpty == false)
    #expect(client.congestion != "no-such-control")
  }

  @Test func `a second listener on a port in use names address and reason`() throws {
    let first = try Listener(Address(host: "127.0.0.1", port: 0))
    #expect {
      try Listener(first.address)
    } throws: { error in
      "\(error)" == "listen at \(first.address): Address already in use"
    }
  }

  @Test func `nobody listening is an error that may be tried again`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    let address = listener.address
    listener.close()
    #expect {
      try Connection.connect(to: address, deadline: soon)
    } throws: { error in
      (error as? TransportError)?.isUnreachable == true
        && "\(error)" == "connect \(address): Connection refused"
    }
  }

  @Test func `accept ends at its deadline`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    #expect(
      throws: TransportError.timedOut(operation: "accept at", peer: "\(listener.address)")
    ) { try listener.accept(deadline: .after(.milliseconds(20))) }
  }

  @Test func `closing the listener wakes a thread that accepts`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    let accepting = Background { _ = try listener.accept(deadline: .never) }
    listener.close()
    #expect(throws: TransportError.closed(peer: "\(listener.address)")) {
      try accepting.value()
    }
  }

  @Test func `closing a connection wakes its reader and its writer`() throws {
    let (client, server) = try connected()
    let channel = MessageChannel(client)
    let reading = Background { try channel.receive(deadline: .never) }
    let writing = Background {
      while true { try BulkChannel(client).send(BulkFrame(kind: 1, payload: zeros(1 << 20))) }
    }
    client.close()
    #expect(throws: TransportError.closed(peer: client.peer)) { try reading.value() }
    #expect(throws: TransportError.closed(peer: client.peer)) { try writing.value() }
    withExtendedLifetime(server) {}
  }

  @Test func `a peer that vanishes is a lost connection, not a hang`() throws {
    var (client, server): (Connection, Connection?) = try connected()
    let channel = BulkChannel(client)
    server?.close()
    server = nil
    client = channel.connection
    #expect(throws: TransportError.connectionLost(peer: client.peer)) {
      while true { try channel.send(BulkFrame(kind: 1, payload: zeros(1 << 20))) }
    }
  }

  @Test func `a write into a full connection ends at its deadline`() throws {
    let (client, server) = try Connection.pair()
    #expect(throws: TransportError.timedOut(operation: "write to", peer: client.peer)) {
      try BulkChannel(client).send(
        BulkFrame(kind: 1, payload: zeros(8 << 20)), deadline: .after(.milliseconds(30)))
    }
    withExtendedLifetime(server) {}
  }
}

func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

@Suite struct `Message channel` {
  @Test func `sends of many threads arrive whole`() throws {
    let (left, right) = try Connection.pair()
    let sender = MessageChannel(left)
    let receiver = MessageChannel(right)
    let threads = (0..<4).map { thread in
      Background {
        for length in 0..<200 {
          try sender.send([UInt8](repeating: UInt8(thread), count: length * 37))
        }
      }
    }
    var counts = [Int](repeating: 0, count: 4)
    for _ in 0..<800 {
      let message = try #require(try receiver.receive(deadline: soon))
      guard let first = message.first else { continue }
      #expect(message.allSatisfy { $0 == first })
      #expect(message.count % 37 == 0)
      counts[Int(first)] += 1
    }
    #expect(counts == [199, 199, 199, 199])
    for thread in threads { try thread.value() }
  }

  @Test func `a deadline in the middle of a message loses no byte`() throws {
    let (left, right) = try Connection.pair()
    let receiver = MessageChannel(right)
    let message = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
    let wire = MessageHeader(payloadByteCount: 300).bytes + message
    for (start, end) in [(0, 3), (3, 8), (8, 100), (100, 308)] {
      let part = Array(wire[start..<end])
      try left.write(part, deadline: soon)
      if end < wire.count {
        #expect(throws: TransportError.timedOut(operation: "read from", peer: right.peer)) {
          try receiver.receive(deadline: .after(.milliseconds(5)))
        }
      }
    }
    #expect(try receiver.receive(deadline: soon) == message)
  }

  @Test func `a message over the cap is refused on both sides before memory is taken`() throws {
    let (left, right) = try Connection.pair()
    let sender = MessageChannel(left, byteCountMax: 1000)
    let receiver = MessageChannel(right, byteCountMax: 999)
    #expect(
      throws: TransportError.messageTooLarge(peer: left.peer, byteCount: 1001, limit: 1000)
    ) { try sender.send(zeros(1001)) }
    try sender.send(zeros(999))
    #expect(try receiver.receive(deadline: soon) == zeros(999))
    try sender.send(zeros(1000))
    #expect(
      throws: TransportError.messageTooLarge(peer: right.peer, byteCount: 1000, limit: 999)
    ) { try receiver.receive(deadline: soon) }
  }

  @Test func `an orderly end is nil, an end inside a message is a lost connection`() throws {
    let (left, right) = try Connection.pair()
    try MessageChannel(left).send([7])
    left.finishWriting()
    let receiver = MessageChannel(right)
    #expect(try receiver.receive(deadline: soon) == [7])
    #expect(try receiver.receive(deadline: soon) == nil)

    let (cut, other) = try Connection.pair()
    let header = MessageHeader(payloadByteCount: 5).bytes + [1]
    try cut.write(header, deadline: soon)
    cut.finishWriting()
    #expect(throws: TransportError.connectionLost(peer: other.peer)) {
      try MessageChannel(other).receive(deadline: soon)
    }
  }

  @Test func `another program's traffic is told apart at once`() throws {
    let (left, right) = try Connection.pair()
    let request = Array("GET / HTTP/1.1\r\n".utf8)
    try left.write(request, deadline: soon)
    #expect(
      throws: TransportError.malformed(peer: right.peer, .magic(found: 0x2054_4547))
    ) { try MessageChannel(right).receive(deadline: soon) }
  }
}

@Suite struct `Bulk channel` {
  @Test func `a frame comes back with every field`() throws {
    let (left, right) = try Connection.pair()
    let payload = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let frame = BulkFrame(kind: 9, a: 1, b: .max, c: 1 << 40, d: 0, payload: payload)
    let sending = Background { try BulkChannel(left).send(frame) }
    #expect(try BulkChannel(right).receive(deadline: soon) == frame)
    try sending.value()
    left.finishWriting()
    #expect(try BulkChannel(right).receive(deadline: soon) == nil)
  }

  /// The wire bytes of a small frame.
  static var wire: [UInt8] {
    let payload: [UInt8] = [10, 20, 30, 40]
    let header = BulkHeader(
      kind: 3, a: 4, b: 5, c: 6, d: 7, payloadByteCount: 4,
      payloadChecksum: CRC32C.checksum(payload))
    return header.bytes + payload
  }

  @Test func `every flipped bit is detected`() throws {
    for bit in 0..<(8 * Self.wire.count) {
      var bytes = Self.wire
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      let (left, right) = try Connection.pair()
      try left.write(bytes, deadline: soon)
      left.finishWriting()
      #expect(throws: TransportError.self, "bit \(bit)") {
        try BulkChannel(right).receive(deadline: soon)
      }
    }
  }

  @Test func `a length over the cap is refused before memory is taken`() throws {
    let (left, right) = try Connection.pair()
    let header = BulkHeader(
      kind: 1, a: 0, b: 0, c: 0, d: 0, payloadByteCount: Int(UInt32.max), payloadChecksum: 0)
    try left.write(header.bytes, deadline: soon)
    #expect(
      throws: TransportError.messageTooLarge(
        peer: right.peer, byteCount: Int(UInt32.max), limit: 8 << 20)
    ) { try BulkChannel(right).receive(deadline: soon) }
  }

  @Test func `headers of any length and content parse or throw, and never trap`() {
    var state: UInt64 = 1
    func random() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
    for _ in 0..<20_000 {
      var bytes = Self.wire
      for _ in 0..<(random() % 4) { bytes[Int(random()) % bytes.count] = UInt8(random() & 255) }
      let cut = Array(bytes.prefix(Int(random()) % (bytes.count + 1)))
      _ = try? BulkHeader(parsing: cut, limit: Int(random()))
      _ = try? MessageHeader(parsing: cut, limit: Int(random()))
    }
  }
}
