/// Lends the bytes of an array as spans, so that callers need no unsafe mark of their own.
extension [UInt8] {
  /// Lends the bytes for reading.
  public func withRawSpan<R: ~Copyable, E: Error>(
    _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    // SAFETY: every bit pattern is a byte, and the span cannot outlive the array.
    try body(unsafe span.bytes)
  }

  /// Lends the bytes for writing.
  public mutating func withMutableRawSpan<R: ~Copyable, E: Error>(
    _ body: (inout MutableRawSpan) throws(E) -> R
  ) throws(E) -> R {
    var elements = mutableSpan
    // SAFETY: every bit pattern is a byte, and the span cannot outlive the array.
    var bytes = unsafe elements.mutableBytes
    return try body(&bytes)
  }
}

extension CRC32C {
  /// The checksum of the first `byteCount` bytes of `words`, as they lie in memory.
  public static func checksum(_ words: Span<UInt64>, byteCount: Int) -> UInt32 {
    // SAFETY: every bit pattern of a number is bytes; `extracting` checks the range.
    checksum(unsafe words.bytes.extracting(0..<byteCount))
  }
}
