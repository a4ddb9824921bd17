internal import System

/// Fixed-size memory with one owner, aligned for the widest vector register.
///
/// Allocates once, at start-up; everything else borrows a ``SharedRows`` or a span from it.
/// Storage of 2 MiB and more is aligned to huge pages and asks the kernel for them.
@safe
public final class AlignedStorage<Element: BitwiseCopyable>: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): the storage hands out windows; who writes which window when is
  // fixed by the caller (disjoint parts inside one team dispatch), as `SharedRows` documents.
  public let count: Int
  private let base: UnsafeMutablePointer<Element>
  /// From this size on memory comes from the kernel, page by page.
  private let isLarge: Bool

  /// Allocates `count` elements, all equal to `value`. Large zeroed storage costs nothing until it
  /// is touched.
  public init(count: Int, filledWith value: Element) {
    precondition(count > 0, "storage needs at least one element, got \(count)")
    let byteCount = count * MemoryLayout<Element>.stride
    let isZero = unsafe withUnsafeBytes(of: value) { unsafe $0.allSatisfy { $0 == 0 } }
    isLarge = byteCount >= Self.hugePageByteCount
    let raw =
      unsafe isLarge
      ? mapZeroPages(byteCount: byteCount)
      : UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    // Byte by byte is one call; of a type that is not known here, every element would be one.
    if isZero, !isLarge {
      _ = unsafe raw.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    }
    // SAFETY: `raw` holds `count` strides and is released only in `deinit`.
    unsafe base = raw.bindMemory(to: Element.self, capacity: count)
    if !isZero { unsafe base.initialize(repeating: value, count: count) }
    self.count = count
  }

  deinit {
    if isLarge {
      unsafe unmapPages(base, byteCount: count * MemoryLayout<Element>.stride)
    } else {
      unsafe UnsafeMutableRawPointer(base).deallocate()
    }
  }

  private static var hugePageByteCount: Int { 2 << 20 }

  /// The whole storage as a window that keeps this owner alive.
  public var rows: SharedRows<Element> {
    // SAFETY: the window retains `self`, so the memory outlives it.
    unsafe SharedRows(base: base, count: count, owner: self)
  }
}
