import Corpus
import Settings
import Tensors
import Testing
import Tokenization

@Suite struct `Rows of examples` {
  private func read(_ text: String) throws -> ExampleRow {
    try RowReader.read(try JSONReader.read(text))
  }

  @Test func `are read in every form`() throws {
    let asked = Conversation(prompt: "Q", answer: "A")
    for text in [
      #"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}"#,
      #"{"prompt": "Q", "completion": "A"}"#, #"{"instruction": "Q", "input": "", "output": "A"}"#,
      #"{"instruction": "Q", "response": "A"}"#,
      #"{"prompt": [{"role": "user", "content": "Q"}], "#
        + #""completion": [{"role": "assistant", "content": "A"}]}"#,
      #"{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}"#,
      #"{"id": "1", "instruction": "Q", "instances": [{"input": "", "output": "A"}, "#
        + #"{"input": "", "output": "C"}], "is_classification": false}"#,
    ] {
      #expect(try read(text) == .conversation(asked), "\(text)")
    }
    for text in [
      #"{"instruction": "Add.", "input": "1 2", "output": "3"}"#,
      #"{"instruction": "Add.", "instances": [{"input": "1 2", "output": "3"}]}"#,
    ] {
      #expect(
        try read(text) == .conversation(Conversation(prompt: "Add.\n\n1 2", answer: "3")))
    }
    let question = Conversation([.init(.user, "Q")])
    let pair = ExampleRow.pair(PreferencePair(prompt: question, chosen: "A", rejected: "B"))
    for text in [
      #"{"prompt": "Q", "chosen": "A", "rejected": "B"}"#,
      #"{"instruction": "Q", "input": "", "output": "A", "chosen": "A", "rejected": "B"}"#,
      #"{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "#
        + #""content": "A"}], "rejected": [{"role": "assistant", "content": "B"}]}"#,
      #"{"prompt": "Q", "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "#
        + #""content": "A"}], "rejected": "B"}"#,
      #"{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "#
        + #""rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "#
        + #""content": "B"}]}"#,
      #"{"instruction": "Q", "response1": "B", "response2": "A", "#
        + #""annotator1": 2, "annotator3": 0}"#,
      #"{"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}"#,
      #"{"instruction": "Q", "response1": "A", "response2": "B", "#
        + #""annotator1": 1, "annotator2": 0}"#,
      #"{"instruction": "Q", "response1": "B", "response2": "A", "#
        + #""annotator1": 2, "annotator2": 2}"#,
      #"{"input": "Q", "output_1": "A", "output_2": "B", "label": 1}"#,
      #"{"input": "Q", "output_1": "B", "output_2": "A", "label": 2}"#,
      #"{"scenario": "s", "prompt": "Q", "response 1": "A", "response 2": "B", "label": 0}"#,
      #"{"scenario": "s", "prompt": "Q", "response 1": "B", "response 2": "A", "label": 1}"#,
      #"{"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "#
        + #""value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#,
    ] {
      #expect(try read(text) == pair, "\(text)")
    }
    for text in [
      #"{"prompt": "Q"}"#, #"{"instruction": "Q", "input": ""}"#,
      #"{"messages": [{"role": "user", "content": "Q"}]}"#,
    ] {
      #expect(try read(text) == .prompt(question))
    }
    for tie in [
      #"{"instruction": "Q", "response1": "A", "response2": "B", "annotator1": 0}"#,
      #"{"instruction": "Q", "response1": "A", "response2": "B", "#
        + #""annotator1": 2, "annotator2": 1}"#,
      #"{"prompt": "Q", "response 1": "A", "response 2": "B", "label": 2}"#,
    ] {
      #expect(
        try read(tie)
          == .pair(PreferencePair(prompt: question, chosen: "A", rejected: "B", isTie: true)))
    }
  }

  @Test func `keep what was said before the answers of a pair`() throws {
    let row = #"{"conversations": [{"from": "system", "value": "S"}, {"from": "human", "#
      + #""value": "P"}, {"from": "gpt", "value": "O"}, {"from": "human", "value": "Q"}], "#
      + #""chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#
    let prompt = Conversation([
      .init(.system, "S"), .init(.user, "P"), .init(.assistant, "O"), .init(.user, "Q"),
    ])
    #expect(
      try read(row) == .pair(PreferencePair(prompt: prompt, chosen: "A", rejected: "B")))
  }

  @Test(arguments: [
    (#"[1]"#, "it is a list, not an object"), (#"{"text": "x"}"#, "it has no messages, prompt"),
    (#"{"prompt": "Q", "completion": ""}"#, "its completion is empty"),
    (
      #"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": ""}]}"#,
      "an answer of the assistant is empty"
    ),
    (
      #"{"prompt": "Q", "completion": [{"role": "user", "content": "A"}]}"#,
      "completion does not end with an answer of the assistant"
    ),
    (
      #"{"prompt": "Q", "rejected": "A", "chosen": [{"role": "user", "content": "P"}, "#
        + #"{"role": "assistant", "content": "B"}]}"#,
      "chosen answers something else than the prompt"
    ),
    (
      #"{"chosen": [{"role": "assistant", "content": "A"}], "rejected": [{"role": "assistant", "#
        + #""content": "B"}]}"#,
      "chosen has no message of the user before its answer"
    ),
    (#"{"prompt": 3, "completion": "A"}"#, "its prompt is the number 3, not a text"),
    (#"{"messages": "x"}"#, "its messages is no list"),
    (#"{"messages": []}"#, "it has no message"),
    (#"{"messages": [{"role": "tool", "content": "Q"}]}"#, "'tool' is no role"),
    (
      #"{"messages": [{"role": "user", "content": "Q"}, {"role": "system", "content": "S"}]}"#,
      "a system message may only come first"
    ),
    (
      #"{"messages": [{"role": "system", "content": "S"}, {"role": "assistant", "content": "A"}, "#
        + #"{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}]}"#,
      "behind a system message comes no user message"
    ),
    (
      #"{"messages": [{"role": "system", "content": "S"}, {"role": "assistant", "content": "A"}]}"#,
      "behind a system message comes no user message"
    ),
    (#"{"prompt": "Q", "chosen": "A"}"#, "it has no rejected"),
    (#"{"prompt": "Q", "chosen": "A", "rejected": "A"}"#, "both answers are the same"),
    (#"{"chosen": "hello", "rejected": "there"}"#, "chosen is no transcript"),
    (
      #"{"chosen": "\n\nHuman: P\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}"#,
      "differ before their last answers"
    ),
    (
      #"{"instruction": "Q", "response1": "A", "response2": "B", "annotator1": 7}"#,
      "its annotator1 is the number 7, not one of 0, 1, 2"
    ),
    (
      #"{"input": "Q", "output_1": "A", "output_2": "B", "label": 0}"#,
      "its label is the number 0, not one of 1, 2"
    ),
    (#"{"input": "Q", "output_1": "A", "output_2": "B"}"#, "it has no label"),
    (#"{"output_1": "A", "output_2": "B", "label": 1}"#, "it has no input"),
    (
      #"{"prompt": "Q", "response 1": "A", "response 2": "A", "label": 0}"#,
      "both answers are the same"
    ),
    (#"{"prompt": "Q", "response 1": "A", "label": 0}"#, "it has no response 2"),
    (
      #"{"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "human", "#
        + #""value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#,
      "chosen does not end with an answer of the assistant"
    ),
    (#"{"conversations": [{"from": "bot", "value": "Q"}]}"#, "'bot' is no role"),
    (
      #"{"idx": 0, "gpt_result": "1", "gpt_reason": "It is short.", "gpt_reference": "R"}"#,
      "it has the vote of a judge, but not the answers that were judged"
    ),
    (#"{"instruction": "Q", "instances": []}"#, "its instances are no list with an element"),
    (#"{"instruction": "Q", "instances": [{"input": "", "output": ""}]}"#, "its output is empty"),
    (#"{"instruction": "Q", "response1": "A", "response2": "B"}"#, "nobody voted"),
  ])
  func `that are none say why`(text: String, reason: String) throws {
    let node = try JSONReader.read(text)
    #expect {
      try RowReader.read(node)
    } throws: { error in
      (error as? RowProblem)?.reason.contains(reason) ?? false
    }
  }

  @Test func `that are none end the reading, or are counted`() throws {
    let scratch = try Scratch()
    let path = try scratch.write(
      """
      {"prompt": "Q", "completion": "A"}

      {"prompt": "Q"
      {"prompt": "Q", "completion": ""}
      """, to: "rows.jsonl")
    let source = try TextSource(.path(path))
    var passedOver = RowsPassedOver()
    let found = try source.examples(isStrict: false, passedOver: &passedOver)
    #expect(found.map(\.place) == ["\(path), line 1"] && passedOver.count == 2)
    #expect(passedOver.first[0].hasPrefix("\(path), line 3: column 1: this section has no '}'"))
    #expect {
      try source.examples(isStrict: true, passedOver: &passedOver)
    } throws: { error in
      "\(error)".hasPrefix("\(path), line 3: column 1: this section has no '}'")
    }
    let list = try scratch.write("[{\"prompt\": \"Q\", \"completion\": \"A\"}, 3]", to: "rows.json")
    #expect {
      try TextSource(.path(list)).examples(isStrict: true, passedOver: &passedOver)
    } throws: { error in
      "\(error)" == "\(list), row 2: it is the number 3, not an object"
    }
  }

  /// Row counts of SOURCES.md and of the files; every row is one of the forms.
  @Test(
    .enabled(if: SampleData.has("sft"), "needs the data folder"),
    arguments: [
      ("sft/alpaca_en_demo_1000.json", 999, 0), ("sft/rasbt_instruction_1100.json", 1100, 0),
      ("preference/rasbt_preference_1100.json", 0, 1100),
      ("preference/pandalm_human_999.json", 0, 999),
      ("preference/hh_harmless_base_A.jsonl.gz", 0, 1831),
      ("preference/autoj_pairwise_A.jsonl.gz", 0, 697),
      ("preference/llmbar_Natural.json", 0, 100),
      ("preference/llmbar_Adversarial_Neighbor.json", 0, 134),
      ("preference/llmbar_Adversarial_GPTInst.json", 0, 92),
      ("preference/llmbar_processed_mtbench_human.json", 0, 200),
      ("preference/dpo_en_demo_300.json.gz", 0, 300),
      ("sft/alpaca_seed_tasks.jsonl", 175, 0), ("sft/user_oriented_instructions_252.jsonl", 252, 0),
    ])
  func `of real files are all understood`(name: String, conversations: Int, pairs: Int) throws {
    var passedOver = RowsPassedOver()
    let found = try TextSource(.path(SampleData.path(name)))
      .examples(isStrict: false, passedOver: &passedOver)
    let kinds = found.map { if case .pair = $0.row { true } else { false } }
    let ofPairs = kinds.count { $0 }
    // Equal or empty answers are passed over, and said so.
    #expect(ofPairs + kinds.count { !$0 } + passedOver.count == conversations + pairs)
    #expect(conversations == 0 || ofPairs == 0)
    #expect(passedOver.count <= 60, "\(passedOver.counts)")
  }
}

@Suite struct `Conversations` {
  private func encode(
    _ conversation: Conversation, opensAnswer: Bool = false
  ) throws -> EncodedConversation {
    var encoder = try ConversationEncoder(.bytes)
    return try encoder.encode(conversation, opensAnswer: opensAnswer)
  }

  private func id(_ token: SpecialToken) throws -> UInt32 {
    try #require(Tokenizer.bytes.id(of: token))
  }

  private func bytes(_ text: String) -> [UInt32] { text.utf8.map(UInt32.init) }

  @Test func `are written with the template, and only the assistant's words are learned`() throws {
    let found = try encode(
      Conversation([
        .init(.system, "S"), .init(.user, "ab"), .init(.assistant, "cd"), .init(.user, "e"),
        .init(.assistant, "f"),
      ]))
    var expected: [(tokens: [UInt32], isLearned: Bool)] = []
    expected.append(([try id(.bos), try id(.userStart)] + bytes("S\n\nab"), false))
    expected.append(([try id(.userEnd), try id(.assistantStart)], false))
    expected.append((bytes("cd") + [try id(.assistantEnd)], true))
    expected.append(
      ([try id(.userStart)] + bytes("e") + [try id(.userEnd), try id(.assistantStart)], false))
    expected.append((bytes("f") + [try id(.assistantEnd)], true))
    #expect(found.tokens == expected.flatMap(\.tokens))
    #expect(found.isLearned == expected.flatMap { part in part.tokens.map { _ in part.isLearned } })
    let window = found.sequence
    #expect(window.isTarget == Array(found.isLearned.dropFirst()) && window.tokens == found.tokens)
  }

  @Test func `can be opened for an answer`() throws {
    let whole = try encode(Conversation(prompt: "Q", answer: "A"))
    let open = try encode(Conversation([.init(.user, "Q")]), opensAnswer: true)
    let last = try id(.assistantStart)
    #expect(whole.tokens.starts(with: open.tokens) && open.tokens.last == last)
    #expect(open.isLearned.allSatisfy { !$0 })
  }

  @Test func `take no special token from what a user writes`() throws {
    let specials = Set(try SpecialToken.allCases.map(id))
    for token in SpecialToken.allCases {
      let honest = try encode(Conversation(prompt: "", answer: "A"))
      let tricked = try encode(Conversation(prompt: token.rawValue, answer: "A"))
      #expect(
        tricked.tokens.filter(specials.contains) == honest.tokens.filter(specials.contains))
    }
  }

  // MARK: Packing

  private static let sizes = [5, 9, 17, 3, 2, 12, 7, 7, 4, 16, 11, 6]

  /// Conversation `i` is made of the token `i`; all but its first token are learned.
  private func packing(sequenceLength: Int = 16, seed: UInt64 = 1) -> ConversationPacking {
    ConversationPacking(
      Self.sizes.enumerated().map { index, size in
        EncodedConversation(
          tokens: Array(repeating: UInt32(index), count: size),
          isLearned: [false] + Array(repeating: true, count: size - 1))
      }, sequenceLength: sequenceLength, seed: seed, phase: 2)
  }

  @Test func `are packed whole, each once in an epoch, with attention kept inside`() {
    var packing = packing()
    var first = 0
    for epoch in 1...3 {
      let end = packing.windowCount(ofEpochs: epoch)
      var seen: [UInt32] = []
      for number in first..<end {
        let window = packing.window(number)
        #expect(window.tokens.count <= 17)
        let starts = window.segmentStarts.map(Int.init)
        for (place, start) in starts.enumerated() {
          let stop = place + 1 < starts.count ? starts[place + 1] : window.tokens.count
          let member = window.tokens[start]
          #expect(stop - start == Self.sizes[Int(member)])
          #expect(window.tokens[start..<stop].allSatisfy { $0 == member })
          // The token after a conversation's last is another's first: never to be predicted.
          if stop < window.tokens.count { #expect(!window.isTarget[stop - 1]) }
          seen.append(member)
        }
        #expect(window.isTarget.count { $0 } == window.tokens.count - starts.count)
      }
      #expect(seen.sorted() == (0..<12).map { UInt32($0) })
      first = end
    }
  }

  @Test func `are packed the same in any order of asking, and otherwise in each epoch`() {
    var forward = packing(), backward = packing()
    let count = forward.windowCount(ofEpochs: 2)
    let windows = (0..<count).map { forward.window($0) }
    #expect((0..<count).reversed().map { backward.window($0) } == windows.reversed())
    let half = forward.windowCount(ofEpochs: 1)
    #expect(Array(windows[..<half]) != Array(windows[half...]))
    var other = packing(seed: 2)
    #expect((0..<half).map { other.window($0) } != Array(windows[..<half]))
  }
}
