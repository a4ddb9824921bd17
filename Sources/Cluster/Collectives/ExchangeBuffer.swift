public import Tensors

/// A gradient as the exchange sees it: windows one after the other (flat part, look-up part).
///
/// Elements are counted through all windows; buckets are ranges of that count.
public struct ExchangeBuffer: Sendable {
  public let windows: [SharedRows<Float>]

  public init(_ windows: [SharedRows<Float>]) { self.windows = windows }

  public var count: Int { windows.reduce(0) { $0 + $1.count } }

  /// The elements of one piece.
  func part(_ piece: Piece) -> SharedRows<Float> { windows[piece.window][piece.range] }
}
