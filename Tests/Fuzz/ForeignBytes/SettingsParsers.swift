import Planning
import Settings
import System

let settingsParsers: [ForeignParser] = [json, plan]

private let json = ForeignParser(
  "json",
  seeds: {
    [
      #"{"a": [1, -2.5e3, true, null, "x\u00e9\uD83D\uDE00\n"], /* b */ "c": {"d": [],},} // e"#
    ].map { Array($0.utf8) }
  },
  read: { bytes in
    guard let node = try? JSONReader.read(bytes) else { return }
    let text = node.jsonText()
    requireSame(try? JSONReader.read(text).jsonText(), text, "JSON written again")
  })

private let plan = ForeignParser(
  "plan",
  seeds: {
    let shapes = [
      #"{"depth": 2}"#, #"{"shape": "tiny", "batch": {"sequences": 16, "slices": 4}}"#,
      #"{"tokenizer": {"kind": "bytes"}, "phases": [{"kind": "tokenizer"}, {"kind": "pretrain", "#
        + #""steps": 40, "schedule": {"kind": "wsd", "warmup": 5, "decay": 9}, "#
        + #""validation": "full"}, {"kind": "evaluate"}], "data": {"source": "books"}}"#,
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "sft", "examples": {"epochs": 3}}, {"kind": "#
        + #""dpo", "examples": {"epochs": 2}}]}"#,
      #"{"data": {"mixture": [{"source": "a", "weight": 3}, {"source": "world", "seed": 7}]}}"#,
    ]
    // As large as a plan can be: one more digit anywhere is too much.
    let largest =
      #"{"model": {"context": 1048576}, "batch": {"sequences": 64, "slices": 1}, "phases": "#
      + #"[{"kind": "tokenizer"}, {"kind": "pretrain", "steps": 1000000000}]}"#
    let whole = try? PlanResolver.resolve(text: shapes[0], path: "plan.json").plan.planJSON()
    return (shapes + [largest, whole ?? ""]).map { Array($0.utf8) }
  },
  read: { bytes in
    let text = String(decoding: bytes, as: UTF8.self)
    guard let resolution = try? PlanResolver.resolve(text: text, path: "plan.json") else { return }
    let plan = resolution.plan
    requireSame(try? ResolvedPlan(planJSON: plan.planJSON()), plan, "a plan written again")
    let program = PhaseProgram(plan)
    _ = program.operation(at: program.operationCount - 1)
    // Dealing thousands of slices takes seconds, and that is all that would be seen.
    guard plan.batch.slices <= 16 else { return }
    let report = PlanReport(
      resolution,
      on: PlanReport.Cluster(
        workerCount: 2, threadCount: 2, memoryByteCount: 1 << 30,
        assumptions: TimeEstimate.Assumptions(peakPerThread: 100)),
      textByteCount: { _ in 1 << 40 })
    _ = report.lines
    _ = report.json.jsonText()
    _ = try? report.checkTogether()
  })
