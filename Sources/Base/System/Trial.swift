internal import CSystem

/// How a C function did that may crash.
public enum TrialOutcome: Equatable, Sendable {
  case returned
  case killed(signal: Int32)
  case hung
  /// This system gave no process to try it in.
  case untried
}

/// Runs `function(argument, 0, 1)` in a copy of this process, so that a crash is an answer.
///
/// - Parameter function: C that neither allocates nor takes locks: other threads of this process
///   are not in the copy. What it writes is lost with the copy.
@unsafe
public func tryInChild(
  _ function: @convention(c) (UnsafeRawPointer, Int32, Int32) -> Void,
  _ argument: UnsafeRawPointer, milliseconds: Int32 = 5_000
) -> TrialOutcome {
  switch unsafe cs_try_in_child(function, argument, milliseconds) {
  case 0: .returned
  case -1: .untried
  case -2: .hung
  case let signal: .killed(signal: signal)
  }
}
