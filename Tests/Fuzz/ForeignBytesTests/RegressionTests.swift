import Checkpoints
import ControlProtocol
import CoordinatorRuntime
import Planning
import Settings
import Tensors
import Testing

/// Each of these ended the process before it was found by reading or by the fuzzer.
@Suite struct `Numbers that no honest sender means` {
  private func decoded<Message: ForeignMessage & Encodable>(_ message: Message) -> Message? {
    try? MessageCoding.decode(Message.self, from: MessageCoding.encode(message))
  }

  private func report(position: Int = 1, recomputed: Int = 0) -> OperationReport {
    OperationReport(
      view: 1, position: position, tokenCount: 8, lossSum: 1, gradientNorm: 1, learningRate: 1,
      isSkipped: false, sliceCount: 1, recomputedCount: recomputed, time: OperationTime(),
      byteCount: 0)
  }

  private func resumption(
    slices: [[Int]] = [[0, 1]], sources: [StateSource] = [.own], view: Int = 1
  ) -> Resumption {
    Resumption(
      view: view, members: [Member(worker: 0, name: "w0", dataAddress: "127.0.0.1:1")],
      position: 0, slices: slices, sources: sources, grantedPosition: 2)
  }

  @Test func `are refused in a worker's messages`() {
    #expect(decoded(WorkerMessage.completed(report())) != nil)
    for message: WorkerMessage in [
      .completed(report(position: .max)), .completed(report(position: -1)),
      .completed(report(recomputed: .max)),
      .suspended(view: 1, position: .max, nodes: []),
      .suspended(view: 1, position: 1, nodes: [SliceNode(level: 63, index: 1)]),
      .suspended(view: 1, position: 1, nodes: [SliceNode(level: 0, index: .max)]),
      .suspended(view: 1, position: 1, nodes: [SliceNode(level: 1, index: -1)]),
      .peerLost(view: -1, rank: 0, cause: ""),
    ] {
      #expect(decoded(message) == nil, "\(message)")
    }
  }

  @Test func `are refused in a coordinator's messages`() {
    #expect(decoded(CoordinatorMessage.resume(resumption())) != nil)
    for message: CoordinatorMessage in [
      .resume(resumption(slices: [])), .resume(resumption(sources: [])),
      .resume(resumption(sources: [.member(rank: 1)])), .resume(resumption(view: 1 << 32)),
      .grant(view: 1, position: -1), .save(position: 1, chunks: 0..<Int.max), .suspend(view: -1),
    ] {
      #expect(decoded(message) == nil, "\(message)")
    }
  }

  @Test func `do not pass as a view or as tokens of the plan`() throws {
    #expect(resumption().fits(operationCount: 2, sliceCount: 2))
    #expect(!resumption().fits(operationCount: 1, sliceCount: 2))
    for gaps in [[1: 0], [0: 0], [0: -1]] {
      var ahead = resumption()
      ahead.gaps = gaps
      #expect(!ahead.fits(operationCount: 2, sliceCount: 2), "\(gaps)")
    }
    for slices in [[[0]], [[0, 1, 2]], [[0, 0]], [[0, 1, -1]]] {
      #expect(!resumption(slices: slices).fits(operationCount: 2, sliceCount: 2), "\(slices)")
    }
    let plan = try PlanResolver.resolve(
      text: """
        {"model": {"vocabulary": 263, "context": 4}, "batch": {"sequences": 2, "slices": 2},
         "tokenizer": {"kind": "bytes"}}
        """, path: "p.json").plan
    func slices(_ token: UInt32, positions: Int = 4, count: Int = 2) -> [TokenSlice] {
      let sequence = TokenSlice.Sequence(
        tokens: [UInt32](repeating: token, count: positions + 1),
        isTarget: [Bool](repeating: true, count: positions))
      return [TokenSlice](repeating: TokenSlice(sequences: [sequence]), count: count)
    }
    #expect(plan.fits(slices(262), sequencesPerSlice: plan.batch.sequencesPerSlice))
    #expect(!plan.fits(slices(263), sequencesPerSlice: plan.batch.sequencesPerSlice))
    #expect(!plan.fits(slices(0, positions: 5), sequencesPerSlice: nil))
    #expect(!plan.fits(slices(0, count: 1), sequencesPerSlice: nil))
    let empty = [TokenSlice(sequences: []), TokenSlice(sequences: [])]
    #expect(!plan.fits(empty, sequencesPerSlice: plan.batch.sequencesPerSlice))
    #expect(plan.fits(empty, sequencesPerSlice: nil))
  }

  @Test func `make a line of the ledger a damaged one`() {
    let good = LedgerRecord.joined(worker: 0, name: "w0")
    for bad: LedgerRecord in [
      .joined(worker: .max, name: "w"),
      .opened(run: 1, incarnation: .max, planDigest: "", tokenizerDigest: nil),
      .view(number: .max, workers: [], position: 0), .committed(position: -1),
    ] {
      let text = Ledger.line(bad) + Ledger.line(good)
      #expect(Ledger.parse(Array(text.utf8)).badLine == 1, "\(bad)")
    }
  }

  @Test func `make a checkpoint's state unreadable`() throws {
    func state(tokens: String, layers: Int, _ more: String = "") -> [UInt8] {
      Array(
        """
        {"data_cursor": 0, "model": {"feed_forward_width": 8, "head_count": 2, "head_width": 2,
        "is_head_tied": true, "key_value_head_count": 1, "layer_count": \(layers),
        "model_width": 4, "norm_epsilon": 1e-05, "rope_theta": 10000, "sequence_length": 8,
        "vocabulary_size": 16}, "phase_index": 1, "phase_name": "p", "position": 1,
        "profile": "", "run": "r", "schedule_position": 1, "step": 1,
        "tokens_total": \(tokens)\(more)}
        """.utf8)
    }
    _ = try CheckpointState(reading: state(tokens: "8", layers: 2))
    let error = CheckpointError.malformed(file: "state.json")
    #expect(throws: error) {
      try CheckpointState(reading: state(tokens: "18446744073709551615", layers: 2))
    }
    #expect(throws: error) { try CheckpointState(reading: state(tokens: "8", layers: 65000)) }
    func adapted(_ rank: Int, _ targets: String, trained: String = "adapter") -> [UInt8] {
      state(
        tokens: "8", layers: 2,
        """
        , "frozen": ["policy"], "trained": ["\(trained)"],
        "adapter": {"alpha": 1, "rank": \(rank), "targets": [\(targets)]}
        """)
    }
    _ = try CheckpointState(reading: adapted(2, "\"key\", \"up\""))
    for bad in [
      adapted(3, "\"key\""), adapted(0, "\"up\""), adapted(1, ""), adapted(1, "\"all\""),
      adapted(1, "\"up\", \"up\""), adapted(1, "\"up\"", trained: "value"),
      state(tokens: "8", layers: 2, ", \"frozen\": [\"policy\"], \"trained\": [\"adapter\"]"),
    ] {
      #expect(throws: error) { try CheckpointState(reading: bad) }
    }
  }

  @Test(arguments: [
    #"{"batch": {"sequences": 1048576}, "model": {"context": 1048576}}"#,
    #"{"model": {"layers": 1000, "width": 65536, "feed_forward": 1048576}}"#,
  ])
  func `make a plan that is refused before it is costed`(text: String) {
    let error = #expect(throws: PlanError.self) {
      try PlanResolver.resolve(text: text, path: "p.json")
    }
    #expect(error?.issues.contains { $0.summary.contains("out of reach") } == true)
  }

  /// The resolved plan travels to workers and is read on resume: found by the fuzzer.
  @Test(arguments: [
    (#"{"depth": 218}"#, "phases[1].steps would be "),
    (#"{"model": {"width": 65536, "heads": 1}}"#, "model.head_width would be 65536 "),
  ])
  func `make a plan that is refused where its own rules lead out of its keys' ranges`(
    text: String, summary: String
  ) {
    let error = #expect(throws: PlanError.self) {
      try PlanResolver.resolve(text: text, path: "p.json")
    }
    #expect(error?.issues.contains { $0.summary.hasPrefix(summary) } == true, "\(error as Any)")
  }
}
