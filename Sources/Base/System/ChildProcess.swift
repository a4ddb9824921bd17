internal import Glibc

/// A process that this one started.
public final class ChildProcess: Sendable {
  /// Where a child's output goes.
  public enum Output: Sendable {
    /// To this process's own.
    case inherit
    /// To a pipe that ``readLine()`` reads.
    case pipe
    /// Appended to a file.
    case file(String)
  }

  public let identifier: Int32
  private let output: Int32

  /// Starts `arguments[0]` (looked up in PATH when it has no slash) in a process group of its
  /// own, so that a Ctrl-C at the terminal reaches only this process, which decides for it.
  ///
  /// - Throws: ``SystemError/failed(call:subject:code:)``.
  public init(
    _ arguments: [String], output: Output = .inherit, errors: Output = .inherit,
    environment: [String: String] = [:], ownGroup: Bool = true
  ) throws(SystemError) {
    var actions = unsafe posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawnattr_init(&attributes)
    defer {
      unsafe posix_spawn_file_actions_destroy(&actions)
      unsafe posix_spawnattr_destroy(&attributes)
    }
    var ends: [Int32] = [-1, -1]
    if case .pipe = output {
      _ = try check("pipe", arguments[0]) { unsafe Int(pipe(&ends)) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    }
    for (target, stream) in [(Int32(1), output), (Int32(2), errors)] {
      guard case .file(let path) = stream else { continue }
      unsafe posix_spawn_file_actions_addopen(
        &actions, target, path, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    }
    // The child starts with no signal blocked and every handler at its default.
    var all = sigset_t()
    var none = sigset_t()
    unsafe sigfillset(&all)
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigdefault(&attributes, &all)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    unsafe posix_spawnattr_setpgroup(&attributes, 0)
    let group = ownGroup ? POSIX_SPAWN_SETPGROUP : 0
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | group))

    var argv: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = unsafe []
    var index = 0
    while let entry = unsafe environ[index] {
      let text = unsafe String(cString: entry)
      let name = text.prefix { $0 != "=" }
      if environment[String(name)] == nil { unsafe variables.append(strdup(text)) }
      index += 1
    }
    for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
      unsafe variables.append(strdup("\(name)=\(value)"))
    }
    unsafe variables.append(nil)
    defer {
      for unsafe pointer in unsafe argv { unsafe free(pointer) }
      for unsafe pointer in unsafe variables { unsafe free(pointer) }
    }
    var started = pid_t()
    let code = unsafe posix_spawnp(
      &started, arguments[0], &actions, &attributes, &argv, &variables)
    if ends[1] >= 0 { close(ends[1]) }
    guard code == 0 else {
      if ends[0] >= 0 { close(ends[0]) }
      throw .failed(call: "posix_spawn", subject: arguments[0], code: code)
    }
    identifier = started
    self.output = ends[0]
  }

  deinit { if output >= 0 { close(output) } }

  /// The next line of a piped output, without its end; nil at the end. Blocks.
  public func readLine() -> String? {
    precondition(output >= 0, "the output of this child is not piped")
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while unsafe read(output, &byte, 1) == 1 {
      if byte == 0x0A { return String(decoding: line, as: UTF8.self) }
      line.append(byte)
    }
    return line.isEmpty ? nil : String(decoding: line, as: UTF8.self)
  }

  /// Sends a signal: 2 asks it to stop, 9 kills it, 15 ends it.
  public func signal(_ number: Int32) { _ = kill(identifier, number) }

  /// Its exit code once it has ended (128 + signal when one killed it); nil while it runs.
  public func exitCode(waiting: Bool) -> Int32? {
    var status: Int32 = 0
    while true {
      let result = unsafe waitpid(identifier, &status, waiting ? 0 : WNOHANG)
      if result == identifier { break }
      if result == 0 { return nil }
      if errno != EINTR { return -1 }
    }
    let signal = status & 0x7F
    return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
  }
}

/// Writes text to standard output (1) or standard error (2), whole, unbuffered.
public func writeText(_ text: String, to descriptor: Int32) {
  writeBytes(Array(text.utf8), to: descriptor)
}

/// Writes bytes to standard output (1) or standard error (2), whole, unbuffered.
public func writeBytes(_ all: [UInt8], to descriptor: Int32) {
  var bytes = all[...]
  while !bytes.isEmpty {
    let written = unsafe bytes.withUnsafeBytes {
      unsafe write(descriptor, $0.baseAddress, $0.count)
    }
    if written < 0 {
      if errno == EINTR { continue }
      return
    }
    bytes = bytes.dropFirst(written)
  }
}

/// Lets other threads run for a while.
public func pauseThread(milliseconds: Int) {
  usleep(UInt32(milliseconds) * 1000)
}

/// Whether the descriptor is a terminal.
public func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

/// The path of the running program.
public func programPath() -> String {
  var buffer = [CChar](repeating: 0, count: 4096)
  let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
  return String(decoding: buffer.prefix(max(count, 0)).map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// The identifier of this process.
public var currentProcessIdentifier: Int32 { getpid() }
