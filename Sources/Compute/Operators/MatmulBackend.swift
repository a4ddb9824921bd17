internal import CKernels
public import Tensors

/// What computes the dense products of an engine. Attention, norms and epilogues are always ours.
public enum MatmulBackend: Sendable {
  case builtin
  case blas(BlasLibrary)

  public var isBuiltin: Bool { library == nil }

  var library: BlasLibrary? {
    switch self {
    case .builtin: nil
    case .blas(let library): library
    }
  }

  func form(for variant: KernelVariant, _ precision: Precision) -> OperandForm {
    guard let library else { return .panels(precision) }
    let isPlain = precision == .f32 || library.routine(for: variant) == .sbgemm
    return OperandForm(precision: precision, layout: isPlain ? .plain : .widened)
  }

  /// A backend and the sentence that says which and why.
  public struct Decision: Sendable {
    public let backend: MatmulBackend
    public let reason: String
  }

  /// Follows a person's choice. `auto` is a rule, not a measurement: a measured choice could differ
  /// between equal machines, whose results then would, too.
  ///
  /// - Throws: Why there is no BLAS to use, where one was asked for.
  public static func decide(
    _ choice: MatmulChoice, variant: KernelVariant
  ) throws(BlasError) -> Decision {
    switch choice {
    case .builtin:
      return Decision(backend: .builtin, reason: "builtin, \(variant) kernels")
    case .blas:
      return try blas(variant, "asked for")
    case .auto where variant.name != "scalar":
      return Decision(
        backend: .builtin, reason: "builtin (auto: this processor runs our \(variant) kernels)")
    case .auto:
      do {
        return try blas(variant, "auto: scalar kernels are slow")
      } catch {
        return Decision(backend: .builtin, reason: "builtin (auto: \(error))")
      }
    }
  }

  private static func blas(
    _ variant: KernelVariant, _ why: String
  ) throws(BlasError) -> Decision {
    let library = try BlasLibrary.shared.get()
    let routine = library.routine(for: variant)
    return Decision(
      backend: .blas(library), reason: "blas, \(library), \(routine.rawValue) (\(why))")
  }
}

/// A BLAS in an engine: its functions, and memory for each member.
@safe
struct EngineBlas {
  let library: BlasLibrary
  private let sbgemm: ck_sbgemm?
  private let scratch: SharedRows<Float>

  /// - Parameter takesOperandType: bf16 operands go to it as they are.
  init(_ library: BlasLibrary, takesOperandType: Bool, memberCount: Int) {
    self.library = library
    unsafe sbgemm = takesOperandType ? library.sbgemm : nil
    scratch = AlignedStorage(
      count: memberCount * CK_BLAS_SCRATCH_FLOATS, filledWith: 0
    ).rows
  }

  func arguments(_ product: ck_matmul_args, _ right: RightOperand) -> ck_blas_args {
    unsafe ck_blas_args(
      product: product, sgemm: library.sgemm, sbgemm: sbgemm,
      b_is_transposed: right.isTransposed ? 1 : 0, b_stride: right.stride,
      scratch: scratch.baseAddress)
  }
}
