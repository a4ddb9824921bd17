internal import System
internal import Tensors
internal import Transport

/// Where the payload of the frame being received goes.
enum IncomingTarget {
  /// No payload: a header is awaited.
  case header
  case floats(SharedRows<Float>)
  case words(SharedRows<UInt64>)
  /// The payload's address in the peer's memory, from where it is copied to these rows.
  case lent(SharedRows<Float>)
  /// A frame of an earlier view, or of a peer in doubt: so many bytes are read and forgotten.
  case discard(byteCount: Int)
}

/// Why a frame whose header is here may not be read yet. Its sender is not to blame.
enum Pause {
  /// Its slot is taken by a piece that waits for a slower rank.
  case slots
  /// It belongs to an exchange that has not begun here.
  case round
  /// Nobody has said where this state goes.
  case state
}

/// What the payload of the frame being sent is.
enum OutgoingPayload {
  case none
  case floats(SharedRows<Float>)
  case words(SharedRows<UInt64>)
}

/// A run of windows on its way to or from a peer, piece after piece.
struct StateCursor {
  let windows: [SharedRows<Float>]
  var window = 0
  var start = 0
  var ordinal: UInt32 = 0

  init(_ windows: [SharedRows<Float>]) {
    self.windows = windows
    skipEmpty()
  }

  var isDone: Bool { window == windows.count }

  /// The next piece, at most `countMax` elements.
  func part(countMax: Int) -> SharedRows<Float> {
    let rows = windows[window]
    return rows[start..<min(start + countMax, rows.count)]
  }

  mutating func advance(by count: Int) {
    start += count
    ordinal &+= 1
    if start == windows[window].count {
      window += 1
      start = 0
      skipEmpty()
    }
  }

  private mutating func skipEmpty() {
    while window < windows.count && windows[window].count == 0 { window += 1 }
  }
}

/// Everything the exchange's thread knows about one peer. Only that thread touches it.
final class PeerLink {
  let rank: Int
  let connection: Connection
  /// The peer's memory, where this rank can read it.
  let memory: ProcessMemory?

  // Receiving.
  let header = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
  var headerFilled = 0
  var incoming: FrameHeader?
  var target = IncomingTarget.header
  var payloadFilled = 0
  var checksum: UInt32 = 0
  var pause: Pause?
  var lastHeard: Int64
  /// The peer said goodbye: its end is no loss.
  var isLeaving = false
  /// Nothing more will come.
  var hasEnded = false
  /// What is wrong with something lent, unless the peer turns out to have given up until then.
  var doubt: (error: ExchangeError, until: Int64)?

  // Sending.
  let outgoingHeader = AlignedStorage<UInt64>(count: FrameHeader.wordCount, filledWith: 0).rows
  var outgoing: FrameKind?
  var payload = OutgoingPayload.none
  var outgoingByteCount = 0
  var sentByteCount = 0
  /// The kernel's buffer is full; poll says when it is not.
  var isBlocked = false
  /// Sending failed. The end of the receiving direction, which follows, says how.
  var isBroken = false
  var lastSent: Int64

  // Lending.
  /// The peer has said that it can read this rank's memory.
  var canBorrow = false
  var hasSaidBorrows = false
  /// Where the payload of the frame at hand lies in its sender's memory, in either direction.
  let incomingAddress = AlignedStorage<UInt64>(count: 1, filledWith: 0).rows
  let outgoingAddress = AlignedStorage<UInt64>(count: 1, filledWith: 0).rows
  /// Of the frame being sent.
  var lentByteCount = 0

  // What this round still owes, in either direction.
  var nodeCount = 0
  var firstInput = 0
  var receivedPiece = 0
  var receivedNode = 0
  var receivedSums = 0
  var hasStatistics = false
  var statisticsWords = AlignedStorage<UInt64>(count: 1, filledWith: 0).rows
  var sentPiece = 0
  var sentNode = 0
  var sentSums = 0
  var hasSentStatistics = false
  var hasLentSums = false
  var hasReturned = false
  var hasBorrowedSums = false
  var hasSentReturn = false

  // State transfers.
  var statesToSend: [StateCursor] = []
  var stateToReceive: StateCursor?

  init(rank: Int, connection: Connection, memory: ProcessMemory?) {
    self.rank = rank
    self.connection = connection
    self.memory = memory
    lastHeard = Clock.monotonicNanoseconds
    lastSent = lastHeard
  }

  /// Sends on: the rest of the current frame, as much as the kernel takes.
  ///
  /// - Returns: The bytes taken; nil when the kernel takes none now.
  func push() throws(SystemError) -> Int? {
    let progress = try outgoingHeader.withBytes { (header) throws(SystemError) in
      switch payload {
      case .none:
        return try connection.socket.send(header, RawSpan(), from: sentByteCount)
      case .floats(let rows):
        return try rows.withBytes { (body) throws(SystemError) in
          try connection.socket.send(header, body, from: sentByteCount)
        }
      case .words(let rows):
        return try rows.withBytes { (body) throws(SystemError) in
          try connection.socket.send(header, body, from: sentByteCount)
        }
      }
    }
    guard case .moved(let count) = progress else { return nil }
    sentByteCount += count
    return count
  }

  /// Receives on: the rest of the payload and, in the same call, the header after it.
  func pull(scratch: SharedRows<UInt64>) throws(SystemError) -> SocketProgress {
    switch target {
    case .header: return try pullHeader()
    case .floats(let rows): return try pull(into: rows)
    case .words(let rows): return try pull(into: rows)
    case .lent: return try pull(into: incomingAddress)
    case .discard(let byteCount):
      let rest = byteCount - payloadFilled
      let words = scratch[0..<min(scratch.count, (rest + 7) / 8)]
      return try words.withMutableBytes { (all) throws(SystemError) in
        var nothing = MutableRawSpan()
        // The scratch is whole words: start so far into it that no byte of the next header fits.
        let offset = max(0, all.byteCount - rest)
        let progress = try connection.socket.receive(into: &all, from: offset, then: &nothing)
        if case .moved(let count) = progress { payloadFilled += count }
        return progress
      }
    }
  }

  private func pullHeader() throws(SystemError) -> SocketProgress {
    try header.withMutableBytes { (bytes) throws(SystemError) in
      var nothing = MutableRawSpan()
      let progress = try connection.socket.receive(
        into: &bytes, from: headerFilled, then: &nothing)
      if case .moved(let count) = progress { headerFilled += count }
      return progress
    }
  }

  private func pull<Element: BitwiseCopyable>(
    into rows: SharedRows<Element>
  ) throws(SystemError) -> SocketProgress {
    let byteCount = rows.count * MemoryLayout<Element>.stride
    let start = payloadFilled
    let progress = try rows.withMutableBytes { (body) throws(SystemError) in
      try header.withMutableBytes { (header) throws(SystemError) in
        try connection.socket.receive(into: &body, from: start, then: &header)
      }
    }
    guard case .moved(let count) = progress else { return progress }
    payloadFilled = min(start + count, byteCount)
    headerFilled = start + count - payloadFilled
    // While the bytes are still in the cache.
    checksum = rows.withBytes {
      CRC32C.checksum($0.extracting(start..<payloadFilled), seed: checksum)
    }
    return progress
  }

  /// Copies a payload from the peer's memory, where it says that it lies.
  func borrow(into rows: SharedRows<Float>) throws(SystemError) {
    guard let memory else { preconditionFailure("nothing is borrowed from rank \(rank)") }
    let address = UInt64(littleEndian: incomingAddress[0])
    try rows.withMutableBytes { (bytes) throws(SystemError) in
      try memory.read(at: address, into: &bytes)
    }
    checksum = rows.withBytes { CRC32C.checksum($0) }
  }

  /// Whether all bytes that the target waits for are here.
  var isTargetFull: Bool {
    switch target {
    case .header: headerFilled == FrameHeader.byteCount
    case .floats(let rows): payloadFilled == rows.count * MemoryLayout<Float>.stride
    case .words(let rows): payloadFilled == rows.count * MemoryLayout<UInt64>.stride
    case .lent: payloadFilled == FrameHeader.addressByteCount
    case .discard(let byteCount): payloadFilled == byteCount
    }
  }
}
