internal import CKernels
internal import System

/// One kernel on every member of a team.
@safe
struct KernelJob<Arguments>: TeamJob {
  let arguments: Arguments
  let function: ck_job

  func run(member: Int, memberCount: Int) {
    unsafe withUnsafePointer(to: arguments) {
      unsafe function($0, Int32(member), Int32(memberCount))
    }
  }
}
