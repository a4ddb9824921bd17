import Collectives
import System
import Testing
import Transport

@Suite struct `Building a mesh` {
  @Test func `strangers and stale views are turned away while it is built`() throws {
    let listeners = try (0..<2).map { _ in try Listener(Address(host: "127.0.0.1", port: 0)) }
    let addresses = listeners.map(\.address)
    let zero = Background {
      try Mesh.build(
        run: 1, view: 2, rank: 0, addresses: addresses, listener: listeners[0],
        deadline: .after(.seconds(20)))
    }
    // One that says nothing, one that talks another language, one of the last view.
    let silent = try Connection.connect(to: addresses[0], deadline: .after(.seconds(5)))
    let web = try Connection.connect(to: addresses[0], deadline: .after(.seconds(5)))
    let request = [UInt8](repeating: 65, count: 64)
    try web.write(request, deadline: .after(.seconds(5)))
    let stale = try Connection.connect(to: addresses[0], deadline: .after(.seconds(5)))
    var hello = FrameHeader(kind: .hello, run: 1, view: 1)
    hello.bucket = 1
    hello.piece = 2
    try stale.write(hello.bytes, deadline: .after(.seconds(5)))
    let one = Background {
      try Mesh.build(
        run: 1, view: 2, rank: 1, addresses: addresses, listener: listeners[1],
        deadline: .after(.seconds(20)))
    }
    let meshes = try [zero.value(), one.value()]
    #expect(meshes.map(\.worldSize) == [2, 2])
    #expect(meshes[0].connections[1]?.remoteAddress == meshes[1].connections[0]?.localAddress)
    withExtendedLifetime(silent) {}
  }

  @Test func `a missing rank is named at the deadline`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    let addresses = [listener.address, Address(host: "127.0.0.1", port: 9)]
    #expect(
      throws: MeshError.incomplete(missing: [1], names: "rank 1 at 127.0.0.1:9")
    ) {
      try Mesh.build(
        run: 1, view: 1, rank: 0, addresses: addresses, listener: listener,
        deadline: .after(.milliseconds(50)))
    }
  }

  @Test func `building can be cancelled from another thread`() throws {
    let listener = try Listener(Address(host: "127.0.0.1", port: 0))
    let addresses = [listener.address, Address(host: "127.0.0.1", port: 9)]
    let cancel = try WakeEvent()
    let building = Background {
      try Mesh.build(
        run: 1, view: 1, rank: 0, addresses: addresses, listener: listener,
        deadline: .after(.seconds(60)), cancel: cancel)
    }
    cancel.set()
    #expect(throws: MeshError.cancelled) { try building.value() }
  }

  @Test func `cancelled after the time of one attempt it names who is missing`() throws {
    let listeners = try (0..<2).map { _ in try Listener(Address(host: "127.0.0.1", port: 0)) }
    let addresses = listeners.map(\.address) + [Address(host: "127.0.0.1", port: 9)]
    let cancel = try WakeEvent()
    let builders = listeners.indices.map { rank in
      Background {
        try Mesh.build(
          run: 1, view: 1, rank: rank, addresses: addresses, listener: listeners[rank],
          deadline: .after(.seconds(60)), cancel: cancel)
      }
    }
    pauseThread(milliseconds: 2500)
    cancel.set()
    for builder in builders {
      #expect(throws: MeshError.incomplete(missing: [2], names: "rank 2 at 127.0.0.1:9")) {
        try builder.value()
      }
    }
  }
}
