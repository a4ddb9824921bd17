internal import CKernels
public import Tensors

/// Which elements a dropout keeps: a function of a random stream, never stored.
///
/// Element `e` is kept iff `stream.uniform(at: firstIndex + e) >= rate`, and then scaled by
/// `1 / (1 - rate)`.
public struct DropoutMask: Equatable, Sendable {
  public let rate: Float
  public let stream: RandomStream
  /// The draw of element 0.
  public let firstIndex: UInt64

  public init(rate: Float, stream: RandomStream, firstIndex: UInt64) {
    precondition(rate >= 0 && rate < 1, "dropout rate \(rate) is outside 0..<1")
    self.rate = rate
    self.stream = stream
    self.firstIndex = firstIndex
  }

  /// The mask of the elements from `count` on.
  public func advanced(by count: Int) -> DropoutMask {
    DropoutMask(rate: rate, stream: stream, firstIndex: firstIndex + UInt64(count))
  }

  var kernelArguments: ck_dropout {
    // A draw is n / 2^24, so n >= ceil(rate * 2^24) decides as the floats do; the product is exact.
    ck_dropout(
      key0: stream.key0, key1: stream.key1, first_index: firstIndex,
      threshold: UInt32((rate * 0x1p24).rounded(.up)), scale: 1 / (1 - rate))
  }
}
