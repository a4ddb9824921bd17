internal import Glibc

/// A shared library of the system, loaded at run time so that a build never needs it.
@safe
public final class DynamicLibrary: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): the handle is opened once and only read.
  public let name: String
  private let handle: UnsafeMutableRawPointer

  /// Loads the first of `names` that is there, or returns nil.
  ///
  /// - Parameter environment: Set for this process first: some libraries read it when loaded.
  public init?(_ names: [String], environment: [String: String] = [:]) {
    for (name, value) in environment { _ = unsafe setenv(name, value, 1) }
    for name in names {
      if let handle = unsafe dlopen(name, RTLD_NOW | RTLD_LOCAL) {
        self.name = name
        unsafe self.handle = handle
        return
      }
    }
    return nil
  }

  deinit { unsafe dlclose(handle) }

  /// The address of a function, or nil. The caller casts it to the C type it has.
  public func symbol(_ name: String) -> UnsafeMutableRawPointer? {
    unsafe dlsym(handle, name)
  }
}
