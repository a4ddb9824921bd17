import Corpus
import Evaluation
import Testing
import Tokenization

@Suite struct `The context of a chat` {
  private func chat(context: Int, answerRoom: Int = 10) throws -> Chat {
    try Chat(tokenizer: .bytes, context: context, answerRoom: answerRoom)
  }

  /// The bytes of text tokens, and | for each special one.
  private func text(_ tokens: [UInt32]) -> String {
    String(decoding: tokens.map { $0 < 256 ? UInt8($0) : 0x7C }, as: UTF8.self)
  }

  @Test func `the model sees what was said before`() throws {
    var chat = try chat(context: 100)
    #expect(text(try chat.prompt(for: "hi")) == "||hi||")
    chat.add("hi", answer: "ho")
    #expect(text(try chat.prompt(for: "hm")) == "||hi||ho||hm||")
    chat.reset()
    #expect(chat.messages.isEmpty)
    #expect(text(try chat.prompt(for: "hm")) == "||hm||")
  }

  @Test func `whole exchanges are left out, the oldest first, and stay out`() throws {
    // A mark at the start, 8 bytes and 4 marks for each exchange, 4 and 3 for what is asked.
    var chat = try chat(context: 45)
    for (number, left) in [(1, 0), (2, 0), (3, 0), (4, 2)] {
      let prompt = try chat.prompt(for: "ask\(number)")
      #expect(prompt.count + 10 <= 45 && chat.leftOutCount == left)
      #expect(text(prompt).contains("ask\(max(1, number - 1))"))
      chat.add("ask\(number)", answer: "ans\(number)")
    }
    #expect(text(try chat.prompt(for: "x")) == "||ask3||ans3||ask4||ans4||x||")
    #expect(chat.messages.count == 8, "what was said is kept for saving")
  }

  @Test func `a message alone may take the room of the answer, but not all`() throws {
    var chat = try chat(context: 20)
    chat.add("before", answer: "after")
    #expect(try chat.prompt(for: String(repeating: "a", count: 15)).count == 19)
    #expect(throws: ChatError.tooLong(tokenCount: 20, context: 20)) {
      try chat.prompt(for: String(repeating: "a", count: 16))
    }
  }
}
