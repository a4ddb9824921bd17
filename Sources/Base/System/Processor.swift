/// What this machine is, as far as the kernel tells.
public enum Processor {
  /// The marketing name, such as "AMD EPYC 9654 96-Core Processor"; nil where the kernel has none.
  public static func name() -> String? {
    guard let text = text(of: "/proc/cpuinfo") else { return nil }
    for line in text.split(separator: "\n") where line.hasPrefix("model name") {
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let words = line[line.index(after: colon)...].split(separator: " ")
      return words.isEmpty ? nil : words.joined(separator: " ")
    }
    return nil
  }

  /// Cores that this process may use: physical ones under its affinity mask (two threads of one
  /// core count once), at most its share under the control group's quota.
  ///
  /// Not an integer where the quota is not.
  public static func usableCoreCount() -> Double {
    let owned = Double(max(allowedCores().count, 1))
    return quota().map { min($0, owned) } ?? owned
  }

  /// Physical cores under the affinity mask, each by the number of its first processor; ascending.
  public static func allowedCores() -> [Int] {
    var cores: Set<Int> = []
    for processor in allowedProcessors() {
      let path = "/sys/devices/system/cpu/cpu\(processor)/topology/thread_siblings_list"
      let first = text(of: path).flatMap { Int($0.prefix { $0.isNumber }) }
      cores.insert(first ?? processor)
    }
    return cores.sorted()
  }

  /// Identifies the running kernel: processes of one machine read the same text.
  public static func bootIdentifier() -> String? {
    text(of: "/proc/sys/kernel/random/boot_id")?.split(separator: "\n").first.map(String.init)
  }

  /// Processors' worth of time that the control group allows; nil without a limit.
  private static func quota() -> Double? {
    var limit: Double?
    func take(_ value: Double?) {
      guard let value, value > 0 else { return }
      limit = min(limit ?? value, value)
    }
    for folder in groupFolders() {
      if let text = text(of: "\(folder)/cpu.max") { take(quota(version2: text)) }
    }
    if let quota = text(of: "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
      let period = text(of: "/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    {
      take(self.quota(version2: "\(quota) \(period)"))
    }
    return limit
  }

  /// Reads "QUOTA PERIOD" in microseconds; nil for "max" and for anything else.
  package static func quota(version2 text: String) -> Double? {
    let words = text.split { $0 == " " || $0 == "\n" }
    guard words.count == 2, let quota = Double(words[0]), let period = Double(words[1]),
      quota > 0, period > 0
    else { return nil }
    return quota / period
  }

  /// The process's control group and all above it (version 2).
  private static func groupFolders() -> [String] {
    let root = "/sys/fs/cgroup"
    var folders = [root]
    guard let text = text(of: "/proc/self/cgroup") else { return folders }
    for line in text.split(separator: "\n") where line.hasPrefix("0::/") {
      var folder = root
      for part in line.dropFirst(4).split(separator: "/") {
        folder += "/\(part)"
        folders.append(folder)
      }
    }
    return folders
  }

  private static func text(of path: String) -> String? {
    guard let bytes = try? Files.read(path, byteCountMax: 16 << 20) else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }
}
