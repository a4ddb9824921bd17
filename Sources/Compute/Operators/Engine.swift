internal import CKernels
public import System
public import Tensors

/// The kernels of one variant, run by one team, at one precision.
///
/// An operator returns when every member has done its part. Operators are not reentrant.
@safe
public final class Engine: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): every stored property is a constant.
  public let team: ThreadTeam
  public let variant: KernelVariant
  public let precision: Precision

  /// How packed operands of this engine's products lie in memory.
  public let form: OperandForm

  /// The BLAS that computes products; nil: our tiles do.
  let blas: EngineBlas?
  let tiles: ck_tile_kernels
  /// What products work in, for every member; nil where they need nothing.
  private let productSpace: SharedRows<UInt8>?
  let packers: ck_pack_kernels
  let stores: ck_store_kernels
  let fused: ck_fused_kernels
  let heads: ck_head_kernels
  let rowKernels: ck_rows_kernels
  let attentionKernels: ck_attention_kernels
  /// Told of every dispatch; nil: nobody asks where the time goes.
  public let times: OperatorTimes?
  /// What is computed operator by operator, for comparison; empty in every run.
  public let apart: Set<Fusion>
  let apartMemory = ApartMemory()

  public init(
    team: ThreadTeam, variant: KernelVariant = .best, precision: Precision = .bf16,
    matmul: MatmulBackend = .builtin, times: OperatorTimes? = nil, apart: Set<Fusion> = []
  ) {
    let form = matmul.form(for: variant, precision)
    guard let tiles = unsafe ck_tile_named(variant.name),
      let packers = unsafe Self.packers(of: variant, for: form.layout),
      let stores = unsafe ck_store_named(variant.name),
      let fused = unsafe ck_fused_named(variant.name),
      let heads = unsafe ck_head_named(variant.name),
      let rowKernels = unsafe ck_rows_named(variant.name),
      let attentionKernels = unsafe ck_attention_named(variant.name)
    else { preconditionFailure("kernels of variant \(variant) are missing in this build") }
    self.team = team
    self.variant = variant
    self.precision = precision
    self.times = times
    self.apart = apart
    self.form = form
    blas = matmul.library.map {
      EngineBlas($0, takesOperandType: form.layout == .plain, memberCount: team.memberCount)
    }
    unsafe self.tiles = tiles.pointee
    let spaceByteCount = unsafe ck_matmul_space_bytes(tiles) * team.memberCount
    productSpace =
      precision == .bf16 && spaceByteCount > 0
      ? AlignedStorage(count: spaceByteCount, filledWith: 0).rows : nil
    unsafe self.packers = packers.pointee
    unsafe self.stores = stores.pointee
    unsafe self.fused = fused.pointee
    unsafe self.heads = heads.pointee
    unsafe self.rowKernels = rowKernels.pointee
    unsafe self.attentionKernels = attentionKernels.pointee
  }

  private static func packers(
    of variant: KernelVariant, for layout: OperandForm.Layout
  ) -> UnsafePointer<ck_pack_kernels>? {
    switch layout {
    case .panels: unsafe ck_pack_named(variant.name)
    case .plain: unsafe ck_plain_named(variant.name)
    case .widened: unsafe ck_widened_named(variant.name)
    }
  }

  /// The numeric profile of a run: results are exact within one (``KernelVariant/profile``).
  /// In f32 every variant adds in one order, hence one profile. A BLAS has its own, to which the
  /// profile of our kernels is added, since attention stays theirs.
  public var profile: String {
    let ours = precision == .f32 ? "f32" : variant.profile
    return blas.map { "\($0.library.profile)+\(ours)" } ?? ours
  }

  /// The tile of this precision.
  var tile: ck_tile { unsafe precision == .f32 ? tiles.f32 : tiles.bf16 }

  /// As kernels ask for it.
  var isFloat: Int32 { precision == .f32 ? 1 : 0 }

  /// Runs `kernel`, which takes a pointer to `Arguments`, on every member.
  ///
  /// - Parameter byteCount: What it reads and writes, each operand once.
  func run<Arguments>(
    _ kernel: ck_job, _ arguments: Arguments, _ part: OperatorPart, moving byteCount: Int
  ) {
    unsafe dispatch(
      KernelJob(arguments: arguments, function: kernel), part, moving: byteCount)
  }

  /// Runs one product, by our tiles or by the BLAS: the one place that knows which.
  ///
  /// - Parameters:
  ///   - right: What `product.b` points to.
  ///   - byteCount: What the epilogue reads and writes.
  func runProduct(
    _ product: ck_matmul_args, _ right: RightOperand, _ part: OperatorPart, moving byteCount: Int
  ) {
    let rows = unsafe product.row_count * product.k_count * precision.byteCount
    let bytes = rows + right.storage.byteCount + byteCount
    guard let blas else {
      var product = unsafe product
      unsafe product.space = productSpace.map {
        unsafe UnsafeMutableRawPointer($0.baseAddress).assumingMemoryBound(to: CChar.self)
      }
      return unsafe run(ck_matmul, product, part, moving: bytes)
    }
    unsafe run(ck_blas_matmul, blas.arguments(product, right), part, moving: bytes)
  }

  /// Runs `job` on every member.
  func dispatch<Job: TeamJob>(_ job: Job, _ part: OperatorPart, moving byteCount: Int) {
    guard let times else { return team.run(job) }
    let start = Clock.monotonicSeconds
    team.run(job)
    times.add(part, seconds: Clock.monotonicSeconds - start, byteCount: byteCount)
  }
}
