import Corpus
import Testing

@Suite struct `Questions of the world` {
  private let world = World(seed: 7)

  @Test func `follow from the seed and the index`() {
    let again = World(seed: 7)
    #expect((0..<50).map(world.question) == (0..<50).map(again.question))
    #expect((0..<50).map { world.pair($0) } == (0..<50).map { again.pair($0) })
    #expect(world.unseenQuestions == again.unseenQuestions)
    #expect(World(seed: 8).question(0) != world.question(0))
  }

  @Test func `of the unseen part are never asked in training, and of every topic`() {
    let unseen = world.unseenQuestions
    #expect(unseen.count >= 500)
    #expect(Set(unseen.map(\.text)).count == unseen.count)
    #expect(Set(unseen.map(\.topic)).count == World.Topic.allCases.count)
    let asked = (0..<20_000).map(world.question)
      + (0..<20_000).flatMap(world.exchanges).map(\.question)
    #expect(Set(asked.map(\.text)).isDisjoint(with: unseen.map(\.text)))
    #expect(Set(asked.map(\.topic)).count == World.Topic.allCases.count)
    // The fact itself is not asked either, in other words.
    #expect(Set(asked.map(\.sentence)).isDisjoint(with: unseen.map(\.sentence)))
  }

  @Test func `stand in no document, though their facts do`() {
    let documents = (0..<20_000).map(world.document)
    let asked = Set(
      documents.joined().split { ".!\"\n".contains($0) }.filter { $0.contains("?") }
        .map { $0.drop { $0 == " " }.prefix { $0 != "?" } })
    #expect(asked.count > 50)
    #expect(asked.isDisjoint(with: world.unseenQuestions.map { $0.text.dropLast() }))
  }

  @Test func `are about facts that the quickstart's documents state, on every topic`() throws {
    // The training part of its 60,000 documents.
    let world = World(seed: 1)
    let names = Set(world.people.map(\.name) + world.places.map(\.name))
    var said: [String: Set<String>] = [:]
    for index in 0..<54_000 {
      for sentence in world.document(index).split(whereSeparator: isEnd).map(String.init) {
        for subject in subjects(of: sentence, names) { said[subject, default: []].insert(sentence) }
      }
    }
    var stated: [World.Topic: Int] = [:]
    for question in world.unseenQuestions {
      let asked = subjects(of: question.topic == .sum ? question.sentence : question.text, names)
      let subject = try #require(asked.first, "\(question.text)")
      // A sentence about it that holds the answer and none of the wrong ones.
      let isStated = said[subject, default: []].contains(where: question.isRight)
      #expect(isStated, "\(question.text) \(question.key)")
      stated[question.topic, default: 0] += isStated ? 1 : 0
    }
    #expect(World.Topic.allCases.allSatisfy { stated[$0, default: 0] > 0 })
  }

  private func isEnd(_ character: Character) -> Bool { ".?!\n".contains(character) }

  /// The people and places that a sentence names, or the sum that it works out.
  private func subjects(of sentence: String, _ names: Set<String>) -> [String] {
    let sides = sentence.split(separator: " = ")
    if sides.count == 2, sides[0].contains(" + ") {
      return [sides[0].split(separator: " ").suffix(3).joined(separator: " ")]
    }
    return sentence.split { !$0.isLetter }.map(String.init).filter(names.contains)
  }

  @Test func `have four choices of which one is right`() {
    var places = [0, 0, 0, 0]
    for question in (0..<2000).map(world.question) {
      #expect(question.choices.count == 4 && Set(question.choices).count == 4)
      #expect(question.choices[question.answerIndex] == question.key)
      #expect(Set(question.choices).subtracting([question.key]).isSubset(of: question.wrongKeys))
      places[question.answerIndex] += 1
    }
    // 500 each, and 5 deviations of a binomial.
    #expect(places.allSatisfy { abs($0 - 500) < 97 })
  }

  @Test func `tell right answers from wrong ones`() {
    for question in (0..<3000).map(world.question) {
      let right = [World.Question.short(question.key), question.sentence]
        + (0..<3).map { question.long($0) }
      for answer in right { #expect(question.isRight(answer), "\(question.text) \(answer)") }
      for wrong in question.wrongKeys.prefix(3) {
        for answer in [World.Question.short(wrong), question.sentence(with: wrong)] {
          #expect(!question.isRight(answer), "\(question.text) \(answer)")
        }
        #expect(!question.isRight("\(question.key) or \(wrong)."))
      }
      #expect(!question.isRight("") && !question.isRight(question.key + "x"))
    }
  }

  @Test func `prefer right over wrong, then short over long`() {
    let question = world.question(0)
    let wrong = World.Question.short(question.wrongKeys[0])
    let short = World.Question.short(question.key)
    #expect(question.preference(question.long(0), over: wrong) > 0)
    #expect(question.preference(wrong, over: question.long(0)) < 0)
    #expect(question.preference(short, over: question.long(1)) > 0)
    #expect(question.preference(short, over: short) == 0)
    #expect(question.score(short) > question.score(question.long(1)))
    #expect(question.score(question.long(1)) > question.score(wrong))
  }

  @Test(arguments: [1, 0.66]) func `give pairs whose labels follow the rule`(agreement: Double) {
    let pairs = (0..<4000).map { world.pair($0, agreement: agreement) }
    let following = pairs.count { $0.question.preference($0.chosen, over: $0.rejected) > 0 }
    // 5 deviations of a binomial of 4000.
    #expect(abs(Double(following) / 4000 - agreement) <= (agreement == 1 ? 0 : 0.038))
    let asked = Set(pairs.map(\.question.text))
    #expect(asked.isDisjoint(with: world.unseenQuestions.map(\.text)))
  }

  @Test func `are answered rightly in what is to be learned`() {
    let exchanges = (0..<2000).flatMap(world.talk)
    #expect(exchanges.allSatisfy { $0.question.isRight($0.answer) })
    #expect(Set(exchanges.map(\.answer.utf8.count)).count > 10)
  }

  @Test func `follow one or two others in a third of cases, half of those about the same`() {
    let talks = (0..<3000).map(world.talk)
    #expect(talks == (0..<3000).map(World(seed: 7).talk))
    let counts = (1...3).map { count in talks.count { $0.count == count } }
    // 2000, 500 and 500, and 5 deviations of binomials.
    #expect(abs(counts[0] - 2000) <= 130)
    #expect(abs(counts[1] - 500) <= 103 && abs(counts[2] - 500) <= 103)
    let names = Set(world.people.map(\.name))
    let pairs = talks.flatMap { talk in
      talk.dropLast().map { (earlier: $0.question, last: talk[talk.count - 1].question) }
    }.filter { subjects(of: $0.last.text, names).count == 1 }
    let same = pairs.filter {
      subjects(of: $0.earlier.text, names) == subjects(of: $0.last.text, names)
    }
    // A half and one in 48 of the rest by chance; 5 deviations of a binomial of about 1100.
    #expect(abs(Double(same.count) / Double(pairs.count) - 0.51) < 0.08, "\(pairs.count)")
    // Another fact of the same person: what was said is not the answer.
    #expect(same.count { $0.earlier.topic != $0.last.topic } > same.count * 9 / 10)
    // What was said before belongs to the question, whoever asks it.
    let preferences = (0..<300).map { world.pair($0) }
    #expect((60...140).contains(preferences.count { !$0.earlier.isEmpty }))
    #expect(world.unseenPairs().allSatisfy { $0.earlier.isEmpty })
  }
}
