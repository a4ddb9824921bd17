internal import Glibc

/// Asks the kernel to back the memory with huge pages. Only advice: a refusal changes nothing.
public func adviseHugePages(_ start: UnsafeMutableRawPointer, byteCount: Int) {
  _ = unsafe madvise(start, byteCount, MADV_HUGEPAGE)
}
