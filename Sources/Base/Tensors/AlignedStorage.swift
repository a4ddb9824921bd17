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

  /// Allocates `count` elements, all equal to `value`.
  public init(count: Int, filledWith value: Element) {
    precondition(count > 0, "storage needs at least one element, got \(count)")
    let byteCount = count * MemoryLayout<Element>.stride
    let hugePageByteCount = 2 << 20
    let isLarge = byteCount >= hugePageByteCount
    let raw = UnsafeMutableRawPointer.allocate(
      byteCount: byteCount, alignment: isLarge ? hugePageByteCount : 64)
    if isLarge { unsafe adviseHugePages(raw, byteCount: byteCount) }
    // SAFETY: `raw` holds `count` strides and is released only in `deinit`.
    unsafe base = raw.bindMemory(to: Element.self, capacity: count)
    unsafe base.initialize(repeating: value, count: count)
    self.count = count
  }

  deinit { unsafe UnsafeMutableRawPointer(base).deallocate() }

  /// The whole storage as a window that keeps this owner alive.
  public var rows: SharedRows<Element> {
    // SAFETY: the window retains `self`, so the memory outlives it.
    unsafe SharedRows(base: base, count: count, owner: self)
  }
}
