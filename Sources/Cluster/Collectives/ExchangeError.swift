public import Transport

/// Why an exchange was given up. Every case but the last names the rank that caused it.
public enum ExchangeError: Error, Equatable, Sendable {
  /// The connection died, or its process left while it was needed.
  case peerLost(rank: Int)
  /// Not a byte came for `limit`, though the peer should have shown that it lives.
  case peerSilent(rank: Int, limit: Duration)
  /// All peers live, yet the exchange did not end within `limit`; `rank` still owes something.
  case stalled(rank: Int, limit: Duration)
  /// The peer's bytes are damaged, or are not ours.
  case corrupted(rank: Int, FrameFault)
  /// A sound frame, but not the one whose turn it is.
  case unexpectedFrame(rank: Int, field: FrameField, expected: UInt64, found: UInt64)
  /// Rank `by` gave the exchange up first; it blames `lostRank`, if anyone.
  case abandoned(by: Int, lostRank: Int?)
  /// The system refused a call on the connection to `rank`, with `errno`.
  case failed(rank: Int, operation: String, code: Int32)
  /// ``GradientExchange/abort()`` or ``GradientExchange/close()`` was called here.
  case aborted

  /// The rank that is gone, silent or damaged, as far as this rank can tell.
  public var suspect: Int? {
    switch self {
    case .peerLost(let rank), .peerSilent(let rank, _), .stalled(let rank, _),
      .corrupted(let rank, _), .unexpectedFrame(let rank, _, _, _), .failed(let rank, _, _):
      rank
    case .abandoned(_, let lostRank): lostRank
    case .aborted: nil
    }
  }
}

/// A field of a frame's header that differed from what was expected.
public enum FrameField: String, Equatable, Sendable {
  case kind, run, view, round, step, bucket, segment, node, piece, length, lent, statistics
}

extension ExchangeError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .peerLost(let rank): "rank \(rank) is gone"
    case .peerSilent(let rank, let limit): "rank \(rank) sent nothing for \(limit)"
    case .stalled(let rank, let limit):
      "the exchange did not end within \(limit); rank \(rank) owes a part"
    case .corrupted(let rank, let fault): "bytes of rank \(rank): \(fault)"
    case .unexpectedFrame(let rank, let field, let expected, let found):
      "frame of rank \(rank): \(field.rawValue) is \(found), expected \(expected)"
    case .abandoned(let by, let lostRank):
      "rank \(by) gave the exchange up" + (lostRank.map { " (rank \($0))" } ?? "")
    case .failed(let rank, let operation, let code):
      "\(operation) rank \(rank): error \(code)"
    case .aborted: "the exchange was aborted here"
    }
  }
}
