import System
import Testing

/// A folder with stand-ins for programs that scripts call, each a few lines of shell.
private struct StandIns {
  let folder: String

  init(in folder: String, _ programs: [String: String]) throws {
    self.folder = folder
    try Files.createDirectory(folder)
    for (name, text) in programs {
      try Files.write("#!/bin/sh\n\(text)\n", to: "\(folder)/\(name)")
      _ = command(["/bin/chmod", "+x", "\(folder)/\(name)"])
    }
  }

  /// Puts the stand-ins before what is there; with `alone`, only the tools that are linked.
  func path(alone tools: [String]? = nil) throws -> String {
    let usual = environmentValue("PATH") ?? "/usr/bin:/bin"
    guard let tools else { return "\(folder):\(usual)" }
    for tool in tools {
      let places = usual.split(separator: ":").map { "\($0)/\(tool)" }
      guard let place = places.first(where: Files.exists) else { continue }
      _ = command(["/bin/ln", "-s", place, "\(folder)/\(tool)"])
    }
    return folder
  }
}

@Suite struct `The launch scripts` {
  private func script(_ name: String) -> String { "\(RealCluster.root)/\(name)" }

  @Test func `kill at every failpoint that there is, and the documents name each`() {
    for file in ["launch/soak", "docs/protocol.md"] {
      let text = fileText(script(file))
      for point in Failpoint.allCases { #expect(text.contains(point.rawValue), "\(point)") }
    }
  }

  /// Runs launch/quickstart with a build and a `cox` that only note what they are asked.
  private func quickstart(
    _ words: [String], in folder: String
  ) throws -> (code: Int32, errors: String, asked: [[String]]) {
    let standIns = try StandIns(
      in: "\(folder)/bin",
      [
        "swift": """
          case "$*" in *--show-bin-path*) echo '\(folder)/bin'; exit ;; esac
          echo '[1/2] Compiling Settings Command.swift'
          echo "ld: warning: the use of \\`mktemp' is dangerous, better use \\`mkstemp'"
          echo 'Build complete!'
          """,
        "cox": "for word; do echo \"$word\"; done >> '\(folder)/asked'; echo >> '\(folder)/asked'",
      ])
    let found = command(
      ["/bin/sh", "-c", "cd '\(folder)' && exec \"$0\" \"$@\"", script("launch/quickstart")]
        + words,
      environment: ["PATH": try standIns.path()])
    let asked = fileText("\(folder)/asked").split(separator: "\n\n").map { call in
      call.split(separator: "\n").map(String.init)
    }
    return (found.code, found.errors, asked)
  }

  @Test func `ask for what they say where nothing is given, and build in few words`() throws {
    try withRunFolder { folder in
      let found = try quickstart([], in: folder)
      #expect(found.code == 0, "\(found.errors)")
      #expect(found.asked.map { $0.first ?? "" } == ["up", "report", "chat"])
      #expect(
        found.asked.first?.prefix(3)
          == ["up", "launch/plans/quickstart.json", "--workers=2"], "\(found.asked)")
      #expect(found.asked.first?.contains("--run=runs/quickstart") == true)
      #expect(found.errors.contains("Build complete!"))
      #expect(!found.errors.contains("mktemp") && !found.errors.contains("Compiling"))
    }
  }

  @Test(arguments: [false, true])
  func `ask once for what is given, in either form`(isAttached: Bool) throws {
    try withRunFolder { folder in
      let given = ["--workers": "4", "--threads": "3", "--data": "text", "--run": "/tmp/mine"]
      let words = given.sorted { $0.key < $1.key }.flatMap {
        isAttached ? ["\($0.key)=\($0.value)"] : [$0.key, $0.value]
      }
      let found = try quickstart(words + ["--set", "seed=2", "--json"], in: folder)
      #expect(
        found.asked.first == [
          "up", "launch/plans/text.json", "--workers=4", "--threads=3", "--run=/tmp/mine",
          "--set", "seed=2", "--json", "--data=\(folder)/text",
        ], "\(found.errors)")
      #expect(found.asked.last?.prefix(2) == ["generate", "/tmp/mine"])
    }
  }

  @Test func `keep the runs of two texts of one name apart`() throws {
    try withRunFolder { folder in
      let runs = try ["a/books", "b/books"].map { data in
        let found = try quickstart(["--data", data], in: "\(folder)/\(data)")
        return found.asked.first?.first { $0.hasPrefix("--run=runs/quickstart-books-") }
      }
      #expect(runs[0] != nil && runs[1] != nil && runs[0] != runs[1], "\(runs)")
    }
  }

  @Test func `say that there is no toolchain, which is a failure as any other`() throws {
    try withRunFolder { folder in
      let path = try StandIns(in: folder, [:]).path(alone: ["bash", "dirname", "nproc"])
      let found = command([script("launch/quickstart")], environment: ["PATH": path])
      #expect(found.code == 1)
      #expect(found.errors.contains("no 'swift' on PATH"), "\(found.errors)")
    }
  }

  @Test(arguments: [[], ["failpiont"], ["kills", "many"]])
  func `refuse a word that is none of the soak's before anything is built`(
    words: [String]
  ) throws {
    try withRunFolder { folder in
      let standIns = try StandIns(in: folder, ["swift": "touch '\(folder)/built'; exit 1"])
      let found = command(
        [script("launch/soak")] + words, environment: ["PATH": try standIns.path()])
      #expect(found.code == 64)
      #expect(found.errors.contains("./launch/soak kills"), "\(found.errors)")
      #expect(!Files.exists("\(folder)/built"))
    }
  }
}

@Suite struct `Released programs` {
  /// What a node must have: the C and C++ run-time libraries, under the names that loaders print.
  private static let libraries = [
    "linux-vdso", "ld-linux", "libc.", "libm.", "libstdc++.", "libgcc_s.", "libdl.", "libpthread.",
  ]

  @Test(
    .enabled(if: RealCluster.releasedPrograms != nil, "swift test links another way: launch/test"),
    arguments: ["coordinator", "worker", "cox"])
  func `need no library of the Swift toolchain`(program: String) {
    // The loader prints what it would load, and runs nothing.
    let found = command([program], environment: ["LD_TRACE_LOADED_OBJECTS": "1"])
    let names = found.output.split(separator: "\n").compactMap { line in
      line.split { $0 == " " || $0 == "\t" }.first.map { Files.name(of: String($0)) }
    }
    #expect(names.contains { $0.hasPrefix("libc.") }, "\(found)")
    for name in names {
      #expect(Self.libraries.contains { name.hasPrefix($0) }, "\(program) needs \(name)")
    }
  }
}

@Suite(.serialized) struct `A run over ssh` {
  /// Starts the smoke plan with a worker here and one on either of two hosts, which are folders.
  private func start(in folder: String, log: String) throws -> ChildProcess {
    // Takes options as `ssh` does, notes the host, and runs the command in the host's home.
    let standIns = try StandIns(
      in: "\(folder)/bin",
      [
        "ssh": """
          while :; do
            case $1 in -o) shift 2 ;; -n) shift; exec < /dev/null ;; *) break ;; esac
          done
          echo "$1" >> '\(folder)/hosts-asked'
          HOME='\(folder)'/$1 && export HOME && mkdir -p "$HOME" && cd "$HOME" || exit
          shift
          exec sh -c "$*"
          """
      ])
    try Files.write(
      "127.0.0.1:0 # this machine\n\nhere\nnode01\nme@node02 1\n", to: "\(folder)/hosts")
    return try ChildProcess(
      ["\(RealCluster.root)/cluster/start", "\(folder)/hosts", RealCluster.smoke,
        "--run=\(folder)/run"],
      output: .file("\(folder)/out"), errors: .file("\(folder)/\(log)"),
      environment: ["PATH": try standIns.path(), "BIN": RealCluster.programs])
  }

  @Test(.timeLimit(.minutes(4)))
  func `stops at one Ctrl-C, goes on at the same command, and ends with the digest`() throws {
    try withRunFolder { folder in
      let first = try start(in: folder, log: "first")
      #expect(
        eventually { fileText("\(folder)/run/metrics.jsonl").contains("\"step\":2,") },
        "\(fileText("\(folder)/first"))")
      first.signal(Signal.interrupt.rawValue)
      #expect(exitCode(of: first) == 75, "\(fileText("\(folder)/first"))")

      let second = try start(in: folder, log: "second")
      #expect(exitCode(of: second, atMost: 120) == 0, "\(fileText("\(folder)/second"))")
      #expect(command(["cox", "digest", "\(folder)/run"]).output == RealCluster.reference?.digest)
      // Each host was asked to take the program and to run it, twice; it was copied once.
      let asked = fileText("\(folder)/hosts-asked").split(separator: "\n")
      #expect(Set(asked) == ["node01", "me@node02"] && asked.count == 8, "\(asked)")
      for host in ["node01", "me@node02"] {
        #expect(try Files.list("\(folder)/\(host)/.cache/coxswain").count == 1)
      }
    }
  }

  @Test func `is refused without hosts, and ends as its coordinator does`() throws {
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      try Files.write("127.0.0.1:0\n", to: "\(folder)/none")
      try Files.write("192.0.2.1:7070\nhere\n", to: "\(folder)/far")
      let bin = ["BIN": RealCluster.programs]
      for (hosts, code, words) in [
        ("none", 64, "names no worker"), ("missing", 66, "cannot be read"),
        ("far", 77, "--plaintext"),
      ] as [(String, Int32, String)] {
        let found = command(
          ["\(RealCluster.root)/cluster/start", "\(folder)/\(hosts)", RealCluster.smoke,
            "--run=\(folder)/run"], environment: bin)
        #expect(found.code == code && found.errors.contains(words), "\(found)")
      }
    }
  }
}
