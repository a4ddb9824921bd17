/// A window onto elements that several threads or kernels may touch, each its own part.
///
/// It is a counted pointer that keeps the owner of its memory alive. Copying copies the window,
/// never the elements. Inside one team dispatch members write disjoint parts; that discipline is
/// the caller's, bounds are checked here.
@safe
public struct SharedRows<Element: BitwiseCopyable>: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): see the type's contract on disjoint parts.
  public let count: Int
  private let base: UnsafeMutablePointer<Element>
  private let owner: AnyObject?

  /// - Precondition: `base` stays valid for `count` elements as long as `owner` lives.
  @unsafe
  public init(base: UnsafeMutablePointer<Element>, count: Int, owner: AnyObject?) {
    precondition(count >= 0, "a window cannot hold \(count) elements")
    unsafe self.base = base
    self.count = count
    self.owner = owner
  }

  /// The address of element 0, for kernels. Valid for `count` elements while the window lives.
  @unsafe
  public var baseAddress: UnsafeMutablePointer<Element> { unsafe base }

  public var byteCount: Int { count * MemoryLayout<Element>.stride }

  /// Where element 0 lies, as a number: for a process that reads this one's memory.
  public var address: UInt64 { UInt64(UInt(bitPattern: unsafe base)) }

  /// The part `range`, sharing the same memory.
  public subscript(_ range: Range<Int>) -> SharedRows<Element> {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count, "\(range) is outside 0..<\(count)")
    return unsafe SharedRows(base: base + range.lowerBound, count: range.count, owner: owner)
  }

  /// One element. Checked, hence for set-up and tests; hot loops take a span.
  public subscript(_ index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count, "\(index) is outside 0..<\(count)")
      return unsafe base[index]
    }
    nonmutating set {
      precondition(index >= 0 && index < count, "\(index) is outside 0..<\(count)")
      unsafe base[index] = newValue
    }
  }

  /// Lends the elements for reading.
  public func withSpan<R: ~Copyable, E: Error>(
    _ body: (Span<Element>) throws(E) -> R
  ) throws(E) -> R {
    try body(unsafe Span(_unsafeStart: base, count: count))
  }

  /// Lends the elements for writing.
  public func withMutableSpan<R: ~Copyable, E: Error>(
    _ body: (inout MutableSpan<Element>) throws(E) -> R
  ) throws(E) -> R {
    var part = unsafe MutableSpan(_unsafeStart: base, count: count)
    return try body(&part)
  }

  /// Lends the bytes for reading (checksums, sockets, files).
  public func withBytes<R: ~Copyable, E: Error>(
    _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    try body(
      unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(base), byteCount: count * MemoryLayout<Element>.stride))
  }

  /// Lends the bytes for writing (sockets, files). Every bit pattern is an element of the types
  /// in use.
  public func withMutableBytes<R: ~Copyable, E: Error>(
    _ body: (inout MutableRawSpan) throws(E) -> R
  ) throws(E) -> R {
    var part = unsafe MutableRawSpan(
      _unsafeStart: UnsafeMutableRawPointer(base),
      byteCount: count * MemoryLayout<Element>.stride)
    return try body(&part)
  }

  /// Sets every element to `value`.
  public func fill(with value: Element) {
    unsafe base.update(repeating: value, count: count)
  }

  /// Copies all of `source`, which has the same count.
  public func copy(from source: SharedRows<Element>) {
    precondition(source.count == count, "cannot copy \(source.count) elements into \(count)")
    unsafe base.update(from: source.base, count: count)
  }

  /// Copies all of `source`, which has the same count.
  public func copy(from source: [Element]) {
    precondition(source.count == count, "cannot copy \(source.count) elements into \(count)")
    for index in 0..<count { unsafe base[index] = source[index] }
  }

  /// Adds the elements' bytes, in the order of memory, to `bytes`.
  public func appendBytes(to bytes: inout [UInt8]) {
    unsafe bytes.append(
      contentsOf: UnsafeRawBufferPointer(
        start: base, count: count * MemoryLayout<Element>.stride))
  }

  /// Sets every element from bytes in the order of memory.
  public func copyBytes(from source: ArraySlice<UInt8>) {
    let byteCount = count * MemoryLayout<Element>.stride
    precondition(source.count == byteCount, "\(source.count) bytes do not fill \(byteCount)")
    unsafe source.withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress else { return }
      unsafe UnsafeMutableRawPointer(base).copyMemory(from: start, byteCount: byteCount)
    }
  }

  /// The elements as an array. Copies; for tests and small tables.
  public var array: [Element] { withSpan { span in span.indices.map { span[$0] } } }
}
