internal import Glibc

private final class Start {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Starts a thread that runs `body` once. The caller joins or detaches it, else its stack stays
/// after its end; hence no business of other modules.
func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t {
  var thread = pthread_t()
  let start = unsafe Unmanaged.passRetained(Start(body)).toOpaque()
  let code = unsafe pthread_create(
    &thread, nil,
    { raw in
      guard let raw = unsafe raw else { return nil }
      // SAFETY: the pointer is the retained `Start` handed to `pthread_create` below, once.
      unsafe Unmanaged<Start>.fromOpaque(raw).takeRetainedValue().body()
      return nil
    }, start)
  precondition(code == 0, "the system refused a thread (pthread_create: \(code))")
  return thread
}

/// Starts a thread that nobody joins. Whoever must know that it has ended is told by `body`.
public func startDetachedThread(_ body: @escaping @Sendable () -> Void) {
  pthread_detach(startThread(body))
}
