internal import CKernels
public import Tensors

/// Which elements of a tensor a dropout keeps, as a function of a random stream.
///
/// Element `e` is kept if and only if `stream.uniform(at: firstIndex + e) >= rate`; kept elements
/// are scaled by `1 / (1 - rate)`, the others become 0. Forward and backward draw the same mask,
/// so none is stored.
///
/// - Source: Srivastava et al. 2014, "Dropout", inverted scaling.
public struct DropoutMask: Equatable, Sendable {
  /// Share of the elements that become 0, `0 ..< 1`.
  public let rate: Float
  public let stream: RandomStream
  /// The draw of element 0.
  public let firstIndex: UInt64

  public init(rate: Float, stream: RandomStream, firstIndex: UInt64 = 0) {
    precondition(rate >= 0 && rate < 1, "dropout rate \(rate) is outside 0..<1")
    self.rate = rate
    self.stream = stream
    self.firstIndex = firstIndex
  }
}

extension DropoutMask? {
  /// The mask as kernels compare it: the draw is a whole number `n < 2^24` over `2^24`, and
  /// `n * 2^-24 >= rate` exactly when `n >= ceil(rate * 2^24)`. Threshold 0 is no dropout.
  var kernelMask: ck_dropout {
    guard let mask = self else { return ck_dropout() }
    return ck_dropout(
      key0: mask.stream.key0, key1: mask.stream.key1, first_index: mask.firstIndex,
      threshold: UInt32((mask.rate * 0x1p24).rounded(.up)), scale: 1 / (1 - mask.rate))
  }
}
