internal import Glibc

/// A file's bytes as memory, read only; pages come from the disk when they are first touched.
///
/// The file must not be cut while it is mapped: files that are mapped are written aside and
/// renamed, never changed in place.
@safe
public final class MemoryMappedFile: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): the mapping is read only and lives as long as this object.
  public let path: String
  public let byteCount: Int
  private let base: UnsafeRawPointer?

  /// - Throws: ``SystemError/failed(call:subject:code:)``.
  public init(_ path: String) throws(SystemError) {
    let file = try File(path, .read)
    self.path = path
    byteCount = try file.byteCount()
    guard byteCount > 0 else {
      unsafe base = nil
      return
    }
    let address = unsafe mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, file.descriptor, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw .failed(call: "mmap", subject: path, code: errno)
    }
    unsafe base = UnsafeRawPointer(address)
  }

  deinit {
    if let base = unsafe base {
      unsafe munmap(UnsafeMutableRawPointer(mutating: base), byteCount)
    }
  }

  /// Lends all bytes.
  public func withBytes<R: ~Copyable, E: Error>(
    _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    // SAFETY: the mapping holds `byteCount` bytes as long as `self`, which the call keeps alive.
    let span = unsafe RawSpan(
      _unsafeBytes: UnsafeRawBufferPointer(start: base, count: byteCount))
    return try body(span)
  }

  /// Lends the bytes of `range`.
  public func withBytes<R: ~Copyable, E: Error>(
    in range: Range<Int>, _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= byteCount,
      "\(range) is outside 0..<\(byteCount)")
    return try withBytes { bytes throws(E) in try body(bytes.extracting(range)) }
  }
}
