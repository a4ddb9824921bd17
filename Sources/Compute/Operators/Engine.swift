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

  let tiles: ck_tile_kernels
  let packers: ck_pack_kernels
  let stores: ck_store_kernels
  let fused: ck_fused_kernels
  let heads: ck_head_kernels
  let rowKernels: ck_rows_kernels
  let attentionKernels: ck_attention_kernels
  /// Told of every dispatch; nil: nobody asks where the time goes.
  public let times: OperatorTimes?

  public init(
    team: ThreadTeam, variant: KernelVariant = .best, precision: Precision = .bf16,
    times: OperatorTimes? = nil
  ) {
    guard let tiles = unsafe ck_tile_named(variant.name),
      let packers = unsafe ck_pack_named(variant.name),
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
    unsafe self.tiles = tiles.pointee
    unsafe self.packers = packers.pointee
    unsafe self.stores = stores.pointee
    unsafe self.fused = fused.pointee
    unsafe self.heads = heads.pointee
    unsafe self.rowKernels = rowKernels.pointee
    unsafe self.attentionKernels = attentionKernels.pointee
  }

  /// The numeric profile of a run: results are exact within one (``KernelVariant/profile``).
  /// In f32 every variant adds in one order, hence one profile.
  public var profile: String { precision == .f32 ? "f32" : variant.profile }

  /// The tile of this precision.
  var tile: ck_tile { unsafe precision == .f32 ? tiles.f32 : tiles.bf16 }

  /// As kernels ask for it.
  var isFloat: Int32 { precision == .f32 ? 1 : 0 }

  /// Runs `kernel`, which takes a pointer to `Arguments`, on every member.
  func run<Arguments>(_ kernel: ck_job, _ arguments: Arguments, _ part: OperatorPart) {
    unsafe dispatch(KernelJob(arguments: arguments, function: kernel), part)
  }

  /// Runs `job` on every member.
  func dispatch<Job: TeamJob>(_ job: Job, _ part: OperatorPart) {
    guard let times else { return team.run(job) }
    let start = Clock.monotonicSeconds
    team.run(job)
    times.add(part, seconds: Clock.monotonicSeconds - start)
  }
}
