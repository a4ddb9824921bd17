import System
import Telemetry
import Testing

/// What stands between two starts of a run may be cut short, changed or full: that is noticed, and
/// either made good or refused; nothing is ever trained on it.
@Suite(.serialized) struct `A run folder` {
  /// Starts a coordinator that has nothing to do or must not start, and returns why.
  private func start(_ run: String) -> (code: Int32, errors: String) {
    let found = command(
      ["coordinator", RealCluster.smoke, "--run", run, "--listen", "127.0.0.1:0"])
    return (found.code, found.errors)
  }

  /// Replaces a file while `body` runs.
  private func replacing(
    _ path: String, with change: ([UInt8]) -> [UInt8], _ body: () -> Void
  ) throws {
    let bytes = try Files.read(path)
    try Files.write(change(bytes), to: path)
    body()
    try Files.write(bytes, to: path)
  }

  private func half(_ bytes: [UInt8]) -> [UInt8] { Array(bytes.prefix(bytes.count / 2)) }

  private func shard(_ run: String) throws -> String {
    let folder = "\(run)/data/1"
    let name = try Files.list(folder).first { $0.contains("training") }
    return "\(folder)/\(try #require(name))"
  }

  @Test(.timeLimit(.minutes(3))) func `is mended or refused where it is damaged`() throws {
    try withRunFolder { run in
      let first = try RealCluster(run: run)
      try first.addWorker()
      #expect(first.waitForStep(32))
      first.coordinator.signal(2)
      #expect(first.wait() == 75, "\(first.errors)")
      let command =
        "coordinator \(RealCluster.smoke) --run \(run) --listen 127.0.0.1:0 --min-workers 1"
      #expect(first.errors.contains("go on with: \(RealCluster.programs)/\(command)"))
      #expect(first.errors.contains("stopped: checkpoint pretrain-"))

      try expectRefusals(run)
      let newest = try #require(
        try Files.list("\(run)/checkpoints").last { !["pretrain-15", "pretrain-30"].contains($0) })
      for path in [try shard(run), "\(run)/checkpoints/\(newest)/model.safetensors"] {
        try Files.write(half(try Files.read(path)), to: path)
      }
      // The last record, torn: the machine died while writing it.
      let ledger = "\(run)/ledger.log"
      try Files.write(Array(try Files.read(ledger).dropLast(7)), to: ledger)

      let second = try RealCluster(run: run)
      try second.addWorker()
      try expectReference(second)
      let said = second.errors
      #expect(said.contains("checkpoint \(newest) passed over: model.safetensors holds"))
      #expect(said.contains("00000.tokens has") && said.contains("made again from the source"))
    }
  }

  private func expectRefusals(_ run: String) throws {
    let tokenizer = "\(run)/tokenizer.json"
    try replacing(tokenizer, with: half) {
      let found = start(run)
      #expect(found.code == 65 && found.errors.contains(tokenizer), "\(found.errors)")
    }
    // Of the same size, and of another: their ids mean other text.
    let text = "\(run)-text"
    #expect(command(["cox", "data", "world", "--seed", "99", "--out", text]).code == 0)
    for (kind, count) in [("bpe", 509), ("bytes", 259)] {
      let other = "\(text)/tokenizer.json"
      let trained = command(
        ["cox", "tokenizer", "train", text, "--kind", kind, "--vocabulary", "\(count)", "--out",
          other])
      #expect(trained.code == 0, "\(trained.errors)")
      let bytes = try Files.read(other)
      try replacing(tokenizer, with: { _ in bytes }) {
        let found = start(run)
        #expect(found.code == 65, "\(found.errors)")
        #expect(found.errors.contains("is not the tokenizer that the run was started with"))
      }
    }
    try replacing("\(run)/plan.resolved.json", with: half) {
      #expect(start(run).code == 65)
    }
    try replacing("\(run)/ledger.log", with: { bytes in
      var changed = bytes
      changed[20] ^= 1
      return changed
    }) {
      let found = start(run)
      #expect(found.code == 65 && found.errors.contains("ledger.log: line 1"), "\(found.errors)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func `whose tokens are cut off under way stops the run`() throws {
    try withRunFolder { run in
      let first = try RealCluster(run: run)
      try first.addWorker()
      #expect(first.waitForStep(3))
      try File(try shard(run), .update).truncate(to: 200)
      #expect(first.wait() == 74, "\(first.errors)")
      #expect(first.errors.contains("tokens cannot be read"))
      #expect(exitCode(of: first.workers[0]) == 74)
      let second = try RealCluster(run: run)
      try second.addWorker()
      try expectReference(second)
      #expect(second.errors.contains("made again from the source"))
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `whose text was changed is refused and keeps its tokens`() throws {
    try withRunFolder { run in
      let plan = "\(run)-plan.json", text = "\(run)-text.txt"
      defer { for path in [plan, text] { try? Files.removeTree(path) } }
      try Files.write(
        """
        { "name": "text", "tokenizer": { "kind": "bytes" }, "batch": { "sequences": 2 },
          "model": { "layers": 1, "width": 16, "heads": 2, "feed_forward": 32, "context": 16 },
          "data": { "source": "\(text)" },
          "phases": [{ "kind": "tokenizer" }, { "kind": "pretrain", "steps": 2 }] }
        """, to: plan)
      let sentence = Array("The cox calls the stroke, and eight oars answer.\n".utf8)
      let bytes = Array(repeatElement(sentence, count: 20).joined())
      try Files.write(bytes, to: text)
      let start = ["coordinator", plan, "--run", run, "--listen", "127.0.0.1:0"]
      #expect(command(["cox", "up", plan, "--run", run, "--workers", "1"]).code == 0)
      let shards = try Files.list("\(run)/data/1")
      // As long as before: only its bytes tell.
      try replacing(text, with: { Array("Z".utf8) + $0.dropFirst() }) {
        let found = command(start)
        #expect(found.code == 65, "\(found.errors)")
        #expect(found.errors.contains("\(text) is not the text that the run was started with"))
      }
      #expect(try Files.list("\(run)/data/1") == shards)
      let again = command(start)
      #expect(again.code == 0 && again.errors.contains("complete already"), "\(again.errors)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func `stands as it was when Ctrl-C is pressed twice`() throws {
    try withRunFolder { run in
      let first = try RealCluster(run: run)
      try first.addWorker()
      #expect(first.waitForText("checkpoint_saved: pretrain-15"))
      // A worker that does not answer keeps the first Ctrl-C from coming to its end.
      first.workers[0].signal(19)
      first.coordinator.signal(2)
      #expect(first.waitForText("asked to stop"))
      first.coordinator.signal(2)
      #expect(first.wait(atMost: 4) == 130)
      #expect(command(["cox", "digest", "\(run)/checkpoints/pretrain-15"]).code == 0)
      first.workers[0].signal(9)
      let second = try RealCluster(run: run)
      try second.addWorker()
      try expectReference(second)
    }
  }

  @Test func `that cannot be made is named, and the run exits 74`() {
    let found = start("/dev/null/run")
    #expect(found.code == 74)
    #expect(found.errors.contains("/dev/null/run"), "\(found.errors)")
  }

  // MARK: A full disk

  @Test(.timeLimit(.minutes(3)), .enabled(if: SmallDisk.isPossible, "needs root, to mount a tmpfs"))
  func `on a disk that stays full keeps its checkpoints, and goes on when there is room`() throws {
    try withSmallDisk { disk, logs in
      let run = "\(disk.folder)/run"
      let first = try RealCluster(run: run, logs: logs)
      try first.addWorker()
      try fill(disk, of: first)
      #expect(first.wait() == 74, "\(first.errors)")
      #expect(exitCode(of: first.workers[0]) == 74)
      // The one due at step 30 and the last; only the last ended the run.
      #expect(first.errors.split(separator: "checkpoint_failed").count == 3, "\(first.errors)")
      #expect(first.errors.contains("Older checkpoints stand"))
      #expect(try Files.list("\(run)/checkpoints") == ["pretrain-15"])
      try disk.makeRoom()
      let second = try RealCluster(run: run, logs: logs)
      try second.addWorker()
      try expectReference(second)
    }
  }

  @Test(.timeLimit(.minutes(3)), .enabled(if: SmallDisk.isPossible, "needs root, to mount a tmpfs"))
  func `on a disk that is full for a while lacks no record`() throws {
    try withSmallDisk { disk, logs in
      let cluster = try RealCluster(run: "\(disk.folder)/run", logs: logs)
      try cluster.addWorker()
      try fill(disk, of: cluster)
      #expect(cluster.waitForText("records cannot be written"))
      try disk.makeRoom()
      try expectReference(cluster)
      #expect(!cluster.errors.contains("rewound"))
      // Whoever starts it again finds it whole.
      let again = start(cluster.run)
      #expect(again.code == 0 && again.errors.contains("complete already"), "\(again.errors)")
    }
  }

  /// The save fails before the members of the view have heard of it.
  @Test(.timeLimit(.minutes(3)), .enabled(if: SmallDisk.isPossible, "needs root, to mount a tmpfs"))
  func `without room for the checkpoint of a phase's end begins the next phase`() throws {
    try withSmallDisk { disk, logs in
      let (run, plan) = ("\(disk.folder)/run", "\(logs)/plan.json")
      try Files.write(
        """
        {
          "name": "two", "model": { "layers": 2, "width": 64, "heads": 4, "context": 32 },
          "batch": { "sequences": 4, "slices": 2 }, "tokenizer": { "kind": "bytes" },
          "data": { "source": "world", "documents": 40 },
          "phases": [{ "kind": "tokenizer" },
            { "kind": "pretrain", "name": "one", "steps": 3, "validation": { "every": 0 } },
            { "kind": "pretrain", "name": "other", "steps": 3, "validation": { "every": 0 } }],
          "checkpoints": { "every": 0 },
        }
        """, to: plan)
      let first = try RealCluster(
        run: run, plan: plan, logs: logs, failpoint: "before-commit@one")
      try first.addWorker()
      #expect(first.wait() == 137, "\(first.errors)")
      try Files.removeTree("\(run)/checkpoints")
      try disk.fill(leaving: 200_000)
      let again = try RealCluster(run: run, plan: plan, logs: logs, listen: first.address)
      #expect(again.wait() == 74, "\(again.errors)")
      #expect(exitCode(of: first.workers[0]) == 74)
      #expect(again.steps().map(\.step) == [1, 2, 3, 1, 2, 3], "\(again.errors)")
      #expect(again.errors.contains("the last checkpoint cannot be written"))
    }
  }

  /// Fills the disk after the first checkpoint, while nobody writes.
  private func fill(_ disk: SmallDisk, of cluster: RealCluster) throws {
    #expect(cluster.waitForText("checkpoint_saved: pretrain-15"))
    cluster.coordinator.signal(19)
    try disk.fill()
    cluster.coordinator.signal(18)
  }

  private func withSmallDisk(_ body: (SmallDisk, _ logs: String) throws -> Void) throws {
    let folder = try Files.createTemporaryDirectory(prefix: "cox-disk")
    defer { try? Files.removeTree(folder) }
    let disk = try SmallDisk("\(folder)/disk")
    defer { disk.unmount() }
    try body(disk, folder)
  }
}

/// A file system of 16 MiB, in memory.
struct SmallDisk {
  let folder: String
  private var filler: String { "\(folder)/filler" }

  static let isPossible: Bool = {
    guard let folder = try? Files.createTemporaryDirectory(prefix: "cox-disk") else { return false }
    defer { try? Files.removeTree(folder) }
    guard let disk = try? SmallDisk(folder) else { return false }
    disk.unmount()
    return true
  }()

  struct CannotMount: Error {}

  init(_ folder: String) throws {
    self.folder = folder
    try Files.createDirectory(folder)
    guard Self.run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder) else {
      throw CannotMount()
    }
  }

  func unmount() { _ = Self.run("umount", folder) }

  /// Takes the last free block.
  ///
  /// - Parameter byteCount: What it gives back then.
  func fill(leaving byteCount: Int = 0) throws {
    let file = try File(filler, .append)
    for byteCount in [1 << 20, 4096] {
      let zeros = [UInt8](repeating: 0, count: byteCount)
      while (try? file.append(zeros)) != nil {}
    }
    try file.truncate(to: try file.byteCount() - byteCount)
  }

  func makeRoom() throws { try Files.removeTree(filler) }

  private static func run(_ words: String...) -> Bool {
    let process = try? ChildProcess(words, errors: .file("/dev/null"))
    return process.map { exitCode(of: $0) } == 0
  }
}
