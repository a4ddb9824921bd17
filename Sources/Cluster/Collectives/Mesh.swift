public import System
internal import Tensors
public import Transport

/// The data plane of one view: a connection between every two ranks.
public final class Mesh: Sendable {
  public let run: UInt64
  public let view: Int
  public let rank: Int
  /// By rank; nil at this one.
  public let connections: [Connection?]
  /// By rank; the memory of the peers on this machine that this process can read.
  public let memories: [ProcessMemory?]
  /// What this rank said, where it lay: a peer may still be comparing.
  private let hellos: [SharedRows<UInt64>]

  public var worldSize: Int { connections.count }
  /// The congestion control that runs on the connections, for the log; nil inside one process.
  public var congestion: String? { connections.lazy.compactMap { $0?.congestion }.first }

  /// Takes over connections whose other ends are known to be the right ranks.
  ///
  /// - Parameter memories: By rank; where empty, nothing is borrowed from anyone.
  public convenience init(
    run: UInt64, view: Int, rank: Int, connections: [Connection?],
    memories: [ProcessMemory?] = []
  ) {
    let none = [ProcessMemory?](repeating: nil, count: connections.count)
    self.init(
      run: run, view: view, rank: rank,
      links: MeshLinks(connections: connections, memories: memories.isEmpty ? none : memories))
  }

  private init(run: UInt64, view: Int, rank: Int, links: MeshLinks) {
    let worldSize = links.connections.count
    precondition(links.connections.indices.contains(rank), "rank \(rank) of \(worldSize)")
    precondition(view >= 0 && view <= UInt32.max, "view \(view) is outside 32 bits")
    precondition(links.connections[rank] == nil, "rank \(rank) has no connection to itself")
    precondition(
      links.memories.count == worldSize,
      "memories of \(links.memories.count) ranks, not \(worldSize)")
    self.run = run
    self.view = view
    self.rank = rank
    connections = links.connections
    memories = links.memories
    hellos = links.hellos
  }

  deinit { close() }

  /// Builds this rank's part: connects to the lower ranks, accepts the higher ones.
  ///
  /// Both ends of a connection say run, view and rank, and check what the other said. Strangers
  /// and stale views are turned away; a lost or refused attempt is repeated until the deadline.
  ///
  /// - Parameters:
  ///   - addresses: Where the ranks listen, by rank; this rank's own entry is not used.
  ///   - isLending: Whether peers on this machine may copy payloads from this process's memory,
  ///     and this rank from theirs.
  ///   - cancel: Ends the building when another thread sets it.
  /// - Throws: ``MeshError``.
  public static func build(
    run: UInt64, view: Int, rank: Int, addresses: [Address], listener: Listener,
    congestion: String = Connection.defaultCongestion, isLending: Bool = true,
    deadline: Deadline, cancel: WakeEvent? = nil
  ) throws(MeshError) -> Mesh {
    var builder = MeshBuilder(
      run: run, view: view, rank: rank, addresses: addresses, listener: listener,
      congestion: congestion, isLending: isLending, deadline: deadline, cancel: cancel)
    return Mesh(run: run, view: view, rank: rank, links: try builder.build())
  }

  /// The meshes of all ranks inside one process, by rank.
  ///
  /// - Throws: ``TransportError/failed(operation:peer:code:)`` when descriptors have run out.
  public static func local(
    worldSize: Int, run: UInt64 = 1, view: Int = 1
  ) throws(TransportError) -> [Mesh] {
    let empty = [Connection?](repeating: nil, count: worldSize)
    var connections = Array(repeating: empty, count: worldSize)
    for high in 0..<worldSize {
      for low in 0..<high {
        (connections[high][low], connections[low][high]) = try Connection.pair(
          peers: ("rank \(high)", "rank \(low)"))
      }
    }
    return connections.enumerated().map { rank, links in
      Mesh(run: run, view: view, rank: rank, connections: links)
    }
  }

  /// Ends all connections at once.
  public func close() {
    for connection in connections { connection?.close() }
  }
}

/// Why a mesh was not built.
public enum MeshError: Error, Equatable, Sendable {
  /// No connection to these ranks at the deadline, or when the building was cancelled after they
  /// had the time of one attempt. `names` has their addresses, for people.
  case incomplete(missing: [Int], names: String)
  /// Cancelled before anything can be said of those who are missing.
  case cancelled
  /// The listener was closed, or the system refused a call.
  case transport(TransportError)
}

extension MeshError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .incomplete(_, let names): "none to \(names)"
    case .cancelled: "the building was cancelled"
    case .transport(let error): "\(error)"
    }
  }
}
