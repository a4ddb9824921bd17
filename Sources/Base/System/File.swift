internal import Glibc

/// An open file. Reads and writes at given offsets may come from several threads at once.
///
/// The descriptor is closed when the last reference goes; whoever needs the bytes to survive a
/// power cut calls ``synchronize()`` before.
public final class File: Sendable {
  /// How a file is opened.
  public enum Access: Sendable {
    case read
    /// Reads and writes a file that exists.
    case update
    /// Creates the file, which must not exist; reads and writes.
    case create
    /// Creates the file or empties it; reads and writes.
    case replace
    /// Creates the file if need be; every write goes to its end, and reads are possible.
    case append
  }

  /// What it was opened as, for errors.
  public let path: String
  /// The descriptor, for calls that this type does not wrap. It stays this object's.
  public let descriptor: Int32

  /// - Throws: ``SystemError/failed(call:subject:code:)``.
  public init(_ path: String, _ access: Access) throws(SystemError) {
    let flags =
      switch access {
      case .read: O_RDONLY
      case .update: O_RDWR
      case .create: O_RDWR | O_CREAT | O_EXCL
      case .replace: O_RDWR | O_CREAT | O_TRUNC
      case .append: O_RDWR | O_CREAT | O_APPEND
      }
    self.path = path
    descriptor = Int32(
      try check("open", path) { unsafe Int(open(path, flags | O_CLOEXEC, 0o644)) })
  }

  deinit { _ = close(descriptor) }

  /// Bytes in the file now.
  public func byteCount() throws(SystemError) -> Int {
    var info = stat()
    _ = try check("fstat", path) { unsafe Int(fstat(descriptor, &info)) }
    return Int(info.st_size)
  }

  /// Reads at most `byteCount` bytes from `offset`; fewer only at the end of the file.
  public func read(at offset: Int, byteCount: Int) throws(SystemError) -> [UInt8] {
    precondition(offset >= 0 && byteCount >= 0, "cannot read \(byteCount) bytes at \(offset)")
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var filled = 0
    while filled < byteCount {
      let got = try check("read", path) {
        unsafe bytes.withUnsafeMutableBytes {
          unsafe pread(descriptor, $0.baseAddress! + filled, byteCount - filled, offset + filled)
        }
      }
      if got == 0 { break }
      filled += got
    }
    bytes.removeLast(byteCount - filled)
    return bytes
  }

  /// Fills `target` from `offset`.
  ///
  /// - Throws: also ``SystemError/endOfFile(path:missing:)``.
  public func read(at offset: Int, into target: inout MutableRawSpan) throws(SystemError) {
    precondition(offset >= 0, "cannot read at \(offset)")
    let byteCount = target.byteCount
    var filled = 0
    while filled < byteCount {
      let got = try check("read", path) {
        unsafe target.withUnsafeMutableBytes {
          unsafe pread(descriptor, $0.baseAddress! + filled, byteCount - filled, offset + filled)
        }
      }
      guard got > 0 else { throw .endOfFile(path: path, missing: byteCount - filled) }
      filled += got
    }
  }

  /// Fills the elements `range` of `bytes` from `offset`.
  ///
  /// - Throws: also ``SystemError/endOfFile(path:missing:)``.
  public func read(
    at offset: Int, into bytes: inout [UInt8], _ range: Range<Int>
  ) throws(SystemError) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= bytes.count,
      "\(range) is outside 0..<\(bytes.count)")
    // SAFETY: bytes have no padding; the span lives as long as the array is borrowed.
    var span = bytes.mutableSpan
    var all = unsafe span.mutableBytes
    var part = all._mutatingExtracting(range)
    try read(at: offset, into: &part)
  }

  /// Writes all of `bytes` at `offset`.
  public func write(_ bytes: RawSpan, at offset: Int) throws(SystemError) {
    precondition(offset >= 0, "cannot write at \(offset)")
    var written = 0
    while written < bytes.byteCount {
      written += try check("write", path) {
        unsafe bytes.withUnsafeBytes {
          unsafe pwrite(
            descriptor, $0.baseAddress! + written, $0.count - written, offset + written)
        }
      }
    }
  }

  /// Writes all of `bytes` at `offset`.
  public func write(_ bytes: [UInt8], at offset: Int) throws(SystemError) {
    try write(bytes[...], at: offset)
  }

  /// Writes all of `bytes` at `offset`.
  public func write(_ bytes: ArraySlice<UInt8>, at offset: Int) throws(SystemError) {
    // SAFETY: bytes have no padding; the span lives as long as the array is borrowed.
    try write(unsafe bytes.span.bytes, at: offset)
  }

  /// Appends all of `bytes`, in one call as long as the system takes them in one.
  ///
  /// - Precondition: The file was opened with ``Access/append``.
  public func append(_ bytes: [UInt8]) throws(SystemError) {
    var written = 0
    while written < bytes.count {
      written += try check("write", path) {
        unsafe bytes.withUnsafeBytes {
          unsafe Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written)
        }
      }
    }
  }

  /// Returns when the file's bytes are on the disk.
  public func synchronize() throws(SystemError) {
    _ = try check("fsync", path) { Int(fsync(descriptor)) }
  }

  /// Cuts or extends (with zeros) the file to `byteCount`.
  public func truncate(to byteCount: Int) throws(SystemError) {
    _ = try check("ftruncate", path) { Int(ftruncate(descriptor, byteCount)) }
  }

  /// Reserves room for `byteCount` bytes, so that a full disk shows now and not in the middle.
  public func reserve(byteCount: Int) throws(SystemError) {
    guard byteCount > 0 else { return }
    let code = posix_fallocate(descriptor, 0, byteCount)
    guard code == 0 else { throw .failed(call: "fallocate", subject: path, code: code) }
  }
}
