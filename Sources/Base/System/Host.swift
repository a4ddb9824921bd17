internal import Glibc

/// The machine that this process runs on: its name and its memory.
public enum Host {
  /// The name that the machine gives itself.
  public static var name: String {
    var buffer = [CChar](repeating: 0, count: 256)
    let code = unsafe gethostname(&buffer, buffer.count - 1)
    guard code == 0 else { return "unknown" }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// Bytes of memory that this process may use: the machine's, or its control group's limit.
  public static var memoryByteCount: Int? {
    let machine = kibibytes("MemTotal", in: "/proc/meminfo")
    let limits = groupLimits()
    return ([machine].compactMap { $0 } + limits).min()
  }

  /// Bytes of memory that could be taken now without swapping.
  public static var availableMemoryByteCount: Int? {
    kibibytes("MemAvailable", in: "/proc/meminfo")
  }

  /// The most memory that this process has held at once (VmHWM), bytes.
  public static var peakResidentByteCount: Int? { kibibytes("VmHWM", in: "/proc/self/status") }

  /// What the processor can do, as the kernel names it: `avx2`, `avx512_bf16`, `asimd`.
  public static var processorFeatures: Set<String> {
    guard let text = text(of: "/proc/cpuinfo") else { return [] }
    for line in text.split(separator: "\n")
    where line.hasPrefix("flags") || line.hasPrefix("Features") {
      let words = line.drop { $0 != ":" }.dropFirst().split(separator: " ")
      return Set(words.map(String.init))
    }
    return []
  }

  /// The value of a line `name:  123 kB`, in bytes.
  private static func kibibytes(_ name: String, in path: String) -> Int? {
    text(of: path).flatMap { kibibytes(name, inText: $0) }
  }

  package static func kibibytes(_ name: String, inText text: String) -> Int? {
    for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
      let words = line.dropFirst(name.utf8.count + 1).split { $0 == " " || $0 == "\t" }
      guard words.count == 2, words[1] == "kB", let value = Int(words[0]), value >= 0 else {
        return nil
      }
      let (bytes, isTooLarge) = value.multipliedReportingOverflow(by: 1024)
      return isTooLarge ? nil : bytes
    }
    return nil
  }

  /// Limits of the process's control groups, version 2 (every group above it counts) and 1. "max"
  /// and the huge number by which version 1 says so are no limits.
  private static func groupLimits() -> [Int] {
    var files = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"]
    for line in (text(of: "/proc/self/cgroup") ?? "").split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      var folder = ""
      for name in parts[2].split(separator: "/") {
        folder += "/\(name)"
        if parts[0] == "0" { files.append("/sys/fs/cgroup\(folder)/memory.max") }
        if parts[1].split(separator: ",").contains("memory") {
          files.append("/sys/fs/cgroup/memory\(folder)/memory.limit_in_bytes")
        }
      }
    }
    return files.compactMap { text(of: $0).flatMap(limit(inText:)) }
  }

  package static func limit(inText text: String) -> Int? {
    let word = text.prefix { $0 != "\n" }
    return Int(word).flatMap { $0 > 0 && $0 < 1 << 60 ? $0 : nil }
  }

  private static func text(of path: String) -> String? {
    // Such files say that they hold no bytes, so the size is not asked.
    guard let file = try? File(path, .read),
      let bytes = try? file.read(at: 0, byteCount: 1 << 20)
    else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }
}
