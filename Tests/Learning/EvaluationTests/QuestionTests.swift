import Corpus
import Evaluation
import Operators
import Settings
import System
import Tensors
import Testing
import Tokenization
import Transformer

/// A model that reads bytes, with weights large enough that it tells texts apart.
private func withByteModel<R>(
  head: HeadKind = .language, seed: UInt64 = 5, threadCount: Int = 1, sequenceLength: Int = 120,
  _ body: (ModelWeights, Engine) throws -> R
) rethrows -> R {
  let team = ThreadTeam(memberCount: threadCount)
  defer { team.stop() }
  let layout = ParameterLayout(
    ModelShape(
      layerCount: 2, modelWidth: 36, headCount: 4, keyValueHeadCount: 2, headWidth: 10,
      feedForwardWidth: 52, vocabularySize: 270, sequenceLength: sequenceLength,
      isHeadTied: true), head: head)
  let master = AlignedStorage<Float>(count: layout.count, filledWith: 0).rows
  for parameter in layout.parameters {
    let stream = RandomStream(seed: seed, purpose: UInt64(parameter.offset))
    for index in 0..<parameter.count {
      let draw = (stream.uniform(at: UInt64(index)) - 0.5) * 0.6
      master[parameter.offset + index] = parameter.role.isGain ? 1 + draw : draw
    }
  }
  let engine = Engine(team: team, variant: .best, precision: .bf16)
  let weights = ModelWeights(layout: layout, master: master, form: engine.form)
  weights.pack(engine)
  return try body(weights, engine)
}

private let questions = World(seed: 3).unseenQuestions.prefix(12).map(\.asked)

private func text(_ ids: [UInt32]) -> String {
  String(decoding: ids.flatMap(Tokenizer.bytes.name), as: UTF8.self)
}

@Suite struct `The form of questions` {
  private let question = TestQuestion(
    text: "Big?", key: "no", wrongKeys: ["yes"], choices: ["yes", "no"], answerIndex: 1)

  @Test func `is a conversation`() throws {
    var form = try QuestionForm(.chat, tokenizer: .bytes)
    #expect(
      text(try form.prompt(question))
        == "<|bos|><|user_start|>Big?<|user_end|><|assistant_start|>")
    let completion = try form.completion("no.")
    #expect(text(completion) == "no.<|assistant_end|>")
    #expect(form.stopTokens == [completion[3]])
    #expect(form.text(completion) == "no.")
    #expect(form.text([0xFF, 0x41]) == nil)
  }

  @Test func `is plain text after shots`() throws {
    let shot = TestQuestion(
      text: "Red?", key: "yes", wrongKeys: ["no"], choices: ["yes", "no"], answerIndex: 0)
    var form = try QuestionForm(.text(shots: [shot, shot]), tokenizer: .bytes)
    #expect(
      text(try form.prompt(question))
        == "<|bos|>Q: Red?\nA: yes.\nQ: Red?\nA: yes.\nQ: Big?\nA:")
    #expect(text(try form.completion("no.")) == " no.\n")
    // A line ends an answer, and so does a document.
    #expect(form.stopTokens == Set([10] + (256..<263)))
    #expect(form.text(Array(" no.\nQ: ".utf8).map(UInt32.init)) == "no.")
  }

  @Test func `of a conversation needs the tokens for it`() throws {
    var trainer = Tokenizer.Trainer(kind: .characters)
    try trainer.add(Array("abc.QA: \n".utf8))
    let plain = try trainer.finish()
    #expect(throws: EvaluationError.corpus(.noChatTokens(missing: "<|bos|>"))) {
      try QuestionForm(.chat, tokenizer: plain)
    }
    var form = try QuestionForm(.text(shots: []), tokenizer: plain)
    #expect(throws: EvaluationError.self) { try form.prompt(question) }
  }
}

@Suite struct `Questions to a model` {
  @Test(arguments: [QuestionForm.Style.chat, .text(shots: [])])
  func `have the same answers and likelihoods alone, together and on any threads`(
    style: QuestionForm.Style
  ) throws {
    func ask(
      _ questions: [TestQuestion], _ places: [Int], threadCount: Int, rowCapacity: Int
    ) throws -> ([JudgedAnswer], [JudgedChoices]) {
      try withByteModel(threadCount: threadCount) { weights, engine in
        let test = try QuestionTest(
          weights, engine: engine, tokenizer: .bytes, style: style, rowCapacity: rowCapacity)
        let drawing = QuestionTest.Drawing(temperature: 0.7, seed: 9, tokenLimit: 20)
        return (
          try test.answers(questions, places: places, drawing), try test.choices(questions)
        )
      }
    }
    let together = try ask(questions, Array(0..<12), threadCount: 1, rowCapacity: 64)
    let crowded = try ask(questions, Array(0..<12), threadCount: 3, rowCapacity: 2)
    #expect(crowded.0 == together.0 && crowded.1 == together.1)
    let alone = try ask([questions[5]], [5], threadCount: 1, rowCapacity: 500)
    #expect(alone.0 == [together.0[5]] && alone.1 == [together.1[5]])
    #expect(together.0.allSatisfy { $0.tokenCount <= 20 })
    #expect(Set(together.1.map(\.logProbabilities)).count == 12)
  }

  @Test(arguments: TestQuestion.Wording.allCases)
  func `give each choice the likelihood of exactly that answer`(
    wording: TestQuestion.Wording
  ) throws {
    try withByteModel { weights, engine in
      let test = try QuestionTest(
        weights, engine: engine, tokenizer: .bytes, style: .chat)
      var form = try QuestionForm(.chat, tokenizer: .bytes)
      let decoder = StreamDecoder(weights: weights, engine: engine, rowCapacity: 120)
      for (question, found) in zip(questions, try test.choices(questions, wording)) {
        #expect(found.answerIndex == question.answerIndex)
        for (index, answer) in try #require(question.answers(wording)).enumerated() {
          let stream = decoder.makeStream()
          var portion = try form.prompt(question)
          var sum = 0.0
          let completion = try form.completion(answer)
          for token in completion {
            _ = decoder.feed([(stream, portion)])
            sum += decoder.logProbabilities(of: [token])[0]
            portion = [token]
          }
          #expect(found.logProbabilities[index] == sum)
          #expect(found.tokenCounts[index] == completion.count)
        }
      }
    }
  }

  @Test func `are answered with the likelihood that any reader of the answer finds`() throws {
    try withByteModel { weights, engine in
      let test = try QuestionTest(weights, engine: engine, tokenizer: .bytes, style: .chat)
      let drawing = QuestionTest.Drawing(temperature: 1, seed: 9, tokenLimit: 20)
      let places = Array(0..<12)
      let drawn = try test.draw(questions, places: places, drawing)
      #expect(try test.logProbabilities(of: drawn) == drawn.map(\.continuation.logProbabilities))
      #expect(
        try test.answers(questions, places: places, drawing).map(\.tokenCount)
          == drawn.map(\.continuation.tokens.count))
      // Another model makes something else of them.
      try withByteModel(seed: 6) { weights, engine in
        let other = try QuestionTest(weights, engine: engine, tokenizer: .bytes, style: .chat)
        let found = try other.logProbabilities(of: drawn)
        #expect(found.map(\.count) == drawn.map(\.continuation.tokens.count))
        #expect(found != drawn.map(\.continuation.logProbabilities))
      }
    }
  }

  @Test func `are asked behind others, with the model's own answers to those`() throws {
    try withByteModel(sequenceLength: 240) { weights, engine in
      let test = try QuestionTest(weights, engine: engine, tokenizer: .bytes, style: .chat)
      // A single byte of an answer is mostly a text, several of such a model are none.
      let drawing = QuestionTest.Drawing(temperature: 1, seed: 9, tokenLimit: 1)
      let places = Array(0..<12)
      func openings(_ turnCount: Int) throws -> [Conversation] {
        try test.openings(questions, turnCount: turnCount, places: places, drawing)
      }
      let first = try test.answers(questions, places: places, drawing)
      #expect(try openings(1).allSatisfy { $0.messages.isEmpty })
      let behindOne = try openings(2), behindTwo = try openings(3)
      let second = try test.answers(questions, after: behindOne, places: places, drawing)
      for index in questions.indices {
        let before = (index + 11) % 12
        #expect(
          behindOne[index]
            == Conversation(prompt: questions[before].text, answer: first[before].text))
        #expect(
          behindTwo[index].messages
            == behindOne[before].messages + [
              .init(.user, questions[before].text), .init(.assistant, second[before].text),
            ])
      }
      #expect(second.map(\.text) != first.map(\.text) && Set(first.map(\.text)).count > 1)
      #expect(try test.choices(questions, after: behindOne) != test.choices(questions))
      var form = try QuestionForm(.chat, tokenizer: .bytes)
      let opening = Conversation(prompt: "A?", answer: "B.")
      #expect(
        text(try form.prompt(questions[0], after: opening))
          == "<|bos|><|user_start|>A?<|user_end|><|assistant_start|>B.<|assistant_end|>"
          + "<|user_start|>\(questions[0].text)<|user_end|><|assistant_start|>")
    }
  }

  @Test func `that do not fit the context are refused`() throws {
    try withByteModel(sequenceLength: 24) { weights, engine in
      let test = try QuestionTest(weights, engine: engine, tokenizer: .bytes, style: .chat)
      #expect(throws: EvaluationError.self) {
        try test.answers(questions, places: Array(0..<12), QuestionTest.Drawing())
      }
      #expect(throws: EvaluationError.self) { try test.choices(questions) }
    }
  }
}

@Suite struct `Pairs before a reward model` {
  private func sequences() throws -> [TokenSlice.Sequence] {
    try ExampleCorpus.all(
      .pairs, ExampleChoice(source: .world(seed: 3, documents: 0), exampleCount: 6),
      tokenizer: .bytes, sequenceLength: 119
    ).sequences.suffix(40)
  }

  @Test func `are scored where the answer's end has been read`() throws {
    let sequences = try sequences()
    let found = try withByteModel(head: .score) { weights, engine in
      var test = PairTest(weights, engine: engine, tokenizer: .bytes)
      return try test.scores(of: sequences)
    }
    let threaded = try withByteModel(head: .score, threadCount: 3) { weights, engine in
      var test = PairTest(weights, engine: engine, tokenizer: .bytes)
      return try test.scores(of: Array(sequences.suffix(6)))
    }
    #expect(threaded == found.suffix(3))
    withByteModel(head: .score) { weights, engine in
      let transformer = Transformer(
        weights: weights, engine: engine, tokenCapacity: 120, lookupRowCapacity: 0)
      var batch = Microbatch(tokenCapacity: 120)
      // What the last position predicts plays no part.
      func score(_ tokens: [UInt32], predicting token: UInt32) -> Double {
        let sequence = TokenSlice.Sequence(
          tokens: tokens + [token], isTarget: tokens.map { _ in false })
        batch.load(0..<1, of: TokenSlice(sequences: [sequence]), firstToken: 0)
        return transformer.values(batch)[tokens.count - 1]
      }
      for (index, pair) in found.enumerated() {
        let (chosen, rejected) = (sequences[2 * index], sequences[2 * index + 1])
        #expect(text([chosen.tokens.last ?? 0]) == "<|assistant_end|>")
        #expect(
          pair.margin
            == score(chosen.tokens, predicting: 65) - score(rejected.tokens, predicting: 66))
        #expect(pair.chosenByteCount == chosen.answer.count - 1)
        #expect(pair.rejectedByteCount == rejected.answer.count - 1)
      }
    }
  }
}

@Suite struct `Conversations before a model` {
  @Test func `have the losses that a validation sums, whatever is read beside them`() throws {
    let sequences = try ExampleCorpus.all(
      .conversations, ExampleChoice(source: .world(seed: 3, documents: 0), exampleCount: 9),
      tokenizer: .bytes, sequenceLength: 119
    ).sequences.prefix(30)
    try withByteModel { weights, engine in
      var test = ConversationTest(weights, engine: engine)
      let found = try test.losses(of: Array(sequences))
      #expect(try test.losses(of: Array(sequences.suffix(4))) == found.suffix(4))
      #expect(found.map(\.tokenCount) == sequences.map { $0.isTarget.count { $0 } })
      let transformer = Transformer(
        weights: weights, engine: engine, tokenCapacity: 120, lookupRowCapacity: 0)
      var batch = Microbatch(tokenCapacity: 120)
      let sum = transformer.loss(
        of: TokenSlice(sequences: Array(sequences)), microbatch: 1, by: &batch)
      // Sums of the same few thousand numbers in other orders.
      let loss = Mean(found)
      #expect(abs(loss.value - sum.lossSum / Double(sum.tokenCount)) < 1e-12)
      #expect(loss.interval.lowerBound < loss.value && loss.value < loss.interval.upperBound)
      #expect(Mean(found, over: found).interval == 0...0)
    }
  }

  @Test func `are refused where the model makes no numbers of them`() throws {
    withByteModel { weights, engine in
      weights.master[0] = .nan
      weights.pack(engine)
      var test = ConversationTest(weights, engine: engine)
      let sequence = TokenSlice.Sequence(tokens: [0, 1, 2], isTarget: [false, true])
      #expect(throws: EvaluationError.notFinite(what: "a loss")) {
        try test.losses(of: [sequence])
      }
    }
  }
}
