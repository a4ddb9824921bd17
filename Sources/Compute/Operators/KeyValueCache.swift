internal import CKernels
public import Tensors

/// The keys and values that one stream of a generation has seen in one layer.
///
/// They are stored packed, in the tiles of 64 tokens that the training forward makes of them, so
/// that a generated token has the bits it would have in training. Memory doubles as the stream
/// grows; a reset keeps it.
@safe
public final class KeyValueCache {
  public let shape: AttentionShape
  public let precision: Precision
  /// Tokens seen so far.
  public private(set) var tokenCount = 0
  /// `[tile][G][K panel, V panels]`.
  private var tiles: SharedRows<UInt8>

  static let tokensPerTile = 64

  /// - Parameter tokenCapacity: Tokens to make room for at first.
  public init(shape: AttentionShape, precision: Precision, tokenCapacity: Int = 64) {
    precondition(tokenCapacity > 0, "a cache has room for a token, not for \(tokenCapacity)")
    self.shape = shape
    self.precision = precision
    let tileCount = (tokenCapacity + Self.tokensPerTile - 1) / Self.tokensPerTile
    tiles =
      AlignedStorage(
        count: tileCount * Self.tileByteCount(shape, precision), filledWith: 0
      ).rows
  }

  public var byteCount: Int { tiles.count }

  /// Of the tiles that hold tokens.
  var filledByteCount: Int {
    let tileCount = (tokenCount + Self.tokensPerTile - 1) / Self.tokensPerTile
    return tileCount * Self.tileByteCount(shape, precision)
  }

  /// Tokens it has room for before it grows.
  public var tokenCapacity: Int {
    tiles.count / Self.tileByteCount(shape, precision) * Self.tokensPerTile
  }

  /// Forgets the tokens from `count` on.
  public func truncate(to count: Int) {
    precondition(count >= 0 && count <= tokenCount, "\(count) is outside 0...\(tokenCount)")
    tokenCount = count
  }

  /// Makes room for `count` more tokens, which the caller's kernel writes, and counts them.
  func append(_ count: Int) {
    let needed = tokenCount + count
    if needed > tokenCapacity {
      let capacity = max(needed, 2 * tokenCapacity)
      let tileCount = (capacity + Self.tokensPerTile - 1) / Self.tokensPerTile
      let larger = AlignedStorage<UInt8>(
        count: tileCount * Self.tileByteCount(shape, precision), filledWith: 0
      ).rows
      larger[0..<tiles.count].copy(from: tiles)
      tiles = larger
    }
    tokenCount = needed
  }

  /// The address of tile 0, valid until the cache grows.
  @unsafe
  var baseAddress: UnsafeMutablePointer<CChar> {
    // SAFETY: the kernels see plain bytes; all of them were initialized.
    unsafe UnsafeMutableRawPointer(tiles.baseAddress).assumingMemoryBound(to: CChar.self)
  }

  private static func tileByteCount(_ shape: AttentionShape, _ precision: Precision) -> Int {
    shape.keyValueHeadCount
      * ck_attention_tile_bytes(precision == .f32 ? 1 : 0, shape.headWidth)
  }
}
