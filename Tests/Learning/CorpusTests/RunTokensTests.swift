internal import Corpus
internal import Settings
internal import System
internal import Tensors
internal import Testing
internal import Tokenization

@Suite struct `Tokens of a run` {
  /// Documents that end inside windows; a validation that reads less than there is.
  private static let data = DataChoice(
    source: .world(seed: 1, documents: 60), attention: .document)

  private static func phase(
    _ kind: ResolvedPlan.Phase.Kind, _ name: String, steps: Int, _ data: DataChoice = data
  ) -> ResolvedPlan.Phase {
    .init(
      kind: kind, name: name, steps: steps, data: data,
      schedule: .init(kind: .constant, peak: 1e-3, final: 1e-3, warmupSteps: 0),
      validation: .init(every: 2, tokenLimit: 96))
  }

  private static let plan = ResolvedPlan(
    name: "audit", seed: 5, precision: .bf16, dropout: 0,
    model: ModelShape(
      layerCount: 1, modelWidth: 8, headCount: 1, keyValueHeadCount: 1, headWidth: 8,
      feedForwardWidth: 32, vocabularySize: Tokenizer.bytes.vocabularySize, sequenceLength: 32,
      isHeadTied: true),
    initialization: .init(), batch: .init(sequences: 8, slices: 4, microbatch: 1),
    optimizer: .init(),
    tokenizer: .init(kind: .bytes, vocabularySize: Tokenizer.bytes.vocabularySize),
    phases: [
      phase(.tokenizer, "tokenizer", steps: 0), phase(.evaluate, "start", steps: 0),
      phase(.pretrain, "main", steps: 9),
    ],
    checkpoints: .init(every: 0))

  /// A run folder as a coordinator leaves it, and the corpus that it served.
  private func withRun(_ body: (String, Corpus) throws -> Void) throws {
    let scratch = try Scratch()
    try scratch.write(Self.plan.planJSON(), to: "plan.resolved.json")
    try scratch.write(Tokenizer.bytes.json(), to: "tokenizer.json")
    // Phases with the same text share the tokens of the first, which is phase 1.
    let corpus = try Corpus(
      data: Self.data, tokenizer: .bytes, cacheDirectories: ["\(scratch.path)/data/1"],
      sequenceLength: 32)
    try body(scratch.path, corpus)
  }

  /// What a reading says of a slice, as the worker got it.
  private func slice(_ slice: Int, of reading: RunTokens.Reading) -> TokenSlice {
    TokenSlice(
      sequences: reading.sequences.filter { $0.slice == slice }.map { sequence in
        TokenSlice.Sequence(
          tokens: sequence.tokens,
          isTarget: (0..<sequence.tokens.count - 1).map { !sequence.masked.contains($0) },
          segmentStarts: sequence.segmentStarts,
          row: sequence.row ?? TokenSlice.Sequence.noRow)
      })
  }

  @Test func `of examples are read again, of phases that sample as prompts`() throws {
    let text = """
      { "model": { "layers": 1, "width": 16, "heads": 2, "context": 240 },
        "batch": { "sequences": 8, "slices": 4, "microbatch": 2 }, "tokenizer": { "kind": "bytes" },
        "phases": [ { "kind": "tokenizer" },
          { "kind": "sft", "steps": 4, "examples": { "count": 30 },
            "validation": { "tokens": 2000, "full_at_end": false } },
          { "kind": "dpo", "steps": 4, "examples": { "count": 30 } },
          { "kind": "grpo", "examples": { "count": 30 },
            "reinforcement": { "iterations": 2, "prompts": 8, "answers": 2, "epochs": 1 } } ] }
      """
    let plan = try PlanResolver.resolve(text: text, path: "plan.json").plan
    let scratch = try Scratch()
    try scratch.write(plan.planJSON(), to: "plan.resolved.json")
    try scratch.write(Tokenizer.bytes.json(), to: "tokenizer.json")
    let corpora = try (1...3).map { try ExampleCorpus(plan, phase: $0, tokenizer: .bytes) }
    for (index, name) in ["sft", "dpo"].enumerated() {
      let corpus = corpora[index]
      let tokens = try RunTokens(
        run: scratch.path, phase: name, textDigests: [index + 1: corpus.textDigest])
      let reading = try tokens.step(3)
      #expect(reading.iteration == nil && (reading.sequences[0].row != nil) == (name == "dpo"))
      for number in 0..<4 {
        #expect(
          slice(number, of: reading) == corpus.slice(step: 2, slice: number, batch: plan.batch))
      }
      let held = tokens.validation(atEnd: true)
      let limit = name == "sft" ? corpus.rowLimit(ofTokens: 2000) : nil
      #expect(
        slice(1, of: held) == corpus.validationSlice(slice: 1, sliceCount: 4, rowLimit: limit))
    }
    // Two steps learn from the answers of an iteration.
    let sampled = try RunTokens(run: scratch.path, phase: "grpo").step(3)
    #expect(sampled.iteration == 2 && sampled.sequences.count == 8)
    let prompts = plan.batch
    #expect(slice(2, of: sampled) == corpora[2].slice(step: 1, slice: 2, batch: prompts))
    let shown = sampled.text(.bytes, marksTargets: true)
    #expect(shown.hasPrefix("grpo step 3, prompts of iteration 2, sequence 0 (slice 0, row "))
    #expect(shown.split(separator: "<|assistant_start|>>>").count == 9)
    #expect(shown.split(separator: "<|assistant_end|><<").count == 8)
    #expect {
      try RunTokens(run: scratch.path, phase: "sft", textDigests: [1: "another"])
    } throws: { error in
      if case .changedText = error as? CorpusError { true } else { false }
    }
  }

  @Test func `are those that its coordinator served, step by step`() throws {
    try withRun { run, corpus in
      let tokens = try RunTokens(run: run, phase: nil)
      #expect(tokens.phase.name == "main")
      for step in [1, 2, 9] {
        let reading = try tokens.step(step)
        #expect(reading.step == step)
        for index in 0..<4 {
          let served = try corpus.slice(
            step: step - 1, slice: index, batch: Self.plan.batch, sequenceLength: 32, seed: 5,
            phase: 2)
          #expect(slice(index, of: reading) == served)
        }
      }
    }
  }

  @Test func `of a mixture say which source each sequence is of`() throws {
    let scratch = try Scratch()
    let notes = try scratch.write(
      (0..<900).map { "#\(1000 + $0) " }.joined(), to: "notes.txt")
    var plan = Self.plan
    let mixture = DataChoice(
      mixture: [.init(.path(notes)), .init(Self.data.source, weight: 3)], attention: .document)
    plan.phases.append(Self.phase(.anneal, "anneal", steps: 4, mixture))
    try scratch.write(plan.planJSON(), to: "plan.resolved.json")
    try scratch.write(Tokenizer.bytes.json(), to: "tokenizer.json")
    // The world's tokens lie where the phase before has them.
    let folders = plan.tokenFolders(ofPhase: 3, in: scratch.path)
    #expect(folders == ["\(scratch.path)/data/3-0", "\(scratch.path)/data/1"])
    let corpus = try Corpus(
      data: mixture, tokenizer: .bytes, cacheDirectories: folders, sequenceLength: 32)
    let tokens = try RunTokens(run: scratch.path, phase: "anneal")
    let steps = try (1...4).map { try tokens.step($0) }
    for (number, reading) in steps.enumerated() {
      for index in 0..<4 {
        let served = try corpus.slice(
          step: number, slice: index, batch: plan.batch, sequenceLength: 32, seed: 5, phase: 3)
        #expect(slice(index, of: reading) == served)
      }
    }
    for reading in steps + [tokens.validation(atEnd: false), tokens.validation(atEnd: true)] {
      #expect(!reading.sequences.isEmpty)
      for sequence in reading.sequences {
        // The world has no '#'.
        #expect(sequence.source == (sequence.tokens.contains(35) ? notes : "world 1"))
      }
    }
    #expect(steps.flatMap(\.sequences).count { $0.source == notes } == 8)
    #expect(steps[0].text(.bytes, marksTargets: false).contains(" (slice 0, world 1), 33 tokens\n"))
    // Text that is no mixture needs no name, and every file of the run is found.
    #expect(try RunTokens(run: scratch.path, phase: "main").step(1).sequences[0].source == nil)
    let files = try DataCommands.inspect(scratch.path, tokenizer: nil).files.map(\.path)
    #expect(files.count == 4 && files.contains { $0.contains("/data/3-0/") })
  }

  @Test(arguments: [false, true])
  func `are those of its validations, inside the phase and at its end`(atEnd: Bool) throws {
    try withRun { run, corpus in
      let reading = try RunTokens(run: run, phase: "main").validation(atEnd: atEnd)
      for index in 0..<4 {
        let served = corpus.validationSlice(
          slice: index, sliceCount: 4, sequenceLength: 32, tokenLimit: atEnd ? nil : 96)
        #expect(slice(index, of: reading) == served)
      }
      #expect((reading.sequences.count == 3) == !atEnd)
    }
  }

  @Test func `say what is not there`() throws {
    try withRun { run, _ in
      let tokens = try RunTokens(run: run, phase: nil)
      for step in [0, 10] {
        #expect(throws: CorpusError.noStep(step, phase: "main", count: 9)) {
          try tokens.step(step)
        }
      }
      #expect(throws: CorpusError.noPhase(name: "other", found: ["start", "main"])) {
        try RunTokens(run: run, phase: "other")
      }
      #expect(throws: CorpusError.missing(path: "/nowhere/plan.resolved.json")) {
        try RunTokens(run: "/nowhere", phase: nil)
      }
      // Another text under the same phase: which of them a step read is not known.
      _ = try Corpus(
        data: DataChoice(source: .world(seed: 2, documents: 60)), tokenizer: .bytes,
        cacheDirectories: ["\(run)/data/1"], sequenceLength: 32)
      #expect(throws: CorpusError.severalTexts(path: "\(run)/data/1")) {
        try RunTokens(run: run, phase: nil)
      }
      try Files.removeTree("\(run)/data/1")
      #expect(throws: CorpusError.noTokenFiles(path: "\(run)/data/1")) {
        try RunTokens(run: run, phase: nil)
      }
      try Files.write("{", to: "\(run)/plan.resolved.json")
      #expect {
        try RunTokens(run: run, phase: nil)
      } throws: { error in
        if case .badPlan = error as? CorpusError { true } else { false }
      }
    }
  }
}
