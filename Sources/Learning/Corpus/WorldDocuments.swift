extension World {
  /// Document `index`: some sentences, ASCII, ending with a newline.
  ///
  /// A function of the seed and the index; there are as many documents as one asks for.
  public func document(_ index: Int) -> String {
    precondition(index >= 0, "there is no document \(index)")
    // 65,536 draws are far more than a document makes.
    var draws = Draws(seed: seed, purpose: Self.purpose + 1, start: UInt64(index) << 16)
    let sentences: [String]
    switch draws.below(20) {
    case 0..<5: sentences = portrait(&draws)
    case 5..<7: sentences = description(&draws)
    case 7..<9: sentences = family(&draws)
    case 9..<12: sentences = errand(&draws)
    case 12..<14: sentences = conversation(&draws)
    case 14..<15: sentences = comparison(&draws)
    case 15..<17: sentences = purchase(&draws)
    case 17..<18: sentences = journey(&draws)
    default: return sums(&draws)
    }
    return sentences.joined(separator: " ") + "\n"
  }

  // MARK: - Sentences about facts

  /// What is true of a person, each fact in one of several wordings.
  private func facts(of person: Person, _ draws: inout Draws) -> [String] {
    let name = person.name
    let subject = draws.oneIn(2) ? name : capitalized(person.subject)
    let home = places[person.home].name
    let friend = people[person.friend].name
    let sibling = people[person.sibling]
    let isPupil = person.job == "pupil"
    return [
      draws.pick([
        "\(name) lives in \(home).", "\(name)'s home is in \(home).",
        "\(name) has a house in \(home).",
      ]),
      isPupil
        ? "\(subject) is \(person.age) years old and goes to school."
        : draws.pick([
          "\(subject) is \(person.age) years old and works as a \(person.job).",
          "\(subject) is a \(person.job) and is \(person.age) years old.",
        ]),
      draws.pick([
        "\(subject) likes the colour \(person.colour).",
        "The colour \(subject == name ? name : person.subject) likes best is \(person.colour).",
      ]),
      draws.pick([
        "\(subject) likes to eat \(person.food).",
        "For supper \(subject == name ? name : person.subject) often has \(person.food).",
      ]),
      draws.pick([
        "\(subject) has a \(person.animal) called \(person.animalName).",
        "\(capitalized(person.possessive)) \(person.animal) is called \(person.animalName).",
      ]),
      draws.pick([
        "\(subject) owns \(article(person.material)) \(person.material) \(person.thing).",
        "The \(person.material) \(person.thing) belongs to \(name).",
      ]),
      draws.pick([
        "\(friend) is a friend of \(name).", "\(capitalized(person.possessive)) friend is \(friend).",
      ]),
      "\(capitalized(person.possessive)) \(sibling.kinship) is \(sibling.name).",
    ]
  }

  private func portrait(_ draws: inout Draws) -> [String] {
    let person = draws.pick(people)
    let all = facts(of: person, &draws)
    // The home comes first, because it names the person; the rest in any order.
    return [all[0]] + draws.shuffled(Array(all.dropFirst())).prefix(3 + draws.below(4))
  }

  private func description(_ draws: inout Draws) -> [String] {
    let index = draws.below(places.count)
    let place = places[index]
    var sentences = [
      draws.pick([
        "\(place.name) lies near \(place.landmark).", "\(place.name) is a town near \(place.landmark).",
      ]),
      "There is a \(place.features[0]) and a \(place.features[1]) in \(place.name).",
      "The people of \(place.name) are known for their \(place.product).",
    ]
    if index > 0 { sentences.append("To the west of it lies \(places[index - 1].name).") }
    if index + 1 < places.count {
      sentences.append("To the east of it lies \(places[index + 1].name).")
    }
    let inhabitants = people.filter { $0.home == index }
    if !inhabitants.isEmpty {
      let person = draws.pick(inhabitants)
      sentences.append(
        person.job == "pupil"
          ? "\(person.name) goes to school there."
          : "\(person.name) the \(person.job) lives there.")
    }
    return sentences
  }

  private func family(_ draws: inout Draws) -> [String] {
    let index = draws.below(people.count)
    let person = people[index]
    let sibling = people[person.sibling]
    let teacher = people[person.teacher]
    let friend = people[person.friend]
    return [
      "\(person.name) is the \(person.kinship) of \(sibling.name).",
      "\(sibling.name) lives in \(places[sibling.home].name).",
      "So the \(sibling.kinship) of \(person.name) lives in \(places[sibling.home].name).",
      draws.oneIn(2)
        ? "\(person.name) learned from \(teacher.name), who is \(teacher.age) years old."
        : "\(person.name) often visits \(friend.name), who has a \(friend.animal) called "
          + "\(friend.animalName).",
    ]
  }

  private func conversation(_ draws: inout Draws) -> [String] {
    let person = draws.pick(people)
    let other = people[person.friend]
    let home = places[person.home].name
    let exchanges = [
      ["\"Where do you live?\" asked \(other.name).", "\"I live in \(home),\" said \(person.name)."],
      [
        "\"What do you like to eat?\" asked \(other.name).",
        "\"I like \(person.food),\" said \(person.name).",
      ],
      [
        "\"How old are you?\" asked \(other.name).",
        "\"I am \(person.age) years old,\" said \(person.name).",
      ],
      [
        "\"What is your \(person.animal) called?\" asked \(other.name).",
        "\"My \(person.animal) is called \(person.animalName),\" said \(person.name).",
      ],
      [
        "\"Which colour do you like best?\" asked \(other.name).",
        "\"I like \(person.colour) best,\" said \(person.name).",
      ],
    ]
    let chosen = draws.shuffled(exchanges).prefix(2 + draws.below(2))
    return ["\(other.name) met \(person.name) in \(home)."] + chosen.flatMap { $0 }
  }

  private func comparison(_ draws: inout Draws) -> [String] {
    let first = draws.below(people.count)
    let second = (first + 1 + draws.below(people.count - 1)) % people.count
    let (a, b) = (people[first], people[second])
    let opening = "\(a.name) is \(a.age) years old and \(b.name) is \(b.age)."
    if a.age == b.age { return [opening, "They are of the same age."] }
    let (older, younger) = a.age > b.age ? (a, b) : (b, a)
    let years = older.age - younger.age
    return [
      opening, "So \(older.name) is older than \(younger.name).",
      "\(younger.name) is \(years) \(years == 1 ? "year" : "years") younger.",
    ]
  }

  // MARK: - Stories, whose facts hold inside the document

  private func errand(_ draws: inout Draws) -> [String] {
    let person = draws.pick(people)
    let friend = people[person.friend]
    let from = draws.below(places.count)
    let to = (from + 1 + draws.below(places.count - 1)) % places.count
    let thing = "\(person.material) \(person.thing)"
    let spot = draws.pick(places[to].features)
    var sentences = [
      draws.pick(["One morning", "One day", "In the evening", "On a rainy day", "Last spring"])
        + " \(person.name) took the \(thing) from \(places[from].name) to \(places[to].name).",
      "\(capitalized(person.subject)) put it down at the \(spot).",
    ]
    if draws.oneIn(2) {
      let animal = "\(person.possessive) \(person.animal) \(person.animalName)"
      sentences.append("\(capitalized(animal)) came along.")
    }
    if draws.oneIn(2) {
      sentences.append("Then \(friend.name) came and carried it home to \(places[friend.home].name).")
      sentences.append(
        "When \(person.name) looked for the \(person.thing), it was in \(places[friend.home].name).")
    } else {
      sentences.append("Then \(friend.name) came to look at it.")
      sentences.append("The \(person.thing) is still at the \(spot) in \(places[to].name).")
    }
    return sentences
  }

  private func journey(_ draws: inout Draws) -> [String] {
    let person = draws.pick(people)
    let start = draws.below(places.count - 3)
    let length = 2 + draws.below(2)
    let path = (start...start + length).map { places[$0].name }
    let stops = path.dropFirst().map { "Then \(person.subject) came to \($0)." }
    return [
      "\(person.name) set out from \(path[0]) and walked east."
    ] + stops + [
      "After \(length == 2 ? "two" : "three") days \(person.subject) was in \(path[length])."
    ]
  }

  private func purchase(_ draws: inout Draws) -> [String] {
    let person = draws.pick(people)
    let friend = people[person.friend]
    let food = draws.pick(["apples", "pears", "plums", "eggs", "nuts", "carrots"])
    let had = 2 + draws.below(18)
    let change = 1 + draws.below(had - 1)
    let gains = draws.oneIn(2)
    let result = gains ? had + change : had - change
    return [
      "\(person.name) had \(had) \(food).",
      gains
        ? "\(friend.name) gave \(person.object) \(change) more."
        : "\(capitalized(person.subject)) gave \(change) of them to \(friend.name).",
      "Now \(person.name) has \(result) \(result == 1 ? String(food.dropLast()) : food), because "
        + "\(had) \(gains ? "+" : "-") \(change) = \(result).",
    ]
  }

  /// Lines of arithmetic with small numbers.
  private func sums(_ draws: inout Draws) -> String {
    var text = ""
    for _ in 0..<4 + draws.below(5) {
      switch draws.below(4) {
      case 0, 1:
        let (a, b) = (draws.below(50), draws.below(50))
        text += "\(a) + \(b) = \(a + b)\n"
      case 2:
        let a = draws.below(60)
        let b = draws.below(a + 1)
        text += "\(a) - \(b) = \(a - b)\n"
      default:
        let (a, b) = (draws.below(11), draws.below(11))
        text += "\(a) x \(b) = \(a * b)\n"
      }
    }
    return text
  }
}

extension World.Person {
  var subject: String { isFemale ? "she" : "he" }
  var object: String { isFemale ? "her" : "him" }
  var possessive: String { isFemale ? "her" : "his" }
  /// What this person is to the sibling.
  var kinship: String { isFemale ? "sister" : "brother" }
}

private func capitalized(_ text: String) -> String {
  text.prefix(1).uppercased() + text.dropFirst()
}

private func article(_ word: String) -> String {
  guard let first = word.first else { return "a" }
  return "aeiou".contains(first) ? "an" : "a"
}
