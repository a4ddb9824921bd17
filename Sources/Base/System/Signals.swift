internal import CSystem
internal import Glibc

/// Signals that a program answers in order.
public enum Signal: Int32, Sendable {
  /// The terminal went away.
  case hangup = 1
  case interrupt = 2
  case terminate = 15
}

/// Hands each of the signals to `body`, on one thread of its own.
///
/// Blocks them for every thread started later, so it is called before the first thread starts.
public func onSignals(_ signals: [Signal], _ body: @escaping @Sendable (Signal) -> Void) {
  var set = sigset_t()
  unsafe sigemptyset(&set)
  for signal in signals { unsafe sigaddset(&set, signal.rawValue) }
  unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
  let waited = set
  let thread = startThread {
    var set = waited
    while true {
      var number: Int32 = 0
      if unsafe sigwait(&set, &number) == 0, let signal = Signal(rawValue: number) { body(signal) }
    }
  }
  pthread_detach(thread)
}

/// Environment variable that names the process whose end its child is to take as a request to stop.
public let starterVariable = "COX_STARTER"

/// Takes the end of the process that ``starterVariable`` names as a signal to this one, whatever
/// ended it: a program that a script or a closed pipe killed leaves nothing behind. It may come
/// several times, once for each thread that the process had.
///
/// Called once the signal is handled. Does nothing where the variable is not set.
public func signalWhenStarterEnds(_ signal: Signal) {
  guard let starter = environmentValue(starterVariable).flatMap({ Int32($0) }) else { return }
  _ = cs_signal_when_starter_ends(signal.rawValue)
  // It may have ended before it could be watched.
  if getppid() != starter { kill(getpid(), signal.rawValue) }
}

/// Ends the process at once. For a second Ctrl-C and for programs' last line.
public func leaveProcess(code: Int32) -> Never { exit(code) }
