internal import CKernels
package import System

/// Why products cannot go through a BLAS here.
public enum BlasError: Error, Equatable, Sendable {
  case noLibrary
  /// Built for one thread only: two threads must not call it at the same time.
  case notReentrant(library: String)
  case crashed(library: String, product: String, signal: Int32)
  case hung(library: String, product: String)
  case wrong(library: String, product: String)
}

extension BlasError: CustomStringConvertible {
  public var description: String {
    let cure = "take another version, or --matmul builtin"
    return switch self {
    case .noLibrary: "no CBLAS on this system: apt-get install libopenblas0"
    case .notReentrant(let library):
      "\(library) may not be called from several threads: apt-get install libopenblas0-pthread"
    case .crashed(let library, let product, let signal):
      "\(library) crashed (signal \(signal)) in a trial \(product): \(cure)"
    case .hung(let library, let product): "\(library) hung in a trial \(product): \(cure)"
    case .wrong(let library, let product):
      "\(library) computed wrong numbers in a trial \(product): \(cure)"
    }
  }
}

/// A CBLAS of the system: found at run time, its own threads off, tried before it is used.
@safe
public final class BlasLibrary: @unchecked Sendable, CustomStringConvertible {
  // SAFETY (@unchecked Sendable): constants; a library that threads must not share is refused.
  package typealias SingleGemm = @convention(c) (
    Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32,
    UnsafePointer<Float>, Int32, Float, UnsafeMutablePointer<Float>, Int32
  ) -> Void
  package typealias HalfGemm = @convention(c) (
    Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<UInt16>, Int32,
    UnsafePointer<UInt16>, Int32, Float, UnsafeMutablePointer<Float>, Int32
  ) -> Void

  /// The function of a library that multiplies bf16 operands.
  public enum Routine: String, Sendable {
    /// On operands widened to f32: every product exact, sums in f32.
    case sgemm
    /// On bf16, by the library's kernels for a processor with bf16 dot products.
    case sbgemm
  }

  let identity: BlasIdentity
  let sgemm: SingleGemm
  /// nil: lacking, not worth it, or not sound.
  let sbgemm: HalfGemm?
  /// What is odd about it, for the log.
  private let remark: String?
  private let library: DynamicLibrary?

  /// Takes functions that pass the trial.
  ///
  /// - Throws: What `sgemm` does wrong. An unsound `sbgemm` is left out.
  package init(
    name: String, version: String, core: String, sgemm: SingleGemm, sbgemm: HalfGemm?,
    library: DynamicLibrary? = nil
  ) throws(BlasError) {
    let identity = BlasIdentity(name: name, version: version, core: core)
    let trial = unsafe BlasTrial(library: identity.description, sgemm: sgemm)
    if let fault = trial.fault() { throw fault }
    self.identity = identity
    self.library = library
    unsafe self.sgemm = sgemm
    var remark: String?
    if identity.hasBf16Kernels, let sbgemm = unsafe sbgemm {
      let fault = unsafe BlasTrial(
        library: "its cblas_sbgemm", sgemm: sgemm, sbgemm: sbgemm
      ).fault()
      unsafe self.sbgemm = fault == nil ? sbgemm : nil
      remark = fault.map { "\($0)" }
    } else {
      unsafe self.sbgemm = nil
    }
    self.remark = remark ?? identity.remark
  }

  /// Of the numeric profile: `blas:<library>:<version>:<core>`.
  public var profile: String { "blas:\(identity.name):\(identity.version):\(identity.core)" }

  /// Whether it is older than this processor and knows only slow kernels for it.
  public var isOld: Bool { identity.remark != nil }

  public var description: String {
    remark.map { "\(identity) (\($0))" } ?? identity.description
  }

  /// What multiplies bf16 operands beside our kernels of this variant. Without the processor's bf16
  /// dot products sbgemm would only be a slower sgemm.
  public func routine(for variant: KernelVariant) -> Routine {
    unsafe sbgemm != nil && variant.profile == "avx512bf16" ? .sbgemm : .sgemm
  }

  /// The first one that this system has. Loaded and tried once.
  public static let shared: Result<BlasLibrary, BlasError> = {
    do throws(BlasError) {
      return .success(try load())
    } catch {
      return .failure(error)
    }
  }()

  /// Best first; the last is whatever the system's administrator chose.
  private static let names = [
    "libopenblas.so.0", "libblis.so.4", "libblis.so.3", "libmkl_rt.so.2", "libblas.so.3",
  ]

  /// Read when a library is loaded, so that it starts no threads of its own.
  private static let oneThread = [
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "BLIS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
  ]

  private static func load() throws(BlasError) -> BlasLibrary {
    for name in names {
      guard let library = DynamicLibrary([name], environment: oneThread),
        let sgemm = unsafe library.symbol("cblas_sgemm")
      else { continue }
      let symbols = BlasSymbols(library: library)
      symbols.turnThreadsOff()
      let identity = symbols.identity
      guard symbols.isReentrant else { throw .notReentrant(library: identity.description) }
      let sbgemm = unsafe library.symbol("cblas_sbgemm")
      // SAFETY: the prototypes of cblas.h; the trial that follows would not survive others.
      return try unsafe BlasLibrary(
        name: identity.name, version: identity.version, core: identity.core,
        sgemm: unsafeBitCast(sgemm, to: SingleGemm.self),
        sbgemm: sbgemm.map { unsafe unsafeBitCast($0, to: HalfGemm.self) },
        library: library)
    }
    throw .noLibrary
  }
}
