internal import Settings
internal import Tensors
internal import Tokenization

/// An example as a model reads it.
struct EncodedExample: Sendable {
  /// Its index among those of its data.
  let row: UInt32
  /// One, or that of the chosen answer and that of the rejected one.
  let conversations: [EncodedConversation]
  let isTie: Bool

  /// Each conversation as a window of its own.
  var sequences: [TokenSlice.Sequence] {
    conversations.map { conversation in
      var sequence = conversation.sequence
      (sequence.row, sequence.isTie) = (row, isTie)
      return sequence
    }
  }
}

/// Reads the examples of a phase, encodes those that it can use and holds some of them back.
struct ExampleReading {
  let form: ExampleCorpus.Form
  let choice: ExampleChoice
  let sequenceLength: Int
  private let source: TextSource
  private var encoder: ConversationEncoder
  private(set) var passedOver = RowsPassedOver()

  init(
    _ form: ExampleCorpus.Form, _ choice: ExampleChoice, _ tokenizer: Tokenizer,
    sequenceLength: Int
  ) throws(CorpusError) {
    self.form = form
    self.choice = choice
    self.sequenceLength = sequenceLength
    source = try TextSource(choice.source, endings: TextSource.exampleEndings)
    encoder = try ConversationEncoder(tokenizer)
  }

  /// What errors and events call the data.
  var name: String { source.name }

  /// Both sides of the split, in the order of the data.
  struct Sides {
    var training: [EncodedExample] = []
    var heldBack: [EncodedExample] = []
    /// One more than the last row, used or not.
    var rowCount: Int
  }

  /// Every example that can be used, in the order of the data, and one more than the last row, used
  /// or not.
  ///
  /// - Throws: As ``ExampleCorpus``'s initializer.
  mutating func usable(
    _ event: (CorpusEvent) -> Void, _ progress: (Double) -> Void
  ) throws(CorpusError) -> (examples: [(example: Example, encoded: EncodedExample)], rowCount: Int)
  {
    for path in source.skippedPaths {
      event(.skippedFile(path: path, endings: TextSource.exampleEndings))
    }
    let examples = try self.examples()
    var used: [(example: Example, encoded: EncodedExample)] = []
    for (row, example) in examples.enumerated() {
      if let encoded = try encode(example, UInt32(row)) { used.append((example, encoded)) }
      progress(Double(row + 1) / Double(examples.count))
    }
    guard !used.isEmpty else { throw .noExamples(path: source.name, passedOver: passedOver) }
    if passedOver.count > 0 { event(.passedOver(path: source.name, passedOver)) }
    return (used, examples.count)
  }

  /// - Throws: As ``ExampleCorpus``'s initializer.
  mutating func sides(
    _ event: (CorpusEvent) -> Void, _ progress: (Double) -> Void
  ) throws(CorpusError) -> Sides {
    let (used, rowCount) = try usable(event, progress)
    var sides = Sides(rowCount: rowCount)
    for (place, (example, encoded)) in used.enumerated() {
      if isHeldBack(example.row, encoded.row, place: place, of: used.count) {
        sides.heldBack.append(encoded)
      } else {
        sides.training.append(encoded)
      }
    }
    guard !sides.training.isEmpty, !sides.heldBack.isEmpty else {
      throw .emptySide(
        path: source.name, rowCount: used.count, isTraining: sides.training.isEmpty)
    }
    event(
      .encoded(
        path: source.name, trainingCount: sides.training.count,
        heldBackCount: sides.heldBack.count))
    return sides
  }

  // MARK: - Splitting

  /// `place` counts the rows that are used.
  private func isHeldBack(_ row: ExampleRow, _ index: UInt32, place: Int, of count: Int) -> Bool {
    // The world's own: what it never asks in training.
    if case .world = choice.source { return Int(index) >= choice.exampleCount }
    switch choice.split {
    case .tail(let fraction): return place >= Int((1 - fraction) * Double(count))
    case .documents(let fraction):
      // By what is asked, so that no answer to a prompt that is trained on is held back.
      let text = row.asked.prompt.messages.map { "\($0.role.rawValue) \($0.content)\0" }
      let bytes = Array(text.joined().utf8)
      return TextSplit.isHeldBack(bytes, 0..<bytes.count, fraction)
    }
  }

  // MARK: - Reading

  private mutating func examples() throws(CorpusError) -> [Example] {
    guard case .world(let world, _) = source.origin else {
      return try source.examples(isStrict: choice.isStrict, passedOver: &passedOver)
    }
    return rows(of: world).enumerated().map { index, row in
      Example(row: row, place: "\(source.name), row \(index)")
    }
  }

  /// Those to train on, then those about questions that training never asks.
  private func rows(of world: World) -> [ExampleRow] {
    let indices = 0..<choice.exampleCount
    switch form {
    case .conversations:
      return (indices.map(world.talk) + world.unseenExchanges.map { [$0] }).map {
        .conversation(Conversation($0))
      }
    case .pairs:
      let pairs = indices.map { world.pair($0, agreement: choice.agreement) }
      return (pairs + world.unseenPairs(agreement: choice.agreement)).map {
        .pair(PreferencePair($0))
      }
    case .prompts:
      let asked = indices.map { (world.exchanges(before: $0), world.question($0)) }
      return (asked + world.unseenQuestions.map { ([], $0) }).map { earlier, question in
        let answer = World.Question.short(question.key)
        return .conversation(
          Conversation(earlier + [World.Exchange(question: question, answer: answer)]))
      }
    }
  }

  // MARK: - Encoding

  /// nil for an example that is passed over.
  private mutating func encode(
    _ example: Example, _ row: UInt32
  ) throws(CorpusError) -> EncodedExample? {
    if let mismatch = form.mismatch(example.row) {
      throw .badRow(place: example.place, reason: mismatch)
    }
    do throws(RowProblem) {
      let isTie = if case .pair(let pair) = example.row { pair.isTie } else { false }
      return EncodedExample(
        row: row, conversations: try encodeWhatFits(of: example.row), isTie: isTie)
    } catch {
      guard !choice.isStrict else { throw .badRow(place: example.place, reason: error.reason) }
      passedOver.add(example.place, error.reason)
      return nil
    }
  }

  /// What the world says before a question is left out where it does not fit, the oldest first, as
  /// in a chat. A row of a file is used whole.
  private mutating func encodeWhatFits(
    of row: ExampleRow
  ) throws(RowProblem) -> [EncodedConversation] {
    do { return try encode(row) } catch {
      guard case .world = choice.source, let rest = row.withoutFirstExchange else { throw error }
      return try encodeWhatFits(of: rest)
    }
  }

  private mutating func encode(_ row: ExampleRow) throws(RowProblem) -> [EncodedConversation] {
    switch (form, row) {
    case (.prompts, _): [try prompt(row)]
    case (_, .prompt): throw RowProblem("it has a prompt, but no answer")
    case (_, .conversation(let conversation)):
      [try fitting { (encoder) throws(TokenizerError) in try encoder.encode(conversation) }]
    case (_, .pair(let pair)):
      [try answered(pair.prompt, pair.chosen), try answered(pair.prompt, pair.rejected)]
    }
  }

  private mutating func prompt(_ row: ExampleRow) throws(RowProblem) -> EncodedConversation {
    let (prompt, answer) = row.asked
    guard prompt.messages.last?.role == .user else {
      throw RowProblem("its prompt does not end with a message of the user")
    }
    let found = try answered(prompt, answer)
    let promptCount = found.isLearned.count { !$0 }
    guard promptCount + choice.answerRoom <= sequenceLength + 1 else {
      throw RowProblem(
        "its prompt leaves no room for an answer of \(choice.answerRoom) tokens in a window of "
          + "\(sequenceLength + 1)")
    }
    return found
  }

  private mutating func answered(
    _ prompt: Conversation, _ answer: String?
  ) throws(RowProblem) -> EncodedConversation {
    try fitting { (encoder) throws(TokenizerError) in
      try encoder.encode(prompt, answer: answer)
    }
  }

  private mutating func fitting(
    _ encode: (inout ConversationEncoder) throws(TokenizerError) -> EncodedConversation
  ) throws(RowProblem) -> EncodedConversation {
    let found: EncodedConversation
    do { found = try encode(&encoder) } catch { throw RowProblem("\(error)") }
    guard found.tokens.count <= sequenceLength + 1 else {
      throw RowProblem("it is longer than a window of \(sequenceLength + 1) tokens")
    }
    return found
  }
}
