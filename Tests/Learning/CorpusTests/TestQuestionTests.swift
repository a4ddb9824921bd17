import Corpus
import Testing

@Suite struct `Test questions` {
  @Test func `go to a file and come back`() throws {
    let scratch = try Scratch()
    _ = try DataCommands.WorldExamples(
      seed: 7, conversationCount: 0, pairCount: 0, agreement: 1
    ).write(to: scratch.path)
    let expected = World(seed: 7).unseenQuestions.map(\.asked)
    let found = try TestQuestion.read("\(scratch.path)/unseen.jsonl")
    #expect(found == expected)
    // A wrong answer that is none of the choices is as wrong as by the world itself.
    for (question, original) in zip(found, expected) {
      for key in [original.key] + original.wrongKeys {
        for answer in [key + ".", "\(original.key) or \(key)."] {
          #expect(question.isRight(answer) == original.isRight(answer), "\(answer)")
        }
      }
    }
    let others = expected.map { Set($0.wrongKeys).subtracting($0.choices) }
    #expect(others.contains { !$0.isEmpty })
  }

  @Test func `need no topic`() throws {
    let scratch = try Scratch()
    let row =
      #"{"question": "Big?", "answer": "no", "choices": ["yes", "no"], "answer_index": 1}"#
    let path = try scratch.write(row, to: "q.jsonl")
    #expect(
      try TestQuestion.read(path) == [
        TestQuestion(
          text: "Big?", key: "no", wrongKeys: ["yes"], choices: ["yes", "no"], answerIndex: 1)
      ])
  }

  @Test func `count choices as wrong answers, beside those that are named`() throws {
    let scratch = try Scratch()
    let row = #"{"question": "q", "answer": "a", "choices": ["b", "a"], "answer_index": 1, "#
    for (wrong, keys) in [(#"["c"]"#, ["c", "b"]), (#"["b", "c"]"#, ["b", "c"]), ("[]", ["b"])] {
      let path = try scratch.write(row + #""wrong": \#(wrong)}"#, to: "q.jsonl")
      #expect(try TestQuestion.read(path).map(\.wrongKeys) == [keys])
    }
  }

  @Test(arguments: [
    (#"{"question": "q", "answer": "a", "choices": ["a", "b"], "answer_index": 0, "wrong": "b"}"#,
      "\"wrong\" are not texts"),
    (#"{"question": "q", "answer": "a", "choices": ["a", "b"], "answer_index": 0, "wrong":["a"]}"#,
      "differ from \"a\""),
    (#"{"answer": "a", "choices": ["a", "b"], "answer_index": 0}"#, "no text \"question\""),
    (#"{"question": "q", "choices": ["a", "b"], "answer_index": 0}"#, "no text \"answer\""),
    (#"{"question": "q", "answer": "a", "choices": ["a"], "answer_index": 0}"#, "two texts"),
    (#"{"question": "q", "answer": "a", "choices": ["a", 1], "answer_index": 0}"#, "two texts"),
    (#"{"question": "q", "answer": "a", "choices": ["a", "a"], "answer_index": 0}"#, "each once"),
    (#"{"question": "q", "answer": "a", "choices": ["a", "b"], "answer_index": 1}"#, "\"a\""),
    (#"{"question": "q", "answer": "a", "choices": ["a", "b"], "answer_index": 9}"#, "\"a\""),
    (
      #"{"question": "q", "answer": "a", "choices": ["a", "b"], "answer_index": 0, "#
        + #""sentences": ["A"]}"#, "\"sentences\""
    ),
    ("[1]", "row 1: it has no text"), ("{", "column"),
  ]) func `name the row that is none`(row: String, problem: String) throws {
    let scratch = try Scratch()
    let path = try scratch.write(row, to: "q.jsonl")
    #expect {
      try TestQuestion.read(path)
    } throws: { error in
      "\(error)".contains("q.jsonl") && "\(error)".contains(problem)
    }
  }

  @Test func `word their choices as names and as sentences`() {
    for question in World(seed: 7).unseenQuestions.map(\.asked) {
      let (names, sentences) = (question.answers(.name) ?? [], question.answers(.sentence) ?? [])
      #expect(names.count == question.choices.count && sentences.count == names.count)
      for (index, choice) in question.choices.enumerated() {
        #expect(names[index] == choice + "." && sentences[index].contains(choice))
        #expect(question.isRight(sentences[index]) == (index == question.answerIndex))
      }
    }
    let plain = TestQuestion(
      text: "Big?", key: "no", wrongKeys: ["yes", "so"], choices: ["yes", "no"], answerIndex: 1)
    #expect(plain.answers(.sentence) == nil && plain.guessShare == 1.0 / 3)
  }

  @Test func `of an empty file are an error`() throws {
    let scratch = try Scratch()
    let path = try scratch.write("\n", to: "q.jsonl")
    #expect(throws: CorpusError.emptySource(path: path)) {
      try TestQuestion.read(path)
    }
  }

  @Test func `compare answers by correctness, then by length`() {
    let question = World(seed: 7).question(0).asked
    let (short, wrong) = (question.key + ".", question.wrongKeys[0] + ".")
    let worths = [short, short + " Yes, so it is.", "I say " + wrong, ""].map(question.worth)
    #expect(worths.map(\.isRight) == [true, true, false, false])
    #expect(worths[1].preference(over: worths[3]) == 1)
    #expect(worths[1].correctness(over: worths[0]) == 0 && worths[1].brevity(over: worths[0]) < 0)
    #expect(worths[0].preference(over: worths[1]) == 1)
    #expect(worths[2].preference(over: worths[3]) == -1)
    #expect(worths[3].brevity(over: worths[0]) == 1 && worths[3].correctness(over: worths[0]) < 0)
    #expect(worths[0].preference(over: worths[0]) == 0)
  }
}
