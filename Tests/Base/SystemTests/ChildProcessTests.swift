import Glibc
import System
import Testing

@Suite struct `Child process` {
  private func shell(
    _ script: String, output: ChildProcess.Output = .pipe, errors: ChildProcess.Output = .inherit,
    environment: [String: String] = [:]
  ) throws -> ChildProcess {
    try ChildProcess(
      ["sh", "-c", script], output: output, errors: errors, environment: environment)
  }

  @Test func `its lines come through the pipe, the last without an end too`() throws {
    let child = try shell("printf 'one\\n\\nthree'; exit 7")
    #expect(child.readLine() == "one")
    #expect(child.readLine() == "")
    #expect(child.readLine() == "three")
    #expect(child.readLine() == nil)
    #expect(child.exitCode(waiting: true) == 7)
  }

  @Test func `has the given variables beside the inherited ones`() throws {
    let child = try shell("echo \"$COX_TEST $PATH\"", environment: ["COX_TEST": "a b"])
    #expect(child.readLine() == "a b \(environmentValue("PATH") ?? "")")
    #expect(child.exitCode(waiting: true) == 0)
  }

  @Test func `writes to files, which it appends to`() throws {
    try withTemporaryDirectory { folder in
      try Files.write("first\n", to: "\(folder)/out")
      let child = try shell(
        "echo second; echo third >&2", output: .file("\(folder)/out"),
        errors: .file("\(folder)/err"))
      #expect(child.exitCode(waiting: true) == 0)
      #expect(try Files.read("\(folder)/out") == Array("first\nsecond\n".utf8))
      #expect(try Files.read("\(folder)/err") == Array("third\n".utf8))
    }
  }

  @Test func `is killed by a signal, and the exit code says which`() throws {
    let child = try shell("echo ready; exec sleep 60")
    #expect(child.readLine() == "ready")
    #expect(child.exitCode(waiting: false) == nil)
    child.signal(SIGKILL)
    #expect(child.exitCode(waiting: true) == 128 + SIGKILL)
  }

  @Test func `starts in a group of its own`() throws {
    let child = try shell("read line < /proc/$$/stat; echo $line")
    let words = (child.readLine() ?? "").split(separator: " ")
    #expect(words.count > 4 && words[0] == words[4], "pid and process group: \(words)")
    #expect(child.exitCode(waiting: true) == 0)
  }

  @Test func `a program that is not there is an error that names it`() {
    let error = #expect(throws: SystemError.self) {
      try ChildProcess(["/nowhere/program"], output: .pipe)
    }
    #expect(error == .failed(call: "posix_spawn", subject: "/nowhere/program", code: ENOENT))
  }
}

@Suite struct `Processor figures` {
  @Test(arguments: [
    ("150000 100000\n", 1.5), ("50000 100000", 0.5), ("max 100000\n", nil), ("-1 100000", nil),
    ("0 100000", nil), ("100000 0", nil), ("100000", nil), ("", nil), ("1 2 3", nil), ("a b", nil),
  ])
  func `a quota is time per period`(text: String, expected: Double?) {
    #expect(Processor.quota(version2: text) == expected)
  }

  @Test func `cores are counted, at most those of the affinity mask`() {
    let cores = Processor.allowedCores()
    #expect(!cores.isEmpty && cores == cores.sorted())
    #expect(cores.count <= allowedProcessors().count)
    #expect(Processor.usableCoreCount() > 0)
    #expect(Processor.usableCoreCount() <= Double(cores.count))
  }
}
