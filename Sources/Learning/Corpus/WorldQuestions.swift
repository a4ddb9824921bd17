/// What can be asked about a world.
///
/// Every question is about one fact that documents state, in words that no document uses. The
/// facts are dealt into two parts: what training asks, and what it never asks (*unseen*), a third
/// of the people, places and sums, another third for each topic. So a model that answers an unseen
/// question has read the fact and learned to answer, but has never met the question.
extension World {
  public struct Question: Equatable, Sendable {
    public var topic: Topic
    /// Index of the person or place that it is about, or both terms of a sum.
    var subject: Int
    /// `Where does Petra live?`
    public var text: String
    /// The words that a right answer must hold: `Hollin`.
    public var key: String
    /// A whole sentence that answers: `Petra lives in Hollin.`
    public var sentence: String
    /// Other answers of the same sort, none of them right.
    public var wrongKeys: [String]

    /// `[4]` answers in a fixed shuffle, one of them right.
    public var choices: [String]
    /// Index of the right one.
    public var answerIndex: Int
  }

  public enum Topic: String, CaseIterable, Sendable {
    case home, job, colour, food, animal, animalName, belonging, sibling, age, product, landmark
    case sum

    enum Kind { case person, place, sum }

    /// What it is asked about.
    var kind: Kind {
      switch self {
      case .product, .landmark: .place
      case .sum: .sum
      default: .person
      }
    }
  }

  /// Question `index` of those that training asks; there are as many as one asks for.
  public func question(_ index: Int) -> Question {
    precondition(index >= 0, "there is no question \(index)")
    var draws = Draws(seed: seed, purpose: Self.purpose + 2, start: UInt64(index) << 16)
    return question(&draws)
  }

  /// A question that training asks.
  ///
  /// - Parameter neighbour: It is about another fact of this one's subject, if there is one that
  ///   training asks.
  private func question(_ draws: inout Draws, beside neighbour: Question? = nil) -> Question {
    let others = neighbour.map(seenTopics) ?? []
    while true {
      let topic = draws.pick(others.isEmpty ? Topic.allCases : others)
      let subject = (others.isEmpty ? nil : neighbour?.subject) ?? subjects(of: topic, &draws)
      if !isUnseen(topic, subject), let question = ask(topic, subject, nil, &draws) {
        return question
      }
    }
  }

  /// Every question that training never asks, each wording of each fact once, in a fixed shuffle.
  public var unseenQuestions: [Question] {
    var draws = Draws(seed: seed, purpose: Self.purpose + 4, start: 0)
    var found: [Question] = []
    for topic in Topic.allCases {
      for subject in allSubjects(of: topic) where isUnseen(topic, subject) {
        for wording in 0..<Self.wordingCount {
          if let question = ask(topic, subject, wording, &draws) { found.append(question) }
        }
      }
    }
    return draws.shuffled(found)
  }

  /// Wordings of each topic.
  private static let wordingCount = 3
  /// The largest term of the sums that are asked; the least is 1, so that no term is the answer.
  private static let termLimit = 20

  // MARK: - Which facts

  /// An index into people or places, or both terms of a sum.
  private func subjects(of topic: Topic, _ draws: inout Draws) -> Int {
    switch topic.kind {
    case .place: draws.below(places.count)
    case .sum: draws.below(Self.termLimit * Self.termLimit)
    case .person: draws.below(people.count)
    }
  }

  private func allSubjects(of topic: Topic) -> [Int] {
    switch topic.kind {
    case .place: Array(places.indices)
    // All sums would be most of all questions. Every seventh has all terms, and two in three seen.
    case .sum: Array(stride(from: 0, to: Self.termLimit * Self.termLimit, by: 7))
    case .person: Array(people.indices)
    }
  }

  /// What training asks about the subject of a question, besides its topic.
  private func seenTopics(beside question: Question) -> [Topic] {
    Topic.allCases.filter {
      $0.kind == question.topic.kind && $0 != question.topic && !isUnseen($0, question.subject)
    }
  }

  private func isUnseen(_ topic: Topic, _ subject: Int) -> Bool {
    let rank = Topic.allCases.firstIndex(of: topic) ?? 0
    return (subject + rank) % 3 == 0
  }

  // MARK: - Words

  private func ask(
    _ topic: Topic, _ subject: Int, _ wording: Int?, _ draws: inout Draws
  ) -> Question? {
    let chosen = wording ?? draws.below(Self.wordingCount)
    guard let fact = fact(topic, subject) else { return nil }
    let wrong = draws.shuffled(Set(fact.others).subtracting([fact.key]).sorted())
    let place = draws.below(4)
    var choices = Array(wrong.prefix(3))
    choices.insert(fact.key, at: min(place, choices.count))
    return Question(
      topic: topic, subject: subject, text: fact.wordings[chosen], key: fact.key,
      sentence: fact.sentence, wrongKeys: wrong, choices: choices,
      answerIndex: min(place, choices.count - 1))
  }

  private struct Fact {
    var wordings: [String]
    var key: String
    var sentence: String
    /// Answers of the same sort.
    var others: [String]
  }

  private func fact(_ topic: Topic, _ subject: Int) -> Fact? {
    switch topic {
    case .product, .landmark: fact(topic, places[subject])
    case .sum: sum(1 + subject / Self.termLimit, 1 + subject % Self.termLimit)
    case .sibling, .age, .home, .job: circumstance(topic, people[subject])
    default: preference(topic, people[subject])
    }
  }

  private func circumstance(_ topic: Topic, _ person: Person) -> Fact? {
    let name = person.name
    switch topic {
    case .home:
      return Fact(
        wordings: [
          "Where does \(name) live?", "In which town does \(name) live?",
          "Which town is the home of \(name)?",
        ],
        key: places[person.home].name, sentence: "\(name) lives in \(places[person.home].name).",
        others: places.map(\.name))
    case .job:
      // All pupils have the same job.
      guard person.job != "pupil" else { return nil }
      return Fact(
        wordings: [
          "What does \(name) work as?", "What is the work of \(name)?",
          "Which job does \(name) do?",
        ],
        key: person.job, sentence: "\(name) works as a \(person.job).", others: WorldWords.jobs)
    case .sibling:
      let sibling = people[person.sibling]
      return Fact(
        wordings: [
          "Who is \(name)'s \(sibling.kinship)?", "What is \(name)'s \(sibling.kinship) called?",
          "Which \(sibling.kinship) does \(name) have?",
        ],
        key: sibling.name, sentence: "\(name)'s \(sibling.kinship) is \(sibling.name).",
        others: people.filter { $0.name != name && $0.isFemale == sibling.isFemale }.map(\.name))
    default:
      return Fact(
        wordings: [
          "How old is \(name)?", "What is the age of \(name)?", "How many years old is \(name)?",
        ],
        key: "\(person.age)", sentence: "\(name) is \(person.age) years old.",
        others: people.map { "\($0.age)" })
    }
  }

  private func preference(_ topic: Topic, _ person: Person) -> Fact? {
    let name = person.name
    switch topic {
    case .colour:
      return Fact(
        wordings: [
          "Which colour does \(name) like?", "What is the favourite colour of \(name)?",
          "Which colour would \(name) choose?",
        ],
        key: person.colour, sentence: "\(name) likes the colour \(person.colour).",
        others: WorldWords.colours)
    case .food:
      return Fact(
        wordings: [
          "What does \(name) like to eat?", "Which food does \(name) like?",
          "What would \(name) choose to eat?",
        ],
        key: person.food, sentence: "\(name) likes to eat \(person.food).",
        others: WorldWords.foods)
    case .animal:
      return Fact(
        wordings: [
          "Which animal does \(name) have?",
          "What kind of animal is \(name)'s \(person.animalName)?",
          "Which animal belongs to \(name)?",
        ],
        key: person.animal, sentence: "\(name) has a \(person.animal).",
        others: WorldWords.animals)
    case .animalName:
      return Fact(
        wordings: [
          "What is \(name)'s \(person.animal) called?",
          "What is the name of \(name)'s \(person.animal)?",
          "How does \(name) call the \(person.animal)?",
        ],
        key: person.animalName,
        sentence: "\(name)'s \(person.animal) is called \(person.animalName).",
        others: WorldWords.animalNames)
    default:
      return Fact(
        wordings: [
          "What does \(name) own?", "Which thing does \(name) own?", "What belongs to \(name)?",
        ],
        key: person.thing, sentence: "\(name) owns the \(person.material) \(person.thing).",
        others: WorldWords.things)
    }
  }

  private func fact(_ topic: Topic, _ place: Place) -> Fact {
    let name = place.name
    guard topic == .landmark else {
      return Fact(
        wordings: [
          "What are the people of \(name) known for?", "What is made in \(name)?",
          "What does \(name) make?",
        ],
        key: place.product, sentence: "The people of \(name) are known for their \(place.product).",
        others: WorldWords.products)
    }
    return Fact(
      wordings: ["What lies near \(name)?", "What is \(name) near?", "Near what is \(name)?"],
      key: place.landmark, sentence: "\(name) lies near \(place.landmark).",
      others: WorldWords.landmarks)
  }

  private func sum(_ a: Int, _ b: Int) -> Fact {
    Fact(
      wordings: ["What is \(a) + \(b)?", "How much is \(a) + \(b)?", "\(a) + \(b) is what?"],
      key: "\(a + b)", sentence: "\(a) + \(b) = \(a + b).",
      others: (1...9).flatMap { [a + b + $0, a + b - $0] }.filter { $0 > 0 && ![a, b].contains($0) }
        .map { "\($0)" })
  }
}

// MARK: - Answers

extension World.Question {
  /// As a test asks it.
  public var asked: TestQuestion {
    TestQuestion(
      topic: topic.rawValue, text: text, key: key, wrongKeys: wrongKeys, choices: choices,
      answerIndex: answerIndex, sentences: choices.map { sentence(with: $0) })
  }

  /// A short answer: `Hollin.`
  public static func short(_ key: String) -> String { TestQuestion.short(key) }

  /// An answer in many words; the right one unless another key is given.
  public func long(_ draw: Int, with key: String? = nil) -> String {
    let padding = Self.paddings[draw % Self.paddings.count]
    return padding.before + sentence(with: key ?? self.key) + padding.after
  }

  private static let paddings = [
    (before: "Let me think about it. ", after: ""),
    (before: "", after: " That is what people say."),
    (before: "I know that one. ", after: " I am quite sure of it."),
  ]

  /// `sentence` with another answer in the place of the right one, which stands last.
  public func sentence(with other: String) -> String {
    guard let place = sentence.ranges(of: key).last else { return other + "." }
    return String(sentence[..<place.lowerBound]) + other + sentence[place.upperBound...]
  }

  /// See ``TestQuestion/isRight(_:)``.
  public func isRight(_ answer: String) -> Bool { asked.isRight(answer) }

  /// The known rule by which answers are preferred: right beats wrong, then short beats long.
  ///
  /// - Returns: Above 0 if `a` is better, below 0 if `b` is, 0 for a tie.
  public func preference(_ a: String, over b: String) -> Int {
    asked.worth(of: a).preference(over: asked.worth(of: b))
  }

  /// The rule as a number, for reinforcement; see ``AnswerRule``.
  public func score(_ answer: String) -> Double {
    AnswerWords(answer).score(isRight: isRight(answer))
  }
}

// MARK: - Rows for training

extension World {
  /// A question with an answer to learn from, in a sentence of its own or with words around it.
  public struct Exchange: Equatable, Sendable {
    public var question: Question
    public var answer: String
  }

  /// Two answers to a question, as somebody preferred them.
  public struct Pair: Equatable, Sendable {
    /// What was said before.
    public var earlier: [Exchange] = []
    public var question: Question
    public var chosen, rejected: String
  }

  /// Exchange `index`: training's question of that index, answered rightly; five of six answers
  /// are long, so that there is something to be gained by brevity.
  public func exchange(_ index: Int) -> Exchange {
    var draws = Draws(seed: seed, purpose: Self.purpose + 3, start: UInt64(index) << 8)
    return exchange(about: question(index), &draws)
  }

  /// Exchange `index`, behind what is said before it.
  public func talk(_ index: Int) -> [Exchange] { exchanges(before: index) + [exchange(index)] }

  /// What is said before question `index` of training: nothing in two of three cases, else one or
  /// two exchanges about other facts of training.
  ///
  /// Half of them are about the subject of that question, so that a name that was just spoken of
  /// does not tell what is asked now.
  public func exchanges(before index: Int) -> [Exchange] {
    var draws = Draws(seed: seed, purpose: Self.purpose + 8, start: UInt64(index) << 16)
    guard draws.oneIn(3) else { return [] }
    let next = question(index)
    return (0...draws.below(2)).map { _ in
      let earlier = question(&draws, beside: draws.oneIn(2) ? next : nil)
      return exchange(about: earlier, &draws)
    }
  }

  /// An exchange about each of the questions that training never asks, in their order.
  public var unseenExchanges: [Exchange] {
    unseenQuestions.enumerated().map { index, question in
      var draws = Draws(seed: seed, purpose: Self.purpose + 6, start: UInt64(index) << 8)
      return exchange(about: question, &draws)
    }
  }

  private func exchange(about question: Question, _ draws: inout Draws) -> Exchange {
    let answer = draws.oneIn(6) ? question.sentence : question.long(draws.below(3))
    return Exchange(question: question, answer: answer)
  }

  /// Pair `index`: two answers of different worth by the rule, in the rule's order except where the
  /// label is noise. What is said before is as in ``exchanges(before:)``.
  ///
  /// - Parameter agreement: How often labels follow the rule; people agree in 0.66 of cases.
  public func pair(_ index: Int, agreement: Double = 1) -> Pair {
    var draws = Draws(seed: seed, purpose: Self.purpose + 5, start: UInt64(index) << 8)
    let index = draws.below(1 << 30)
    var found = pair(about: question(index), agreement, &draws)
    found.earlier = exchanges(before: index)
    return found
  }

  /// A pair about each of the questions that training never asks, in their order.
  ///
  /// - Parameter agreement: As in ``pair(_:agreement:)``.
  public func unseenPairs(agreement: Double = 1) -> [Pair] {
    unseenQuestions.enumerated().map { index, question in
      var draws = Draws(seed: seed, purpose: Self.purpose + 7, start: UInt64(index) << 8)
      return pair(about: question, agreement, &draws)
    }
  }

  private func pair(
    about question: Question, _ agreement: Double, _ draws: inout Draws
  ) -> Pair {
    while true {
      let (a, b) = (answer(question, &draws), answer(question, &draws))
      let preference = question.preference(a, over: b)
      guard preference != 0 else { continue }
      let (better, worse) = preference > 0 ? (a, b) : (b, a)
      let isNoise = Double(draws.below(1 << 20)) >= agreement * Double(1 << 20)
      return isNoise
        ? Pair(question: question, chosen: worse, rejected: better)
        : Pair(question: question, chosen: better, rejected: worse)
    }
  }

  /// Right or wrong, short or long; the length of an answer says nothing of whether it is right.
  private func answer(_ question: Question, _ draws: inout Draws) -> String {
    let isRight = draws.oneIn(2) || question.wrongKeys.isEmpty
    let key = isRight ? question.key : draws.pick(question.wrongKeys)
    return draws.oneIn(2)
      ? question.sentence(with: key) : question.long(draws.below(3), with: key)
  }
}

extension Conversation {
  /// Exchanges, and perhaps what the user asks after them.
  init(_ exchanges: [World.Exchange], then question: World.Question? = nil) {
    let answered = exchanges.flatMap {
      [Message(.user, $0.question.text), Message(.assistant, $0.answer)]
    }
    self.init(answered + (question.map { [Message(.user, $0.text)] } ?? []))
  }
}

extension PreferencePair {
  init(_ pair: World.Pair) {
    self.init(
      prompt: Conversation(pair.earlier, then: pair.question), chosen: pair.chosen,
      rejected: pair.rejected)
  }
}
