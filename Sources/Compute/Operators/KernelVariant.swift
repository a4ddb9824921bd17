internal import CKernels
internal import Tensors

/// One instruction set that the kernels were compiled for and that this processor runs.
public struct KernelVariant: Equatable, Sendable, CustomStringConvertible {
  /// `avx512bf16`, `avx512`, `avx2`, `neon` or `scalar`.
  public let name: String

  private init(unchecked name: String) { self.name = name }

  /// The variant of that name, or nil where this processor lacks it.
  public init?(named name: String) {
    guard let found = Self.available.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// Fastest first; `scalar` is always the last.
  ///
  /// `vdpbf16ps` does the work of two FMAs. Where it issues as often as they do (Zen 4) it is
  /// the best there is; where it issues every other cycle and FMAs twice a cycle (Sapphire Rapids)
  /// it does half of their work. So the two are timed, once, for some milliseconds. The order
  /// chooses the numeric profile of a run that nobody chose one for, so only a plain difference
  /// counts: see ``isFaster(_:than:rate:)``.
  public static let available: [KernelVariant] = {
    var found: [KernelVariant] = []
    while let name = unsafe ck_variant_name(found.count) {
      found.append(KernelVariant(unchecked: unsafe String(cString: name)))
    }
    guard found.count > 1, found[0].profile != found[1].profile else { return found }
    let isSecondFaster = isFaster(found[1], than: found[0]) {
      Engine.peakGigaflops(variant: $0, precision: .bf16, seconds: 0.002)
    }
    if isSecondFaster { found.swapAt(0, 1) }
    return found
  }()

  /// Whether `challenger` does at least 1.4 times the work of `holder`, by the best of four samples
  /// of each in turn. Known processors differ by a factor of 2, this way or that; what a busy
  /// neighbour takes from a few samples must not change the order.
  package static func isFaster(
    _ challenger: KernelVariant, than holder: KernelVariant, rate: (KernelVariant) -> Double
  ) -> Bool {
    var (ours, theirs) = (0.0, 0.0)
    for _ in 0..<4 {
      ours = max(ours, rate(challenger))
      theirs = max(theirs, rate(holder))
    }
    return ours >= 1.4 * theirs
  }

  /// The fastest one here.
  public static var best: KernelVariant { available[0] }

  /// The fastest one of each profile, fastest first.
  public static var bestOfEachProfile: [KernelVariant] {
    available.reduce(into: []) { found, variant in
      if !found.contains(where: { $0.profile == variant.profile }) { found.append(variant) }
    }
  }

  /// How bf16 products round: `avx512bf16` adds pairs in hardware; all others are `portable` and
  /// give the same bits as one another.
  public var profile: String { name == "avx512bf16" ? name : "portable" }

  public var description: String { name }
}
