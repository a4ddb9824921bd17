internal import CKernels

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

  /// Best first; `scalar` is always the last.
  public static let available: [KernelVariant] = {
    var found: [KernelVariant] = []
    while let name = unsafe ck_variant_name(found.count) {
      found.append(KernelVariant(unchecked: unsafe String(cString: name)))
    }
    return found
  }()

  /// The fastest one here.
  public static var best: KernelVariant { available[0] }

  /// How bf16 products round: `avx512bf16` adds pairs in hardware; all others are `portable` and
  /// give the same bits as one another.
  public var profile: String { name == "avx512bf16" ? name : "portable" }

  public var description: String { name }
}
