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

/// Ends the process at once. For a second Ctrl-C and for programs' last line.
public func leaveProcess(code: Int32) -> Never { exit(code) }
