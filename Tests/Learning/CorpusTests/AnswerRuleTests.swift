internal import Corpus
internal import Testing

@Suite struct `Rules for answers` {
  private func score(
    _ rule: AnswerRule, _ answer: String, row: UInt32 = 0, expected: String = ""
  ) -> Double {
    rule.score(row: row, answer: Array(answer.utf8), expected: Array(expected.utf8))
  }

  private func isRight(
    _ rule: AnswerRule, _ answer: String, row: UInt32 = 0, expected: String = ""
  ) -> Bool {
    rule.isRight(row: row, answer: Array(answer.utf8), expected: Array(expected.utf8))
  }

  @Test func `of the world judge by the question of the row, unseen ones behind the others`() {
    let world = World(seed: 7)
    let rule = AnswerRule.world(world, exampleCount: 20)
    let questions = (0..<20).map(world.question) + world.unseenQuestions
    for (row, question) in questions.enumerated() {
      let answers = [
        World.Question.short(question.key), question.long(1), question.sentence,
        World.Question.short(question.wrongKeys[0]), question.sentence(with: question.wrongKeys[1]),
        "", "...",
      ]
      for answer in answers {
        #expect(isRight(rule, answer, row: UInt32(row)) == question.isRight(answer))
        #expect(score(rule, answer, row: UInt32(row)) == question.score(answer))
      }
    }
    #expect(!isRight(rule, questions[0].sentence, row: UInt32(questions.count)))
    #expect(!isRight(rule, questions[0].sentence, row: .max))
  }

  @Test func `that match look for the expected words in a row`() {
    let expected = "Petra lives in Hollin."
    for right in ["petra? Petra lives in Hollin", "Well: Petra lives in Hollin. Yes!"] {
      #expect(isRight(.match, right, expected: expected), "\(right)")
    }
    for wrong in [
      "", "Hollin", "Petra lives now in Hollin.", "Petra lives in Hollins.",
      "petra lives in Hollin",
    ] {
      #expect(!isRight(.match, wrong, expected: expected), "\(wrong)")
    }
    // A row without an answer has no right one.
    #expect(!isRight(.match, "anything") && !isRight(.match, ""))
    #expect(score(.match, "Hollin.", expected: "Hollin") == 1 - 1.0 / 40)
    #expect(score(.match, "It is Hollin.", expected: "Hollin") == 1 - 3.0 / 40)
    #expect(score(.match, "It is not.", expected: "Hollin") == -3.0 / 40)
    let long = "Hollin" + String(repeating: " x", count: 99)
    #expect(score(.match, long, expected: "Hollin") == 0.5)
  }

  @Test(arguments: [
    [0xFF], [0xC3], [0x48, 0x69, 0x80], [0xED, 0xA0, 0x80], [0x48, 0x69, 0xF0, 0x9F],
  ]) func `call wrong what is not UTF-8, even with the right words`(bytes: [UInt8]) {
    let world = World(seed: 7)
    let key = world.question(0).key
    let answer = Array("\(key) ".utf8) + bytes
    #expect(isRight(.world(world, exampleCount: 1), "\(key) "))
    for rule in [AnswerRule.match, .world(world, exampleCount: 1)] {
      #expect(!rule.isRight(row: 0, answer: answer, expected: Array(key.utf8)))
      #expect(rule.score(row: 0, answer: answer, expected: Array(key.utf8)) < 0)
    }
  }
}
