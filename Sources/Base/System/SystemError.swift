internal import Glibc

/// What the operating system refused.
public enum SystemError: Error, Equatable, Sendable {
  /// A call failed: its name, what it was about (a path, mostly) and `errno`.
  case failed(call: String, subject: String, code: Int32)
  /// A file ended `missing` bytes before the end of what was asked for.
  case endOfFile(path: String, missing: Int)
  /// A file holds more than the caller is willing to read.
  case tooLarge(path: String, byteCount: Int, limit: Int)

  /// `errno` of a failed call.
  public var code: Int32? {
    guard case .failed(_, _, let code) = self else { return nil }
    return code
  }

  /// Whether there was no room: disk full, quota, or the limit on file sizes.
  package var isNoSpace: Bool { code == ENOSPC || code == EDQUOT || code == EFBIG }
  /// Whether the file or folder does not exist.
  public var isNotFound: Bool { code == ENOENT || code == ENOTDIR }
  /// Whether the file or folder exists already.
  public var isExisting: Bool { code == EEXIST || code == ENOTEMPTY }
}

extension SystemError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .failed(let call, let subject, let code): "\(call) \(subject): \(errorText(code))"
    case .endOfFile(let path, let missing): "\(path) ends \(missing) bytes early"
    case .tooLarge(let path, let byteCount, let limit):
      "\(path) holds \(byteCount) bytes; the limit is \(limit)"
    }
  }
}

/// The system's text for an `errno` value, such as "No such file or directory".
public func errorText(_ code: Int32) -> String {
  // glibc keeps the text per thread.
  guard let text = unsafe strerror(code) else { return "error \(code)" }
  return unsafe String(cString: text)
}

/// Runs a call that returns -1 on failure, again as long as a signal interrupts it.
func check(_ call: String, _ subject: String, _ body: () -> Int) throws(SystemError) -> Int {
  while true {
    let result = body()
    if result >= 0 { return result }
    let code = errno
    if code != EINTR { throw .failed(call: call, subject: subject, code: code) }
  }
}
