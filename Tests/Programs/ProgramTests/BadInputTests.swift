import System
import Testing

/// Each is refused with what is wrong, where, how to mend it, and the documented exit code.
@Suite(.serialized) struct `Bad input` {
  private func refusal(
    _ plan: String, _ extra: [String] = []
  ) throws -> (code: Int32, errors: String) {
    var result: (code: Int32, errors: String) = (0, "")
    try withRunFolder { run in
      try Files.createDirectory(run)
      try Files.write(plan, to: "\(run)/plan.json")
      let found = command(
        ["coordinator", "\(run)/plan.json", "--run", "\(run)/run", "--listen", "127.0.0.1:0"]
          + extra)
      result = (found.code, found.errors)
    }
    return result
  }

  @Test func `an unknown key is refused with its place and a suggestion`() throws {
    let (code, errors) = try refusal("{\n  \"name\": \"x\",\n  \"dropuot\": 0.1\n}\n")
    #expect(code == 78)
    #expect(errors.contains("dropuot"))
    #expect(errors.contains(":3:"))
    #expect(errors.contains("did you mean 'dropout'"))
  }

  @Test func `an ill-typed value is refused with its place`() throws {
    let (code, errors) = try refusal("{\"seed\": \"many\"}")
    #expect(code == 78)
    #expect(errors.contains(":1:"))
  }

  @Test func `missing data exits 66, empty and damaged data 65`() throws {
    let plan = "{\"name\": \"x\"}"
    let missing = try refusal(plan, ["--data", "/nowhere/at/all"])
    #expect(missing.code == 66, "\(missing.errors)")
    try withRunFolder { folder in
      try Files.createDirectory(folder)
      try Files.write([UInt8](), to: "\(folder)/empty.txt")
      #expect(try refusal(plan, ["--data", "\(folder)/empty.txt"]).code == 65)
      try Files.write([0x61, 0x62, 0xFF, 0x63], to: "\(folder)/bad.txt")
      let invalid = try refusal(plan, ["--data", "\(folder)/bad.txt"])
      #expect(invalid.code == 65)
      #expect(invalid.errors.contains("byte 2"), "\(invalid.errors)")
    }
  }

  @Test func `a missing plan exits 66 and a wrong option 64 with a suggestion`() {
    #expect(command(["coordinator", "/nowhere.json"]).code == 66)
    let usage = command(["worker", "--coordinatr", "127.0.0.1:1"])
    #expect(usage.code == 64)
    #expect(usage.errors.contains("--coordinator"))
  }

  @Test func `an unreachable coordinator exits 69 with the address`() {
    let found = command(["worker", "--coordinator", "127.0.0.1:9", "--connect-timeout", "1"])
    #expect(found.code == 69)
    #expect(found.errors.contains("127.0.0.1:9"))
  }

  @Test func `another machine without encryption needs --plaintext`() {
    #expect(command(["worker", "--coordinator", "192.0.2.1:7070"]).code == 77)
    #expect(command(["coordinator", RealCluster.smoke, "--listen", "0.0.0.0:0"]).code == 77)
  }

  @Test(.timeLimit(.minutes(2)))
  func `a changed plan, a taken port and a damaged checkpoint lose nothing`() throws {
    try withRunFolder { run in
      let cluster = try RealCluster(run: run)
      let taken = command(
        ["coordinator", RealCluster.smoke, "--run", "\(run)-other", "--listen", cluster.address])
      #expect(taken.code == 1)
      #expect(taken.errors.contains("--listen"))
      try cluster.addWorker()
      #expect(cluster.wait() == 0)

      let changed = command(
        ["coordinator", RealCluster.smoke, "--run", run, "--listen", "127.0.0.1:0", "--set",
          "seed=99"])
      #expect(changed.code == 78)
      #expect(changed.errors.contains("seed"))
      let amendable = command(
        ["coordinator", RealCluster.smoke, "--run", run, "--listen", "127.0.0.1:0", "--set",
          "phases.pretrain.steps=50"])
      #expect(amendable.code == 78)
      #expect(amendable.errors.contains("--amend"))

      let digest = command(["cox", "digest", run]).output
      let weights = "\(run)/checkpoints/pretrain-40/model.safetensors"
      let bytes = try Files.read(weights)
      var flipped = bytes
      flipped[bytes.count - 1] ^= 1
      try Files.write(flipped, to: weights)
      let older = command(["cox", "digest", run])
      #expect(older.errors.contains("pretrain-40"))
      #expect(older.code == 0)
      #expect(older.output != digest)
      try Files.write(Array(bytes.prefix(bytes.count / 2)), to: weights)
      #expect(command(["cox", "digest", "\(run)/checkpoints/pretrain-40"]).code == 65)
      try Files.write(bytes, to: weights)
      #expect(command(["cox", "digest", run]).output == digest)
    }
  }
}
