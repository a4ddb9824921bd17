internal import System

/// One C kernel as a job of the team: every member calls it with the same arguments.
@safe
struct KernelJob<Arguments>: TeamJob {
  /// What a kernel of these arguments looks like in C.
  typealias Function = @convention(c) (UnsafeRawPointer, Int32, Int32) -> Void

  private let arguments: Arguments
  private let function: Function

  /// - Parameter function: Takes `const Arguments *, int32_t member, int32_t member_count`.
  init<Kernel>(_ arguments: Arguments, _ function: Kernel) {
    unsafe precondition(
      MemoryLayout<Kernel>.size == MemoryLayout<Function>.size, "a kernel is a C function pointer")
    self.arguments = arguments
    // SAFETY: both are C function pointers that differ only in the pointee of the first argument.
    unsafe self.function = unsafeBitCast(function, to: Function.self)
  }

  func run(member: Int, memberCount: Int) {
    unsafe withUnsafePointer(to: arguments) {
      unsafe function(UnsafeRawPointer($0), Int32(member), Int32(memberCount))
    }
  }
}
