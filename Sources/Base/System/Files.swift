internal import CSystem
internal import Glibc

/// Files and folders by path.
public enum Files {
  /// What a path names.
  public struct Info: Equatable, Sendable {
    public var byteCount: Int
    public var isDirectory: Bool
    /// Last change, milliseconds since 1970 (UTC).
    public var modifiedMilliseconds: Int64
  }

  /// What `path` names (symbolic links are followed), or nil if there is nothing.
  public static func info(_ path: String) throws(SystemError) -> Info? {
    var info = stat()
    do {
      _ = try check("stat", path) { unsafe Int(stat(path, &info)) }
    } catch where error.isNotFound {
      return nil
    }
    return Info(
      byteCount: Int(info.st_size), isDirectory: info.st_mode & S_IFMT == S_IFDIR,
      modifiedMilliseconds: Int64(info.st_mtim.tv_sec) * 1000
        + Int64(info.st_mtim.tv_nsec) / 1_000_000)
  }

  /// Whether `path` can be looked at and names something.
  public static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

  /// All bytes of a file.
  ///
  /// - Parameter byteCountMax: Refuses a larger file before it sizes memory.
  /// - Throws: also ``SystemError/tooLarge(path:byteCount:limit:)``.
  public static func read(
    _ path: String, byteCountMax: Int = 1 << 40
  ) throws(SystemError) -> [UInt8] {
    let file = try File(path, .read)
    let byteCount = try file.byteCount()
    guard byteCount <= byteCountMax else {
      throw .tooLarge(path: path, byteCount: byteCount, limit: byteCountMax)
    }
    // A file of the kernel (/proc, /sys) says it holds nothing, or a page, and then gives its text.
    var bytes = try file.read(at: 0, byteCount: byteCount)
    while true {
      let more = try file.read(at: bytes.count, byteCount: 4096)
      if more.isEmpty { return bytes }
      bytes += more
      guard bytes.count <= byteCountMax else {
        throw .tooLarge(path: path, byteCount: bytes.count, limit: byteCountMax)
      }
    }
  }

  /// Replaces the file's contents as a whole: a reader, or a machine that loses power, sees the
  /// old bytes or the new ones.
  ///
  /// The bytes go to a temporary sibling, are synchronized, and take the name by renaming.
  public static func write(_ bytes: [UInt8], to path: String) throws(SystemError) {
    let aside = "\(path).writing-\(getpid())"
    do {
      let file = try File(aside, .replace)
      try file.write(bytes, at: 0)
      try file.synchronize()
      try rename(aside, to: path)
    } catch {
      _ = unsafe unlink(aside)
      throw error
    }
    try synchronizeDirectory(parent(of: path))
  }

  /// Replaces the file's contents as a whole with UTF-8 text.
  public static func write(_ text: String, to path: String) throws(SystemError) {
    try write(Array(text.utf8), to: path)
  }

  /// Moves `path` to `target` in one step, replacing a file (or an empty folder) of that name.
  public static func rename(_ path: String, to target: String) throws(SystemError) {
    _ = try check("rename", "\(path) -> \(target)") { unsafe Int(Glibc.rename(path, target)) }
  }

  /// Swaps two existing paths of one file system in one step.
  public static func exchange(_ path: String, _ other: String) throws(SystemError) {
    _ = try check("renameat2", "\(path) <-> \(other)") {
      unsafe Int(cs_exchange(path, other))
    }
  }

  /// Creates a folder, and its parents where they are missing. An existing folder is fine.
  public static func createDirectory(_ path: String) throws(SystemError) {
    do {
      _ = try check("mkdir", path) { unsafe Int(mkdir(path, 0o755)) }
    } catch {
      if error.isExisting, try info(path)?.isDirectory == true { return }
      let above = parent(of: path)
      guard error.code == ENOENT, above != path else { throw error }
      try createDirectory(above)
      _ = try check("mkdir", path) { unsafe Int(mkdir(path, 0o755)) }
    }
  }

  /// A new empty folder below the system's folder for temporary files.
  public static func createTemporaryDirectory(prefix: String) throws(SystemError) -> String {
    let base = environmentValue("TMPDIR") ?? "/tmp"
    var template = Array("\(base)/\(prefix)-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else {
      throw .failed(call: "mkdtemp", subject: "\(base)/\(prefix)-XXXXXX", code: errno)
    }
    return String(
      decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The names in a folder, in byte order, without `.` and `..`.
  public static func list(_ path: String) throws(SystemError) -> [String] {
    guard let stream = unsafe opendir(path) else {
      throw .failed(call: "opendir", subject: path, code: errno)
    }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else {
        guard errno == 0 else { throw .failed(call: "readdir", subject: path, code: errno) }
        break
      }
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Removes a file. A missing one is fine.
  public static func remove(_ path: String) throws(SystemError) {
    do {
      _ = try check("unlink", path) { unsafe Int(unlink(path)) }
    } catch where error.isNotFound {
      return
    }
  }

  /// Removes a folder with all it holds, or a file. Symbolic links are removed, not followed. A
  /// missing path is fine.
  public static func removeTree(_ path: String) throws(SystemError) {
    var info = stat()
    do {
      _ = try check("lstat", path) { unsafe Int(lstat(path, &info)) }
    } catch where error.isNotFound {
      return
    }
    guard info.st_mode & S_IFMT == S_IFDIR else { return try remove(path) }
    for name in try list(path) { try removeTree("\(path)/\(name)") }
    _ = try check("rmdir", path) { unsafe Int(rmdir(path)) }
  }

  /// Returns when the folder's entries (names created, renamed, removed) are on the disk.
  public static func synchronizeDirectory(_ path: String) throws(SystemError) {
    try File(path, .read).synchronize()
  }

  /// Bytes that an ordinary user may still write to the file system that holds `path`.
  public static func freeByteCount(_ path: String) throws(SystemError) -> Int {
    var info = statvfs()
    _ = try check("statvfs", path) { unsafe Int(statvfs(path, &info)) }
    let (product, overflows) = Int(clamping: info.f_bavail)
      .multipliedReportingOverflow(by: Int(clamping: info.f_frsize))
    return overflows ? Int.max : product
  }

  /// The folder that holds `path`, as text: `a/b` -> `a`, `/a` -> `/`, `a` -> `.`.
  public static func parent(of path: String) -> String {
    var trimmed = Substring(path)
    while trimmed.count > 1 && trimmed.hasSuffix("/") { trimmed.removeLast() }
    guard let slash = trimmed.lastIndex(of: "/") else { return "." }
    return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
  }

  /// The last part of `path`, as text.
  public static func name(of path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }
}

/// The value of an environment variable, or nil where it is not set.
public func environmentValue(_ name: String) -> String? {
  guard let value = unsafe getenv(name) else { return nil }
  return unsafe String(cString: value)
}
