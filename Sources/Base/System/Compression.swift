internal import Glibc

/// Why compressed bytes cannot be read.
public enum CompressionError: Error, Equatable, Sendable {
  /// The system has no such library; `package` is its name on Debian.
  case libraryMissing(library: String, package: String)
  /// The bytes are not this format, or damaged. `text` is the library's word for it.
  case damaged(format: String, byteOffset: Int, text: String)
  /// The bytes end in the middle.
  case truncated(format: String)
  /// More text than the caller is willing to hold.
  case tooLarge(byteCountMax: Int)
}

extension CompressionError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .libraryMissing(let library, let package):
      "reading it needs \(library), which this system lacks (apt-get install \(package))"
    case .damaged(let format, let offset, let text):
      "the \(format) data is damaged near byte \(offset) of the file: \(text)"
    case .truncated(let format): "the \(format) data ends too early; the file is cut off"
    case .tooLarge(let limit): "it decompresses to more than \(limit) bytes"
    }
  }
}

/// Compressed bytes to plain ones, by the system's libraries.
public enum Compression: String, CaseIterable, Sendable {
  case gzip, zstd

  /// The format that a file name's ending says, or nil.
  public init?(fileName: String) {
    if fileName.hasSuffix(".gz") {
      self = .gzip
    } else if fileName.hasSuffix(".zst") {
      self = .zstd
    } else {
      return nil
    }
  }

  /// Whether this system has the library.
  public var isAvailable: Bool {
    switch self {
    case .gzip: Zlib.shared != nil
    case .zstd: Zstandard.shared != nil
    }
  }

  /// All of the plain bytes. Several compressed parts one after the other count as one.
  ///
  /// - Parameter byteCountMax: More than this is an error before it fills the memory.
  /// - Throws: ``CompressionError``.
  public func decompress(
    _ bytes: [UInt8], byteCountMax: Int = 1 << 36
  ) throws(CompressionError) -> [UInt8] {
    switch self {
    case .gzip:
      guard let library = Zlib.shared else {
        throw .libraryMissing(library: "libz.so.1", package: "zlib1g")
      }
      return try library.inflate(bytes, byteCountMax: byteCountMax)
    case .zstd:
      guard let library = Zstandard.shared else {
        throw .libraryMissing(library: "libzstd.so.1", package: "libzstd1")
      }
      return try library.decompress(bytes, byteCountMax: byteCountMax)
    }
  }
}

/// Plain bytes that grow as they are decompressed, a block at a time.
private struct Output {
  static let blockByteCount = 1 << 20
  var bytes: [UInt8] = []
  let byteCountMax: Int

  /// Appends what `fill` writes into a block; `fill` returns how many bytes it wrote.
  mutating func append(_ fill: (UnsafeMutableRawBufferPointer) -> Int) throws(CompressionError) {
    let start = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: Self.blockByteCount))
    let count = unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe fill(UnsafeMutableRawBufferPointer(rebasing: buffer[start...]))
    }
    bytes.removeLast(Self.blockByteCount - count)
    guard bytes.count <= byteCountMax else { throw .tooLarge(byteCountMax: byteCountMax) }
  }
}

/// zlib's inflate, through the ABI of zlib 1.
@safe
private final class Zlib: Sendable {
  /// `z_stream` of zlib.h on 64-bit systems.
  @unsafe private struct Stream {
    var nextIn: UnsafePointer<UInt8>?
    var availableIn: UInt32 = 0
    var totalIn: UInt = 0
    var nextOut: UnsafeMutableRawPointer?
    var availableOut: UInt32 = 0
    var totalOut: UInt = 0
    var message: UnsafePointer<CChar>?
    var state: OpaquePointer?
    var allocate: OpaquePointer?
    var free: OpaquePointer?
    var opaque: OpaquePointer?
    var dataType: Int32 = 0
    var adler: UInt = 0
    var reserved: UInt = 0
  }
  private typealias Start = @convention(c) (
    UnsafeMutableRawPointer, Int32, UnsafePointer<CChar>, Int32
  ) -> Int32
  private typealias Step = @convention(c) (UnsafeMutableRawPointer, Int32) -> Int32
  private typealias End = @convention(c) (UnsafeMutableRawPointer) -> Int32

  static let shared = Zlib()
  private let library: DynamicLibrary
  private let start: Start
  private let step: Step
  private let reset: End
  private let end: End

  private init?() {
    guard let library = DynamicLibrary(["libz.so.1", "libz.so"]),
      let start = unsafe library.symbol("inflateInit2_"),
      let step = unsafe library.symbol("inflate"),
      let reset = unsafe library.symbol("inflateReset"),
      let end = unsafe library.symbol("inflateEnd")
    else { return nil }
    self.library = library
    // SAFETY: the prototypes of zlib.h.
    unsafe self.start = unsafe unsafeBitCast(start, to: Start.self)
    unsafe self.step = unsafe unsafeBitCast(step, to: Step.self)
    unsafe self.reset = unsafe unsafeBitCast(reset, to: End.self)
    unsafe self.end = unsafe unsafeBitCast(end, to: End.self)
  }

  func inflate(_ bytes: [UInt8], byteCountMax: Int) throws(CompressionError) -> [UInt8] {
    var output = Output(byteCountMax: byteCountMax)
    var stream = unsafe Stream()
    // 15 window bits; 16 more: a gzip header is expected.
    let code = unsafe start(&stream, 15 + 16, "1.2.11", Int32(MemoryLayout<Stream>.size))
    precondition(code == 0, "inflateInit2 returned \(code): the zlib ABI differs")
    defer { _ = unsafe end(&stream) }
    var consumed = 0
    while true {
      // zlib counts in 32 bits, so the input goes in by pieces too.
      let piece = min(bytes.count - consumed, 1 << 30)
      var status: Int32 = 0
      try unsafe output.append { target in
        unsafe bytes.withUnsafeBufferPointer { source in
          unsafe stream.nextIn = source.baseAddress.map { unsafe $0 + consumed }
          unsafe stream.availableIn = UInt32(piece)
          unsafe stream.nextOut = target.baseAddress
          unsafe stream.availableOut = UInt32(target.count)
          status = unsafe step(&stream, 0)
          consumed += piece - Int(unsafe stream.availableIn)
          return unsafe target.count - Int(stream.availableOut)
        }
      }
      switch status {
      case 0: continue
      case 1:  // the end of one member; another may follow
        if consumed == bytes.count { return output.bytes }
        _ = unsafe reset(&stream)
      case -5 where consumed == bytes.count: throw .truncated(format: "gzip")
      default:
        let text = unsafe stream.message.map { unsafe String(cString: $0) }
        throw .damaged(format: "gzip", byteOffset: consumed, text: text ?? "zlib code \(status)")
      }
    }
  }
}

/// Zstandard's streaming decoder, through the stable part of its ABI.
@safe
private final class Zstandard: Sendable {
  /// `ZSTD_inBuffer` and `ZSTD_outBuffer` of zstd.h.
  @unsafe private struct Buffer {
    var base: UnsafeMutableRawPointer?
    var size: Int
    var position: Int
  }
  private typealias Create = @convention(c) () -> OpaquePointer?
  private typealias Free = @convention(c) (OpaquePointer) -> Int
  private typealias Step = @convention(c) (
    OpaquePointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer
  ) -> Int
  private typealias IsError = @convention(c) (Int) -> UInt32
  private typealias ErrorName = @convention(c) (Int) -> UnsafePointer<CChar>

  static let shared = Zstandard()
  private let library: DynamicLibrary
  private let create: Create
  private let free: Free
  private let step: Step
  private let isError: IsError
  private let errorName: ErrorName

  private init?() {
    guard let library = DynamicLibrary(["libzstd.so.1", "libzstd.so"]),
      let create = unsafe library.symbol("ZSTD_createDStream"),
      let free = unsafe library.symbol("ZSTD_freeDStream"),
      let step = unsafe library.symbol("ZSTD_decompressStream"),
      let isError = unsafe library.symbol("ZSTD_isError"),
      let errorName = unsafe library.symbol("ZSTD_getErrorName")
    else { return nil }
    self.library = library
    // SAFETY: the prototypes of zstd.h.
    unsafe self.create = unsafe unsafeBitCast(create, to: Create.self)
    unsafe self.free = unsafe unsafeBitCast(free, to: Free.self)
    unsafe self.step = unsafe unsafeBitCast(step, to: Step.self)
    self.isError = unsafe unsafeBitCast(isError, to: IsError.self)
    unsafe self.errorName = unsafe unsafeBitCast(errorName, to: ErrorName.self)
  }

  func decompress(_ bytes: [UInt8], byteCountMax: Int) throws(CompressionError) -> [UInt8] {
    var output = Output(byteCountMax: byteCountMax)
    guard let stream = unsafe create() else { throw .tooLarge(byteCountMax: byteCountMax) }
    defer { _ = unsafe free(stream) }
    var consumed = 0
    while true {
      var status = 0
      var written = 0
      try unsafe output.append { target in
        unsafe bytes.withUnsafeBytes { source in
          var input = unsafe Buffer(
            base: UnsafeMutableRawPointer(mutating: source.baseAddress), size: source.count,
            position: consumed)
          var plain = unsafe Buffer(base: target.baseAddress, size: target.count, position: 0)
          status = unsafe step(stream, &plain, &input)
          consumed = unsafe input.position
          written = unsafe plain.position
          return written
        }
      }
      if isError(status) != 0 {
        let text = unsafe String(cString: errorName(status))
        throw .damaged(format: "zstd", byteOffset: consumed, text: text)
      }
      guard consumed == bytes.count else { continue }
      if status == 0 { return output.bytes }
      // All input is in and the decoder holds nothing back: it wants bytes that are not there.
      if written < Output.blockByteCount { throw .truncated(format: "zstd") }
    }
  }
}
