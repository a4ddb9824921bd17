import Operators
import Settings
import System
import Tensors
import Transport

/// `cox doctor`: what this machine has, what it lacks, how to mend it.
enum DoctorCommand {
  static let command = Command(
    "doctor", overview: "Says what this machine has for training, and what it lacks.",
    options: [.flag("json", help: "Print the lines as JSON.")])

  private enum Verdict: String { case ok = "OK", warn = "WARN", fail = "FAIL" }
  private struct Line {
    let verdict: Verdict
    let subject: String
    let text: String
  }

  static func run(_ invocation: Invocation) throws -> Int32 {
    let lines = [
      programs(), kernels(), peak(), cores(), memory(), hugePages(), openFiles(),
      library("libz.so.1", "gzip text", "zlib1g"),
      library("libzstd.so.1", "zstd text", "libzstd1"),
      library("libssl.so.3", "encryption (not used yet)", "libssl3"),
      blas(),
      congestion(), lending(), disk(),
    ]
    if invocation.has("json") {
      put(
        JSONNode.list(
          lines.map { line in
            .object([
              ("verdict", .text(line.verdict.rawValue)), ("subject", .text(line.subject)),
              ("text", .text(line.text)),
            ])
          }
        ).jsonText(isIndented: false))
    } else {
      for line in lines {
        put(padded(line.verdict.rawValue, 5) + padded(line.subject, 13) + line.text)
      }
    }
    return lines.contains { $0.verdict == .fail } ? ExitCode.failure.rawValue : 0
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }

  /// That this runs says that the C and C++ libraries are here, which every build needs.
  private static func programs() -> Line {
    let maps = (try? Files.read("/proc/self/maps", byteCountMax: 1 << 24)) ?? []
    let isBound = String(decoding: maps, as: UTF8.self).contains("/libswiftCore.so")
    return Line(
      verdict: isBound ? .warn : .ok, subject: "programs",
      text: isBound
        ? "this build needs the Swift toolchain on every node: build with --static-swift-stdlib, "
          + "as the launch scripts do"
        : "carry Swift's libraries; a node needs glibc, libstdc++.so.6 and libgcc_s.so.1")
  }

  private static func kernels() -> Line {
    let best = KernelVariant.best
    let names = KernelVariant.available.map(\.name).joined(separator: ", ")
    return Line(
      verdict: best.name == "scalar" ? .warn : .ok, subject: "kernels",
      text: "\(best.name), profile \(best.profile), on "
        + (Processor.name() ?? "an unnamed processor")
        + " (can run: \(names))")
  }

  private static func peak() -> Line {
    let rate = Engine.peakGigaflops(variant: .best, precision: .bf16, seconds: 0.1)
    return Line(
      verdict: .ok, subject: "peak",
      text: "\(Int(rate.rounded())) GFLOP/s measured on one core, bf16 operands")
  }

  private static func cores() -> Line {
    let allowed = allowedProcessors().count
    let usable = Processor.usableCoreCount()
    return Line(
      verdict: usable < Double(allowed) ? .warn : .ok, subject: "cores",
      text: usable < Double(allowed)
        ? "\(allowed) processors, but only \(usable) cores' worth (shared cores or a quota): "
          + "start workers with --threads \(max(1, Int(usable)))"
        : "\(allowed) that this process may use")
  }

  private static func memory() -> Line {
    guard let all = Host.memoryByteCount, let free = Host.availableMemoryByteCount else {
      return Line(verdict: .warn, subject: "memory", text: "the system does not say how much")
    }
    let gibibyte = Double(1 << 30)
    let text = "\(Int(Double(all) / gibibyte)) GiB, \(Int(Double(free) / gibibyte)) GiB free now"
    return Line(
      verdict: free < 1 << 30 ? .warn : .ok, subject: "memory",
      text: free < 1 << 30 ? text + ": cox plan says what a plan needs" : text)
  }

  private static func hugePages() -> Line {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled"
    guard let bytes = try? Files.read(path, byteCountMax: 4096) else {
      return Line(verdict: .warn, subject: "huge pages", text: "this kernel has none")
    }
    let isNever = String(decoding: bytes, as: UTF8.self).contains("[never]")
    return Line(
      verdict: isNever ? .warn : .ok, subject: "huge pages",
      text: isNever
        ? "switched off; products are faster with them: echo madvise > \(path)"
        : "given on request")
  }

  /// A coordinator holds two connections for each worker, a worker one for each other.
  private static func openFiles() -> Line {
    let bytes = (try? Files.read("/proc/self/limits", byteCountMax: 1 << 16)) ?? []
    let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
      .first { $0.hasPrefix("Max open files") }
    let words = line?.split(separator: " ") ?? []
    guard words.count > 3, let limit = Int(words[3]) else {
      return Line(verdict: .ok, subject: "open files", text: "no limit is known")
    }
    return Line(
      verdict: limit < 1024 ? .warn : .ok, subject: "open files",
      text: limit < 1024
        ? "at most \(limit), enough for \(max(0, limit / 2 - 32)) workers: ulimit -n 4096"
        : "at most \(limit)")
  }

  private static func library(_ name: String, _ use: String, _ package: String) -> Line {
    let subject = name.prefix { $0 != "." }
    guard DynamicLibrary([name]) != nil else {
      return Line(
        verdict: .warn, subject: String(subject),
        text: "not found; needed for \(use): apt-get install \(package)")
    }
    return Line(verdict: .ok, subject: String(subject), text: "found, for \(use)")
  }

  private static func blas() -> Line {
    switch BlasLibrary.shared {
    case .success(let library):
      Line(
        verdict: library.isOld ? .warn : .ok, subject: "blas",
        text: "\(library), \(library.routine(for: .best).rawValue), for --matmul blas")
    case .failure(let error):
      Line(verdict: .warn, subject: "blas", text: "\(error); for --matmul blas only")
    }
  }

  private static func congestion() -> Line {
    guard let pair = try? Listener(Address(host: "127.0.0.1", port: 0)),
      let connection = try? Connection.connect(to: pair.address, deadline: .after(.seconds(1)))
    else { return Line(verdict: .fail, subject: "network", text: "no loopback connection") }
    let found = connection.congestion ?? "unknown"
    return Line(
      verdict: found == "cubic" ? .ok : .warn, subject: "network",
      text: found == "cubic"
        ? "TCP with cubic" : "TCP with \(found); cubic is faster here: modprobe tcp_cubic")
  }

  /// Whether workers of this machine may copy gradients from one another's memory.
  private static func lending() -> Line {
    let obstacle = ProcessMemory.obstacle
    return Line(
      verdict: obstacle == nil ? .ok : .warn, subject: "lending",
      text: obstacle.map { "workers of this machine exchange gradients over TCP: \($0)" }
        ?? "workers of this machine copy gradients from memory to memory")
  }

  private static func disk() -> Line {
    do {
      let path = ".cox-doctor-\(currentProcessIdentifier)"
      let free = try Files.freeByteCount(".")
      let start = Clock.monotonicSeconds
      try Files.write([UInt8](repeating: 7, count: 16 << 20), to: path)
      let rate = 16 / max(1e-6, Clock.monotonicSeconds - start)
      try Files.remove(path)
      return Line(
        verdict: free < 1 << 30 ? .warn : .ok, subject: "disk",
        text: "\(free >> 30) GiB free here, written and synchronized at \(Int(rate)) MiB/s")
    } catch {
      return Line(
        verdict: .warn, subject: "disk", text: "this folder cannot be written: \(error)")
    }
  }
}
