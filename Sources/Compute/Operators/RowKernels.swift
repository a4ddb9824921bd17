internal import CKernels
internal import Tensors

extension Engine {
  /// The row operators of this engine's variant.
  var rowKernels: ck_rows_kernels {
    // SAFETY: the table is a C constant; it lives as long as the program.
    guard let kernels = unsafe ck_rows_named(variant.name) else {
      preconditionFailure("variant \(variant.name) has no row operators")
    }
    return unsafe kernels.pointee
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
