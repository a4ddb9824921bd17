import Checkpoints
import CoordinatorRuntime
import Corpus
import Planning
import Settings
import System
import Testing

@Suite struct `Opening a run folder` {
  /// Lets the run have got to `position`.
  private func reach(_ position: Int, in run: String) throws {
    let folder = try openRun(run)
    try folder.ledger.append(
      .view(number: 1, workers: ["w0"], position: position), synchronizing: false)
  }

  private func refusal(_ body: () throws -> Void) -> CoordinatorEnd? {
    do {
      try body()
      return nil
    } catch {
      return error as? CoordinatorEnd
    }
  }

  @Test func `refuses more steps for a phase that is over`() throws {
    try withRun { run in
      // Position 5 is in phase b; among the operations of the longer plan it is in phase a.
      try reach(5, in: run)
      let end = refusal { _ = try openRun(run, plan: planText(stepsOfA: 50), isAmending: true) }
      #expect(end?.code == 78)
      #expect(end?.message.contains("steps: 3 -> 50") == true, "\(end as Any)")
    }
  }

  @Test func `journals more steps for the phase it is in before it changes the plan`() throws {
    try withRun { run in
      try reach(2, in: run)
      _ = try openRun(run, plan: planText(stepsOfA: 4), isAmending: true)
      let records = Ledger.parse(try Files.read("\(run)/ledger.log")).records
      #expect(records.last == .amended(changes: ["phases[1].steps: 3 -> 4"], position: 0))
      #expect(LedgerSummary(records).committedPosition == 0)
      #expect(try openRun(run, plan: planText(stepsOfA: 4)).plan.phases[1].steps == 4)
    }
  }

  /// Phase a ends behind two of three steps: position 2 leads to 3.
  private func closeGate(in run: String) throws {
    do {
      let folder = try openRun(run)
      for record: LedgerRecord in [
        .view(number: 1, workers: ["w0"], position: 0), .gateClosed(from: 2, to: 3, reason: ""),
        .view(number: 2, workers: ["w0"], position: 4),
      ] {
        try folder.ledger.append(record, synchronizing: false)
      }
    }
    let folder = try openRun(run)
    #expect(folder.program.gaps == [3: 2])
    let saved = try commit(try folder.makeWriter(at: 4, tokensTotal: 64)).state
    #expect(saved.name == "a-2" && saved.position == 4 && saved.dataCursor == 8)
    #expect(saved.stepsTaken == [1: 2])
  }

  @Test func `counts the steps before a gate, and knows of it when the ledger is gone`() throws {
    try withRun { run in
      try closeGate(in: run)
      try Files.removeTree("\(run)/ledger.log")
      let folder = try openRun(run)
      #expect(folder.program.gaps == [3: 2] && folder.start.committedPosition == 4)
    }
  }

  @Test func `keeps a phase over that a gate ended, through amendments`() throws {
    try withRun { run in
      try closeGate(in: run)
      let longer = refusal { _ = try openRun(run, plan: planText(stepsOfA: 9), isAmending: true) }
      #expect(longer?.code == 78)
      // t v t v t V: other positions.
      let plan = planText().replacing(
        #""steps": 3, "validation": { "every": 0 }"#,
        with: #""steps": 3, "validation": { "every": 1 }"#)
      for _ in 0..<2 {
        let folder = try openRun(run, plan: plan, isAmending: true)
        #expect(folder.program.gaps == [5: 3] && folder.program.progress(at: 6) == (1, 2))
        #expect(folder.start.committedPosition == 6)
      }
    }
  }

  @Test func `takes text and plan anew while nothing was trained`() throws {
    try withRun { run in
      let folder = Files.parent(of: run)
      let text = "\(folder)/text.txt"
      func write(_ words: String) throws {
        try Files.write(Array(String(repeating: words, count: 400).utf8), to: text)
      }
      func open(_ run: String, steps: Int = 3) throws -> RunFolder {
        let plan = planText(stepsOfA: steps, source: text, tokenizer: "characters")
        let opened = try openRun(run, plan: plan)
        _ = try opened.corpora { _ in }
        return opened
      }
      try write("abc def ")
      _ = try open(run)
      try write("uvw xyz ")
      _ = try open(run, steps: 5)
      _ = try open("\(run)-fresh", steps: 5)
      let tokenizers = try [run, "\(run)-fresh"].map { try Files.read("\($0)/tokenizer.json") }
      #expect(tokenizers[0] == tokenizers[1])
      // With a view, something depends on them.
      do {
        let opened = try open(run, steps: 5)
        try opened.ledger.append(
          .view(number: 1, workers: ["w0"], position: 0), synchronizing: false)
      }
      let changedPlan = refusal { _ = try open(run, steps: 6) }
      #expect(changedPlan?.code == 78)
      try write("klm nop ")
      let changedText = refusal { _ = try open(run, steps: 5) }
      #expect(changedText?.code == 65)
    }
  }

  @Test func `knows text and tokenizer from the checkpoints when the ledger is gone`() throws {
    try withRun { run in
      let text = "\(Files.parent(of: run))/text.txt"
      let plan = planText(source: text, tokenizer: "characters")
      try Files.write(Array(String(repeating: "abc def ", count: 400).utf8), to: text)
      do {
        let folder = try openRun(run, plan: plan)
        _ = try folder.corpora { _ in }
        try commit(try folder.makeWriter(at: 2, tokensTotal: 64))
      }
      try Files.removeTree("\(run)/ledger.log")
      try Files.write(Array(String(repeating: "abc fed ", count: 400).utf8), to: text)
      let changed = refusal { _ = try openRun(run, plan: plan).corpora { _ in } }
      #expect(changed?.code == 65)
      #expect(changed?.message.contains("text.txt") == true, "\(changed as Any)")

      let other = "\(run)-other"
      try Files.write(Array(String(repeating: "xyz uvw ", count: 400).utf8), to: text)
      _ = try openRun(other, plan: plan)
      try Files.write(try Files.read("\(other)/tokenizer.json"), to: "\(run)/tokenizer.json")
      try Files.removeTree("\(run)/ledger.log")
      let replaced = refusal { _ = try openRun(run, plan: plan) }
      #expect(replaced?.message.contains("is not the tokenizer") == true, "\(replaced as Any)")
    }
  }

  @Test func `reads examples once, though they are counted before the plan is whole`() throws {
    try withRun { run in
      let plan = planText().replacing(
        #"{ "kind": "evaluate", "name": "c" }"#,
        with: #"{ "kind": "sft", "examples": { "count": 40, "epochs": 2 } }"#
      ).replacing("\"context\": 8", with: "\"context\": 128")
      var told: [String] = []
      var steps = 0
      do {
        let folder = try openRun(run, plan: plan) { told.append($0) }
        try folder.ledger.append(
          .view(number: 1, workers: ["w0"], position: 0), synchronizing: false)
        steps = folder.plan.phases[3].steps
        guard case .examples(let corpus) = try folder.corpora(tell: { told.append($0) })[3] else {
          Issue.record("the sft phase reads no examples")
          return
        }
        #expect(steps == (corpus.sequenceCount(ofEpochs: 2) + 3) / 4 && steps > 1)
        #expect(told.count { $0.contains("examples of world") } == 1, "\(told)")
      }
      // Who takes it up later counts again, and finds the same plan.
      #expect(try openRun(run, plan: plan).plan.phases[3].steps == steps)
    }
  }

  @Test func `says what stands and the whole command to go on with`() throws {
    try withRun { run in
      let folder = try openRun(run)
      #expect(
        folder.stoppedMessage("nothing was trained yet")
          == "stopped: nothing was trained yet; go on with: coordinator plan.json --data 'a b'")
    }
  }

  @Test func `ends with 74 where the disk fails, not with bad data`() throws {
    try withRun { run in
      try Files.createDirectory("\(run)/ledger.log")
      let end = refusal { _ = try openRun(run) }
      #expect(end?.code == 74)
    }
  }
}
