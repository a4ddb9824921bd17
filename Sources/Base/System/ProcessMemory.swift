internal import CSystem

/// The memory of a process of this machine, for reading. The system lets a process read its own,
/// and that of others that run as the same user; some systems forbid the latter.
public struct ProcessMemory: Equatable, Sendable {
  /// The process's number.
  public let process: Int32

  public init(process: Int32) { self.process = process }

  /// This process's.
  public static var own: ProcessMemory { ProcessMemory(process: currentProcessIdentifier) }

  /// Why processes of one user cannot read one another's memory here; nil where they can.
  public static var obstacle: String? {
    var (word, copy): (UInt64, UInt64) = (7, 0)
    // SAFETY: the system call reads and writes 8 bytes of two variables that live through it.
    let code = unsafe withUnsafePointer(to: &word) { there in
      unsafe withUnsafeMutablePointer(to: &copy) { here in
        unsafe cs_read_process(own.process, UInt64(UInt(bitPattern: there)), here, 8)
      }
    }
    guard code == 0, copy == word else { return "the system call process_vm_readv is forbidden" }
    // No such file, or 0: any process of the same user. 1 or 2: those that a process started, or
    // none, but for the capability to trace. 3: none at all.
    let scope = (try? Files.read("/proc/sys/kernel/yama/ptrace_scope"))?.first ?? UInt8(ascii: "0")
    let isOpen = scope == UInt8(ascii: "0") || (scope < UInt8(ascii: "3") && mayTrace)
    return isOpen ? nil : "kernel.yama.ptrace_scope is not 0"
  }

  /// Whether this process has CAP_SYS_PTRACE, number 19 of the effective capabilities.
  private static var mayTrace: Bool {
    let status = (try? Files.read("/proc/self/status")) ?? []
    let lines = String(decoding: status, as: UTF8.self).split(separator: "\n")
    let digits = lines.first { $0.hasPrefix("CapEff:") }?.split(separator: "\t").last
    return digits.flatMap { UInt64($0, radix: 16) }.map { $0 >> 19 & 1 == 1 } ?? false
  }

  /// Fills `bytes` with what lies at `address` there.
  ///
  /// - Throws: ``SystemError/failed(call:subject:code:)`` where the process is gone or not ours to
  ///   read, or nothing lies there; the bytes are undefined then.
  public func read(at address: UInt64, into bytes: inout MutableRawSpan) throws(SystemError) {
    let code = unsafe bytes.withUnsafeMutableBytes { bytes in
      unsafe cs_read_process(process, address, bytes.baseAddress, bytes.count)
    }
    guard code == 0 else {
      throw .failed(call: "process_vm_readv", subject: "process \(process)", code: code)
    }
  }
}
