/// How a program ended, as the number that scripts and service managers read.
///
/// The numbers are those of `sysexits.h` where it has one.
public enum ExitCode: Int32, CaseIterable, Sendable {
  case ok = 0
  case failure = 1
  /// The command line was not understood.
  case usage = 64
  case badData = 65
  case noInput = 66
  case coordinatorUnreachable = 69
  case inputOutput = 74
  /// Stopped before the end, with a checkpoint: run the same command again.
  case interrupted = 75
  case notAuthorized = 77
  case badPlan = 78
}

/// An error that a program may end with: it knows what to tell the user and which number to return.
///
/// A module's typed errors conform where the program's edge can see them; the edge prints
/// ``message`` on stderr and exits with ``exitCode``.
public protocol ProgramError: Error {
  /// Complete text, without a trailing line break.
  var message: String { get }
  var exitCode: ExitCode { get }
}
