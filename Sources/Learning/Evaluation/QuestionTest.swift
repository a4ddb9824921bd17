public import Corpus
public import Operators
internal import Tensors
public import Tokenization
public import Transformer

/// Puts questions to a model.
///
/// What it answers to a question does not depend on the questions beside it, nor on threads.
public final class QuestionTest {
  private let weights: ModelWeights
  private let engine: Engine
  private let tokenizer: Tokenizer
  private var form: QuestionForm
  /// Rows that are computed at once.
  private let rowCapacity: Int

  /// Texts under way at once: the more, the fewer passes over the weights.
  public static let rowCapacityDefault = 64

  /// - Throws: As ``QuestionForm``'s initializer.
  public init(
    _ weights: ModelWeights, engine: Engine, tokenizer: Tokenizer, style: QuestionForm.Style,
    rowCapacity: Int = rowCapacityDefault
  ) throws(EvaluationError) {
    self.weights = weights
    self.engine = engine
    self.tokenizer = tokenizer
    self.rowCapacity = rowCapacity
    form = try QuestionForm(style, tokenizer: tokenizer)
  }

  /// How answers are drawn.
  public struct Drawing: Equatable, Sendable {
    /// 0 takes the likeliest token.
    public var temperature: Double
    public var seed: UInt64
    /// Most tokens of an answer.
    public var tokenLimit: Int

    public init(temperature: Double = 0, seed: UInt64 = 1, tokenLimit: Int = 64) {
      self.temperature = temperature
      self.seed = seed
      self.tokenLimit = tokenLimit
    }
  }

  private var sequenceLength: Int { weights.layout.shape.sequenceLength }

  /// The model's answer to each question.
  ///
  /// - Parameters:
  ///   - earlier: What was said before each of them, of conversations; empty for nothing.
  ///   - places: A number for each question, which its draws follow from.
  ///   - progress: Told the share of the questions that have been begun.
  /// - Throws: ``EvaluationError/tooLong(question:tokenCount:sequenceLength:)``,
  ///   ``EvaluationError/corpus(_:)``.
  public func answers(
    _ questions: [TestQuestion], after earlier: [Conversation] = [], places: [Int],
    _ drawing: Drawing, progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [JudgedAnswer] {
    let found = try draw(
      questions, after: earlier, places: places, drawing, progress: progress)
    return zip(questions, found).map { judge($0, $1.continuation) }
  }

  /// What a model was asked and what it said, as tokens.
  public struct DrawnAnswer: Equatable, Sendable {
    public var prompt: [UInt32]
    /// With the log-probabilities of its tokens.
    public var continuation: Generator.Continuation
  }

  /// The model's answer to each question, as tokens. Parameters and errors as those of
  /// ``answers(_:after:places:_:progress:)``.
  public func draw(
    _ questions: [TestQuestion], after earlier: [Conversation] = [], places: [Int],
    _ drawing: Drawing, progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [DrawnAnswer] {
    precondition(places.count == questions.count, "\(places.count) places")
    var requests: [Generator.Request] = []
    for (index, (question, place)) in zip(questions, places).enumerated() {
      let prompt = try prompt(question, index, earlier)
      guard prompt.count < sequenceLength else {
        throw .tooLong(
          question: question.text, tokenCount: prompt.count, sequenceLength: sequenceLength)
      }
      requests.append(
        Generator.Request(
          prompt: prompt,
          sampler: Sampler(temperature: drawing.temperature, seed: drawing.seed &+ UInt64(place)),
          tokenLimit: drawing.tokenLimit, stopTokens: form.stopTokens))
    }
    let decoder = StreamDecoder(weights: weights, engine: engine, rowCapacity: rowCapacity)
    let found = Generator(decoder: decoder, idCount: tokenizer.vocabularySize)
      .generate(
        requests, givesLogProbabilities: true,
        onToken: { request, _ in progress(Double(request) / Double(requests.count)) })
    return zip(requests, found).map { DrawnAnswer(prompt: $0.prompt, continuation: $1) }
  }

  /// ln p of each token of answers, whoever drew them.
  ///
  /// - Parameter progress: Told the share of the answers that have been read.
  /// - Throws: ``EvaluationError/notFinite(what:)``.
  public func logProbabilities(
    of answers: [DrawnAnswer], progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [[Double]] {
    var reader = RowReading(weights, engine, rowCapacity: max(rowCapacity, sequenceLength))
    let sequences = answers.map { sequence($0.prompt, $0.continuation.tokens) }
    let losses = reader.values(of: sequences) { progress(Double($0) / Double(sequences.count)) }
    guard losses.joined().allSatisfy(\.isFinite) else {
      throw .notFinite(what: "an answer's likelihood")
    }
    return zip(answers, losses).map { answer, losses in
      losses.suffix(answer.continuation.tokens.count).map { -$0 }
    }
  }

  /// Only the answer counts: a row that is no target has no loss.
  private func sequence(_ prompt: [UInt32], _ answer: [UInt32]) -> TokenSlice.Sequence {
    let tokens = prompt + answer
    return TokenSlice.Sequence(
      tokens: tokens, isTarget: tokens.indices.dropFirst().map { $0 >= prompt.count })
  }

  /// What is said before each question where it is the last of a conversation of several: those
  /// before it in the list (the last ones before the first), with the model's own answers.
  ///
  /// - Parameters:
  ///   - turnCount: Questions of a conversation, the last one included.
  ///   - places: As in ``answers(_:after:places:_:progress:)``.
  /// - Throws: As ``answers(_:after:places:_:progress:)``.
  public func openings(
    _ questions: [TestQuestion], turnCount: Int, places: [Int], _ drawing: Drawing,
    progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [Conversation] {
    precondition((1...questions.count).contains(turnCount), "\(turnCount) turns")
    guard turnCount > 1 else { return questions.map { _ in Conversation([]) } }
    let earlier = try openings(
      questions, turnCount: turnCount - 1, places: places, drawing, progress: progress)
    let found = try answers(
      questions, after: earlier, places: places, drawing, progress: progress)
    let talks = questions.indices.map { index in
      Conversation(
        earlier[index].messages + [
          .init(.user, questions[index].text), .init(.assistant, found[index].text),
        ])
    }
    return talks.suffix(1) + talks.dropLast()
  }

  private func prompt(
    _ question: TestQuestion, _ index: Int, _ earlier: [Conversation]
  ) throws(EvaluationError) -> [UInt32] {
    try form.prompt(question, after: earlier.isEmpty ? Conversation([]) : earlier[index])
  }

  private func judge(
    _ question: TestQuestion, _ continuation: Generator.Continuation
  ) -> JudgedAnswer {
    let tokens = continuation.tokens
    let text = form.text(tokens)
    return JudgedAnswer(
      text: text ?? "",
      // What is not UTF-8 is wrong, whatever words it holds.
      worth: text.map(question.worth)
        ?? AnswerWorth(isRight: false, byteCount: tokenizer.decode(tokens).count),
      tokenCount: tokens.count, isEnded: continuation.ending == .stopToken)
  }

  /// The likelihood of each question's choices.
  ///
  /// - Parameters:
  ///   - earlier: As in ``answers(_:after:places:_:progress:)``.
  ///   - progress: Told the share of the questions that have been read.
  /// - Throws: As ``answers(_:after:places:_:progress:)``, and
  ///   ``EvaluationError/notFinite(what:)``.
  /// - Precondition: Every question has its choices in this wording.
  public func choices(
    _ questions: [TestQuestion], _ wording: TestQuestion.Wording = .name,
    after earlier: [Conversation] = [],
    progress: (Double) -> Void = { _ in }
  ) throws(EvaluationError) -> [JudgedChoices] {
    var reader = RowReading(weights, engine, rowCapacity: max(rowCapacity, sequenceLength))
    var found: [JudgedChoices] = []
    for (index, question) in questions.enumerated() {
      let prompt = try prompt(question, index, earlier)
      var sequences: [TokenSlice.Sequence] = []
      guard let answers = question.answers(wording) else {
        preconditionFailure("\"\(question.text)\" has no such choices")
      }
      for answer in answers {
        let sequence = sequence(prompt, try form.completion(answer))
        guard sequence.count <= sequenceLength else {
          throw .tooLong(
            question: question.text, tokenCount: sequence.tokens.count,
            sequenceLength: sequenceLength)
        }
        sequences.append(sequence)
      }
      let sums = reader.values(of: sequences).map { -$0.reduce(0, +) }
      guard sums.allSatisfy(\.isFinite) else { throw .notFinite(what: "a choice's likelihood") }
      found.append(
        JudgedChoices(
          logProbabilities: sums,
          tokenCounts: sequences.map { $0.isTarget.count { $0 } },
          answerIndex: question.answerIndex))
      progress(Double(index + 1) / Double(questions.count))
    }
    return found
  }
}
