import Checkpoints
import Settings
import System
import Telemetry
import Tensors
import Testing

/// A phase of adapters between phases that train all weights, with real processes.
@Suite(.serialized) struct `A run with adapters` {
  /// The story's sizes: every one a multiple of no tile.
  private static let text = """
    {
      "name": "adapters", "seed": 5, "dropout": 0.1,
      "model": { "layers": 3, "width": 60, "heads": 6, "key_value_heads": 2, "feed_forward": 164,
        "context": 48 },
      "batch": { "sequences": 16, "slices": 8, "microbatch": 2 },
      "tokenizer": { "kind": "bpe", "vocabulary": 611 },
      "data": { "source": "world", "documents": 400 },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 20,
          "validation": { "every": 0, "tokens": 2048, "full_at_end": false } },
        { "kind": "sft", "steps": 20, "examples": { "count": 200 },
          "lora": { "rank": 4, "alpha": 6, "targets": ["query", "value", "gate", "down"] },
          "schedule": { "peak": 1e-2 },
          "validation": { "every": 10, "tokens": 1024, "full_at_end": false } },
        { "kind": "evaluate", "validation": { "tokens": 1024, "full_at_end": false } },
        { "kind": "dpo", "steps": 4, "examples": { "count": 100 },
          "validation": { "every": 0, "tokens": 1024, "full_at_end": false } },
      ],
      "checkpoints": { "every": 8, "keep": 3 },
    }
    """

  /// What one worker with one thread makes of it.
  private static let reference = try? withPlan(text) { run, plan in
    try RealCluster.outcome(run: run, plan: plan)
  }

  private func expectReference(_ cluster: RealCluster) throws {
    try cluster.expectEnd(of: Self.reference, lossCount: 44)
  }

  @Test(.timeLimit(.minutes(3)), arguments: [(2, 1), (3, 2)])
  func `gives the same bits for any number of workers and threads`(
    workerCount: Int, threadCount: Int
  ) throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan, waitingFor: workerCount)
      for _ in 0..<workerCount { try cluster.addWorker(threads: threadCount) }
      try expectReference(cluster)
    }
  }

  @Test(
    .enabled(if: DynamicLibrary(["libopenblas.so.0"]) != nil, "no OpenBLAS on this system"),
    .timeLimit(.minutes(5)))
  func `by a BLAS is as exact`() throws {
    let outcomes = try [(1, 1), (2, 1), (3, 2)].map { workerCount, threadCount in
      try withPlan(Self.text) { run, plan in
        let cluster = try RealCluster(run: run, plan: plan, waitingFor: workerCount)
        for _ in 0..<workerCount {
          try cluster.addWorker(threads: threadCount, options: ["--matmul", "blas"])
        }
        let code = cluster.wait()
        #expect(code == 0, "\(cluster.errors)")
        return cluster.outcome
      }
    }
    #expect(outcomes.dropFirst().allSatisfy { $0 == outcomes[0] })
    #expect(outcomes[0].digest.count == 64 && outcomes[0].losses.count == 44)
    #expect(outcomes[0].digest != Self.reference?.digest)
  }

  /// Step 13 of the phase, whose update has changed some of the adapters and no weight yet; or
  /// between the exchange and the update; or in the phase before and the one behind.
  @Test(.timeLimit(.minutes(3)), arguments: ["in-update@13", "before-update@13", "mid-gather@2"])
  func `survives the death of one of three workers`(failpoint: String) throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan, waitingFor: 3)
      try cluster.addWorker()
      try cluster.addWorker(failpoint: failpoint)
      try cluster.addWorker()
      try expectReference(cluster)
      #expect(cluster.workers.map { exitCode(of: $0) } == [0, 137, 0])
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `takes in a worker within the phase, and again behind it`() throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan)
      try cluster.addWorker()
      #expect(cluster.waitForText("phase sft begins"))
      try cluster.addWorker()
      #expect(cluster.waitForText("phase evaluate begins"))
      try cluster.addWorker()
      try expectReference(cluster)
    }
  }

  @Test(.timeLimit(.minutes(3))) func `goes on from a checkpoint of the phase`() throws {
    try withPlan(Self.text) { run, plan in
      for moment in ["sft-8", "phase dpo begins"] {
        let cluster = try RealCluster(run: run, plan: plan, waitingFor: 2)
        for _ in 0..<2 { try cluster.addWorker() }
        #expect(cluster.waitForText(moment))
        for process in cluster.workers + [cluster.coordinator] { process.signal(9) }
        _ = cluster.wait()
      }
      let last = try RealCluster(run: run, plan: plan)
      try last.addWorker()
      try expectReference(last)
    }
  }

  /// `W0 + s B A` from the checkpoint's own files, in f64; the export and the model of the phase
  /// behind start from it to within the rounding of an f32 chain of 4 products, a scale and a sum.
  @Test(.timeLimit(.minutes(3)))
  func `exports the weights that base and adapters make`() throws {
    try withPlan(Self.text) { run, plan in
      let cluster = try RealCluster(run: run, plan: plan)
      try cluster.addWorker()
      try expectReference(cluster)
      let saved = "\(run)/checkpoints/sft-20", hf = "\(run)/hf"
      let exported = command(["cox", "export", saved, "--hf", hf])
      try #require(exported.code == 0, "\(exported.errors)")
      let (merged, base) = (
        try tensors("\(hf)/model.safetensors"), try tensors("\(saved)/reference.safetensors")
      )
      let adapters = try tensors("\(saved)/adapter.safetensors")
      #expect(adapters.count == 3 * 4 * 2)
      var adapted = 0
      for (name, tensor) in merged {
        let stem = name.dropLast(".weight".count), was = try #require(base[name]).values
        guard let a = adapters["\(stem).lora_A.weight"], let b = adapters["\(stem).lora_B.weight"]
        else {
          #expect(tensor.values.map(\.bitPattern) == was.map(\.bitPattern), "\(name)")
          continue
        }
        adapted += 1
        let (rank, columns) = (4, tensor.shape[1])
        var isWithin = true, farthest = 0.0
        for (element, value) in tensor.values.enumerated() {
          let (n, k) = element.quotientAndRemainder(dividingBy: columns)
          let terms = (0..<rank).map {
            1.5 * Double(b.values[n * rank + $0]) * Double(a.values[$0 * columns + k])
          }
          let size = terms.reduce(Double(was[element].magnitude)) { $0 + $1.magnitude }
          let error = Double(value) - Double(was[element]) - terms.reduce(0, +)
          isWithin = isWithin && abs(error) <= Double(rank + 2) * 0x1p-24 * size
          farthest = max(farthest, abs(Double(value) - Double(was[element])))
        }
        #expect(isWithin, "\(name)")
        #expect(farthest > 1e-3, "\(name) has learned something")
      }
      #expect(adapted == 3 * 4)
    }
  }

  private func tensors(_ path: String) throws -> [String: (shape: [Int], values: [Float])] {
    let header = try SafetensorsHeader(readingFrom: path)
    let bytes = try Files.read(path)
    return Dictionary(
      uniqueKeysWithValues: header.tensors.map { tensor in
        let own = bytes[
          header.dataOffset + tensor.range.lowerBound..<header.dataOffset + tensor.range.upperBound]
        let rows = AlignedStorage<Float>(count: own.count / 4, filledWith: 0).rows
        rows.copyBytes(from: own)
        return (tensor.name, (tensor.shape, rows.array))
      })
  }

  @Test func `a rank that is too large ends with 78, its place and what to do`() throws {
    try withPlan(Self.text) { run, plan in
      let text = Self.text.replacing("\"rank\": 4", with: "\"rank\": 40")
      try Files.write(text, to: plan)
      let found = command(["coordinator", plan, "--run", run, "--listen", "127.0.0.1:0"])
      #expect(found.code == 78)
      #expect(
        found.errors.contains("rank 40 is larger than the smaller side of \"value\", 20 x 60 at"))
      #expect(found.errors.contains("plan.json:13:") && found.errors.contains("give at most 20"))
    }
  }
}
