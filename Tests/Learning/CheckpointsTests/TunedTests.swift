import Checkpoints
import Settings
import System
import Tensors
import Testing

@Suite struct `Whether a checkpoint's policy learned to chat` {
  private static func plan() throws -> ResolvedPlan {
    try PlanResolver.resolve(
      text: """
        {
          "name": "tuned", "model": { "layers": 1, "width": 20, "heads": 2, "context": 64 },
          "tokenizer": { "kind": "bytes" }, "data": { "source": "world" },
          "phases": [
            { "kind": "tokenizer" }, { "kind": "evaluate" }, { "kind": "sft", "steps": 4 },
            { "kind": "evaluate", "name": "after" },
          ],
        }
        """, path: "plan.json"
    ).plan
  }

  private func state(phase: Int, step: Int, startsTuned: Bool = false) throws -> CheckpointState {
    CheckpointState(
      run: "tuned", phaseIndex: phase, phaseName: "p", step: step, position: step,
      schedulePosition: step, tokensTotal: 0, dataCursor: 0, profile: "portable",
      layout: StateLayout(training: SampleState().state.model), startsTuned: startsTuned)
  }

  @Test func `follows from the phases that have taken steps, and from what the run began with`()
    throws
  {
    let plan = try Self.plan()
    for (phase, step, taught) in [(1, 0, false), (2, 0, false), (2, 1, true), (3, 0, true)] {
      #expect(try state(phase: phase, step: step).isTuned(by: plan) == taught)
      #expect(try state(phase: phase, step: step, startsTuned: true).isTuned(by: plan))
    }
  }

  @Test func `is saved, and follows from the phases alone where an older release saved nothing`()
    throws
  {
    let plan = try Self.plan()
    try withTemporaryDirectory { run in
      var sample = SampleState()
      sample.state = try state(phase: 1, step: 0, startsTuned: true)
      let path = "\(try sample.save(in: run))/state.json"
      let text = String(decoding: try Files.read(path), as: UTF8.self)
      #expect(try CheckpointState(reading: Array(text.utf8)).isTuned(by: plan))
      let older = text.replacing("  \"starts_tuned\" : true,\n", with: "")
      #expect(older != text)
      #expect(try !CheckpointState(reading: Array(older.utf8)).isTuned(by: plan))
      let later = older.replacing("\"phase_index\" : 1", with: "\"phase_index\" : 3")
      #expect(try CheckpointState(reading: Array(later.utf8)).isTuned(by: plan))
    }
  }
}
