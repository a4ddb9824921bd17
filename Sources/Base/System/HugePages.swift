internal import Glibc

/// Asks the kernel to back the memory with huge pages. Only advice: a refusal changes nothing.
public func adviseHugePages(_ start: UnsafeMutableRawPointer, byteCount: Int) {
  _ = unsafe madvise(start, byteCount, MADV_HUGEPAGE)
}

/// Zeroed memory of its own, aligned to huge pages, which the kernel provides page by page when
/// it is first touched: by the thread that works there, and not at all where nobody does.
///
/// - Returns: Memory for ``unmapPages(_:byteCount:)`` to give back.
public func mapZeroPages(byteCount: Int) -> UnsafeMutableRawPointer {
  let hugePageByteCount = 2 << 20
  let mapped = unsafe mmap(
    nil, byteCount + hugePageByteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
  guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
    preconditionFailure("the system refused \(byteCount) bytes of memory (mmap: \(errno))")
  }
  // What lies before and behind the aligned part is given back; a page is the smallest unit.
  let start = unsafe mapped.alignedUp(toMultipleOf: hugePageByteCount)
  let before = unsafe start - mapped
  if before > 0 { _ = unsafe munmap(mapped, before) }
  let end = unsafe (start + byteCount).alignedUp(toMultipleOf: Int(sysconf(Int32(_SC_PAGESIZE))))
  let behind = unsafe mapped + byteCount + hugePageByteCount - end
  if behind > 0 { _ = unsafe munmap(end, behind) }
  unsafe adviseHugePages(start, byteCount: byteCount)
  return unsafe start
}

/// Gives back memory of ``mapZeroPages(byteCount:)``.
public func unmapPages(_ start: UnsafeMutableRawPointer, byteCount: Int) {
  _ = unsafe munmap(start, byteCount)
}
