internal import System

/// What a BLAS calls itself, in words that a numeric profile may hold.
struct BlasIdentity: Equatable, CustomStringConvertible {
  let name: String
  let version: String
  /// The processor its kernels were written for.
  let core: String

  init(name: String, version: String, core: String) {
    self.name = Self.word(name)
    self.version = Self.word(version)
    self.core = Self.word(core)
  }

  var description: String { "\(name) \(version) with kernels for \(core)" }

  /// Whether its kernels use bf16 dot products.
  var hasBf16Kernels: Bool { ["cooperlake", "sapphirerapids"].contains(core) }

  /// OpenBLAS takes its oldest kernels for a processor that is newer than itself.
  var remark: String? {
    ["prescott", "generic"].contains(core)
      ? "old ones: it does not know this processor, a newer version may" : nil
  }

  /// Lower case, without what separates the parts of a profile.
  private static func word(_ text: String) -> String {
    let plain = text.lowercased().map { character in
      character.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
        ? character : "-"
    }
    return plain.isEmpty ? "unknown" : String(plain)
  }
}

/// The functions by which libraries tell about themselves. Each library has its own; what is
/// missing is unknown.
struct BlasSymbols {
  let library: DynamicLibrary

  private typealias Text = @convention(c) () -> UnsafePointer<CChar>?
  private typealias Number = @convention(c) () -> Int32
  private typealias TextOfNumber = @convention(c) (Int32) -> UnsafePointer<CChar>?
  private typealias FillText = @convention(c) (UnsafeMutablePointer<CChar>, Int32) -> Void
  private typealias TakeNumber = @convention(c) (Int32) -> Void
  private typealias TakeLong = @convention(c) (Int) -> Void

  /// After the environment, which a library may have read earlier.
  func turnThreadsOff() {
    for name in ["openblas_set_num_threads", "MKL_Set_Num_Threads"] {
      guard let set = unsafe library.symbol(name) else { continue }
      unsafe unsafeBitCast(set, to: TakeNumber.self)(1)
    }
    if let set = unsafe library.symbol("bli_thread_set_num_threads") {
      unsafe unsafeBitCast(set, to: TakeLong.self)(1)
    }
  }

  /// Whether several threads may call it at once: not an OpenBLAS for one thread without locks.
  var isReentrant: Bool {
    guard let words = openBlasWords else { return true }
    return !words.contains("SINGLE_THREADED") || words.contains("USE_LOCKING")
  }

  var identity: BlasIdentity {
    if let words = openBlasWords {
      return BlasIdentity(
        name: "openblas", version: words.dropFirst().first ?? "",
        core: text("openblas_get_corename") ?? "")
    }
    if let version = text("bli_info_get_version_str") {
      return BlasIdentity(name: "blis", version: version, core: blisCore ?? "")
    }
    if let version = mklVersion {
      return BlasIdentity(
        name: "mkl", version: version,
        core: number("MKL_CBWR_Get_Auto_Branch").map { "branch-\($0)" } ?? "")
    }
    return BlasIdentity(name: "cblas", version: "", core: "")
  }

  /// `OpenBLAS 0.3.21 DYNAMIC_ARCH ...`
  private var openBlasWords: [String]? {
    text("openblas_get_config")?.split(separator: " ").map(String.init)
  }

  private var blisCore: String? {
    guard let core = number("bli_arch_query_id"),
      let name = unsafe library.symbol("bli_arch_string")
    else { return nil }
    return unsafe unsafeBitCast(name, to: TextOfNumber.self)(core).map {
      unsafe String(cString: $0)
    }
  }

  /// The first word that begins with a digit of a sentence about the product.
  private var mklVersion: String? {
    guard let fill = unsafe library.symbol("MKL_Get_Version_String") else { return nil }
    var buffer = [CChar](repeating: 0, count: 256)
    unsafe unsafeBitCast(fill, to: FillText.self)(&buffer, Int32(buffer.count - 1))
    let sentence = String(
      decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    return sentence.split(separator: " ").first { $0.first?.isNumber == true }.map(String.init)
  }

  private func text(_ symbol: String) -> String? {
    guard let function = unsafe library.symbol(symbol) else { return nil }
    return unsafe unsafeBitCast(function, to: Text.self)().map { unsafe String(cString: $0) }
  }

  private func number(_ symbol: String) -> Int32? {
    guard let function = unsafe library.symbol(symbol) else { return nil }
    return unsafe unsafeBitCast(function, to: Number.self)()
  }
}
