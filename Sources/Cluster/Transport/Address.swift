internal import System

/// Where a program listens: a host (name or number) and a port.
public struct Address: Hashable, Codable, Sendable {
  public let host: String
  /// 0 lets the system choose when listening.
  public let port: Int

  public init(host: String, port: Int) {
    precondition(!host.isEmpty, "an address needs a host")
    precondition((0...65535).contains(port), "port \(port) is outside 0...65535")
    self.host = host
    self.port = port
  }

  /// Reads `HOST:PORT`; an IPv6 number stands in brackets: `[::1]:4000`.
  ///
  /// - Throws: ``TransportError/invalidAddress(text:)``.
  public init(parsing text: String) throws(TransportError) {
    guard let colon = text.lastIndex(of: ":") else { throw .invalidAddress(text: text) }
    var host = text[..<colon]
    let digits = text[text.index(after: colon)...]
    if host.hasPrefix("[") && host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      throw .invalidAddress(text: text)
    }
    let isNumber = !digits.isEmpty && digits.utf8.allSatisfy { (48...57).contains($0) }
    guard !host.isEmpty, isNumber, let port = Int(digits), port <= 65535 else {
      throw .invalidAddress(text: text)
    }
    self.init(host: String(host), port: port)
  }

  /// Whether only programs on this machine can reach it: a loopback number, or "localhost".
  public var isLoopback: Bool {
    if host == "localhost" || host == "::1" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }

  /// From what the system says about a socket; nil when it has no port.
  init?(_ address: SocketAddress?) {
    guard let (host, port) = address?.hostAndPort else { return nil }
    self.init(host: host, port: port)
  }

  func resolved(isPassive: Bool) throws(TransportError) -> [SocketAddress] {
    do {
      return try SocketAddress.resolve(host: host, port: port, isPassive: isPassive)
    } catch {
      throw .unresolved(host: error.host, reason: error.reason)
    }
  }
}

extension Address: CustomStringConvertible {
  /// `HOST:PORT`, as ``init(parsing:)`` reads it.
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
