internal import System

/// What can go wrong between two programs.
public enum TransportError: Error, Equatable, Sendable {
  /// Not of the form HOST:PORT.
  case invalidAddress(text: String)
  case unresolved(host: String, reason: String)
  /// A system call failed: which, towards whom, and `errno`.
  case failed(operation: String, peer: String, code: Int32)
  case timedOut(operation: String, peer: String)
  /// The peer ended the connection, or the way to it broke.
  case connectionLost(peer: String)
  /// This side closed the connection or the listener.
  case closed(peer: String)
  case messageTooLarge(peer: String, byteCount: Int, limit: Int)
  /// The peer sent bytes that are no message or frame of ours.
  case malformed(peer: String, FrameFault)
}

/// Why bytes are not a message or a frame.
public enum FrameFault: Error, Equatable, Sendable {
  case truncated(byteCount: Int, expected: Int)
  /// The first bytes are not ours: another program talks to this port.
  case magic(found: UInt32)
  case version(found: UInt16, supported: UInt16)
  case kind(found: UInt16)
  case headerChecksum(found: UInt32, computed: UInt32)
  case payloadChecksum(found: UInt32, computed: UInt32)
  case length(byteCount: Int, limit: Int)
  /// Reserved bits are set, or a mark that this kind of frame cannot have.
  case reserved
}

extension TransportError {
  init(_ error: SystemError, operation: String, peer: String) {
    if error.isConnectionLoss {
      self = .connectionLost(peer: peer)
    } else {
      self = .failed(operation: operation, peer: peer, code: error.code ?? 0)
    }
  }

  /// Whether the peer may be there if one tries again later.
  public var isUnreachable: Bool {
    switch self {
    case .timedOut, .connectionLost, .unresolved: true
    case .failed(let operation, _, let code):
      operation == "connect"
        && SystemError.failed(call: operation, subject: "", code: code).isUnreachable
    default: false
    }
  }
}

extension TransportError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .invalidAddress(let text): "\"\(text)\" is not of the form HOST:PORT"
    case .unresolved(let host, let reason): "no address for host \"\(host)\": \(reason)"
    case .failed(let operation, let peer, let code):
      "\(operation) \(peer): \(errorText(code))"
    case .timedOut(let operation, let peer): "\(operation) \(peer): no answer in time"
    case .connectionLost(let peer): "\(peer) ended the connection"
    case .closed(let peer): "the connection to \(peer) was closed here"
    case .messageTooLarge(let peer, let byteCount, let limit):
      "\(peer): a message of \(byteCount) bytes passes the limit of \(limit)"
    case .malformed(let peer, let fault): "\(peer): \(fault)"
    }
  }
}

extension FrameFault: CustomStringConvertible {
  public var description: String {
    switch self {
    case .truncated(let byteCount, let expected):
      "\(byteCount) bytes where a header has \(expected)"
    case .magic(let found): "the bytes are not ours (they start with \(found))"
    case .version(let found, let supported):
      "protocol version \(found); this program speaks \(supported)"
    case .kind(let found): "unknown kind of frame \(found)"
    case .headerChecksum(let found, let computed):
      "header checksum \(found), computed \(computed)"
    case .payloadChecksum(let found, let computed):
      "payload checksum \(found), computed \(computed)"
    case .length(let byteCount, let limit): "a length of \(byteCount) bytes passes \(limit)"
    case .reserved: "a reserved bit is set"
    }
  }
}
