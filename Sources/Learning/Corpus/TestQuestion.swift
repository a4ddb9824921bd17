internal import Settings
internal import System

/// A question with a known answer, as a test asks it.
public struct TestQuestion: Equatable, Sendable {
  /// What it is about; nil where nobody said.
  public var topic: String?
  /// `Where does Petra live?`
  public var text: String
  /// The words that a right answer must hold: `Hollin`.
  public var key: String
  /// Other answers of the same sort, none of them right.
  public var wrongKeys: [String]
  /// At least two answers, one of them right.
  public var choices: [String]
  /// Index of the right one.
  public var answerIndex: Int
  /// Each choice in a sentence of its own, `Petra lives in Hollin.`; nil where nobody said.
  public var sentences: [String]?

  /// - Precondition: `answerIndex` is that of a choice, and each choice has a sentence or none has.
  public init(
    topic: String? = nil, text: String, key: String, wrongKeys: [String], choices: [String],
    answerIndex: Int, sentences: [String]? = nil
  ) {
    precondition(choices.indices.contains(answerIndex), "no choice \(answerIndex)")
    precondition(
      sentences.map { $0.count == choices.count } ?? true, "choices lack sentences")
    self.topic = topic
    self.text = text
    self.key = key
    self.wrongKeys = wrongKeys
    self.choices = choices
    self.answerIndex = answerIndex
    self.sentences = sentences
  }

  /// How choices are worded.
  public enum Wording: CaseIterable, Sendable {
    /// `Hollin.`
    case name
    /// `Petra lives in Hollin.`
    case sentence
  }

  /// The choices as answers; nil for sentences that nobody gave.
  public func answers(_ wording: Wording) -> [String]? {
    switch wording {
    case .name: choices.map(Self.short)
    case .sentence: sentences
    }
  }

  /// How often a guess is right that knows what the question is about: one of the answers of the
  /// right one's sort.
  public var guessShare: Double { 1 / Double(1 + wrongKeys.count) }

  /// A short answer: `Hollin.`
  public static func short(_ key: String) -> String { key + "." }

  /// Whether an answer is right: it holds the key as whole words, and none of the wrong answers.
  public func isRight(_ answer: String) -> Bool {
    let words = AnswerWords(answer)
    guard words.hold(key) else { return false }
    // A name that the question says itself is no answer.
    let asked = AnswerWords(text)
    return !wrongKeys.contains { words.hold($0) && !asked.hold($0) }
  }

  /// What the known rule sees in an answer.
  public func worth(of answer: String) -> AnswerWorth {
    AnswerWorth(isRight: isRight(answer), byteCount: answer.utf8.count)
  }
}

/// What answers are compared by: right beats wrong, then short beats long.
///
/// Comparisons are above 0 if this answer is the better one, below 0 if the other is, 0 for a tie.
public struct AnswerWorth: Equatable, Sendable {
  public var isRight: Bool
  public var byteCount: Int

  public init(isRight: Bool, byteCount: Int) {
    self.isRight = isRight
    self.byteCount = byteCount
  }

  /// The known rule.
  public func preference(over other: AnswerWorth) -> Int {
    let correctness = correctness(over: other)
    return correctness == 0 ? brevity(over: other) : correctness
  }

  public func correctness(over other: AnswerWorth) -> Int {
    isRight == other.isRight ? 0 : isRight ? 1 : -1
  }

  public func brevity(over other: AnswerWorth) -> Int {
    byteCount == other.byteCount ? 0 : byteCount < other.byteCount ? 1 : -1
  }
}

// MARK: - Files

extension TestQuestion {
  /// The questions of a file, a row on each line: `question`, `answer`, `choices`, `answer_index`
  /// and perhaps `topic`, `sentences`, one for each choice, and `wrong`, a list of wrong answers.
  /// Choices that are not the answer are wrong too.
  ///
  /// - Throws: ``CorpusError/badRow(place:reason:)`` for the first row that is none,
  ///   ``CorpusError/emptySource(path:)``, ``CorpusError/system(_:)``.
  public static func read(_ path: String) throws(CorpusError) -> [TestQuestion] {
    let bytes: [UInt8]
    do { bytes = try Files.read(path) } catch { throw .system(error) }
    let plain = try TextSource.decompress(bytes, path: path)
    var found: [TestQuestion] = []
    try TextSource.forEachRow(of: plain, path: path) { (place, node) throws(CorpusError) in
      do throws(RowProblem) {
        found.append(try TestQuestion(try node.get()))
      } catch {
        throw .badRow(place: place, reason: error.reason)
      }
    }
    guard !found.isEmpty else { throw .emptySource(path: path) }
    return found
  }

  init(_ node: JSONNode) throws(RowProblem) {
    func text(_ key: String) throws(RowProblem) -> String {
      guard let text = node[key]?.string, !text.isEmpty else {
        throw RowProblem("it has no text \"\(key)\"")
      }
      return text
    }
    func texts(_ key: String) -> [String]? {
      guard let elements = node[key]?.elements else { return nil }
      let texts = elements.compactMap(\.string)
      return texts.count == elements.count ? texts : nil
    }
    let (asked, key) = (try text("question"), try text("answer"))
    guard let choices = texts("choices"), choices.count >= 2, Set(choices).count == choices.count
    else { throw RowProblem("its \"choices\" are not two texts or more, each once") }
    guard let index = node["answer_index"]?.int, choices.indices.contains(index),
      choices[index] == key
    else { throw RowProblem("its \"answer_index\" does not say which choice is \"\(key)\"") }
    let sentences = node["sentences"] == nil ? nil : texts("sentences")
    guard node["sentences"] == nil || sentences?.count == choices.count else {
      throw RowProblem("its \"sentences\" are not one text for each choice")
    }
    guard let wrong = node["wrong"] == nil ? [] : texts("wrong"), !wrong.contains(key)
    else { throw RowProblem("its \"wrong\" are not texts that differ from \"\(key)\"") }
    self.init(
      topic: node["topic"]?.string, text: asked, key: key,
      wrongKeys: wrong + choices.filter { $0 != key && !wrong.contains($0) }, choices: choices,
      answerIndex: index, sentences: sentences)
  }

  var row: JSONNode {
    .object(
      [
        ("question", .text(text)), ("answer", .text(key)),
        ("choices", .list(choices.map { .text($0) })), ("answer_index", .integer(answerIndex)),
        ("wrong", .list(wrongKeys.map { .text($0) })),
      ] + (topic.map { [("topic", .text($0))] } ?? [])
        + (sentences.map { [("sentences", .list($0.map { .text($0) }))] } ?? []))
  }
}
