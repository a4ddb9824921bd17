/// How an exchange behaves. All ranks of a view use equal values of the first two.
public struct ExchangeOptions: Equatable, Sendable {
  /// The longest run of elements that travels as one frame and is summed at once.
  ///
  /// 256 KiB: a received piece is summed and sent on before it leaves a 1 MiB second-level cache,
  /// and the header is 0.02 % of the bytes. Gives the best bandwidth of 64 KiB ... 1 MiB here.
  public var pieceCountMax = 1 << 16
  /// Memory for pieces that wait for other ranks' pieces; what does not fit waits in the sender.
  public var slotByteCount = 8 << 20
  /// A peer that shows no sign of life for so long is given up. Live peers send one at least four
  /// times in this time, whatever their compute threads are doing.
  public var silenceLimit: Duration = .seconds(20)
  /// How long something lent that is wrong may turn out to be the last of a peer that gave up.
  public var doubtLimit: Duration = .seconds(1)
  /// How long ``GradientExchange/wait(atMost:)`` may block in all while every peer lives.
  public var waitLimit: Duration = .seconds(600)

  public init() {}
}

/// What an exchange has cost so far.
public struct ExchangeFigures: Equatable, Sendable {
  /// Headers included, and what was lent.
  public var bytesSent: Int64 = 0
  /// Of those sent, what peers on this machine copied from this process's memory.
  public var bytesLent: Int64 = 0
  public var bytesReceived: Int64 = 0
  /// Time during which the caller stood still in ``GradientExchange/wait(atMost:)``.
  public var exposedSeconds: Double = 0
  /// Time between the first ready bucket and the end of an exchange that the caller spent
  /// computing.
  public var hiddenSeconds: Double = 0
  /// Frames of an earlier view, dropped.
  public var staleFrameCount = 0

  public init() {}
}
