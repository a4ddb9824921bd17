internal import Tensors

/// A small invented world: places, people and things, and what is true of them.
///
/// Everything follows from the seed by integer draws, so the world is the same on every machine.
/// Documents (``document(_:)``) state its facts in many words; questions with known answers are
/// to be asked of the same facts.
public struct World: Sendable {
  public struct Place: Equatable, Sendable {
    public var name: String
    /// `river`, `hill` or the like, and its name: `the river Orn`.
    public var landmark: String
    /// Two things that the place has: `mill`, `market`.
    public var features: [String]
    /// What is made there.
    public var product: String
  }

  public struct Person: Equatable, Sendable {
    public var name: String
    public var isFemale: Bool
    public var age: Int
    /// Index into ``World/places``.
    public var home: Int
    /// `baker`; `pupil` for the young.
    public var job: String
    public var colour: String
    public var food: String
    /// `dog`, `cat`.
    public var animal: String
    public var animalName: String
    /// The thing the person owns: `brass`, `lantern`.
    public var material: String
    public var thing: String
    /// Index into ``World/people``: the friend, never the person or the sibling.
    public var friend: Int
    /// Index into ``World/people``: siblings come in pairs.
    public var sibling: Int
    /// Index into ``World/people``: whom the person learned from.
    public var teacher: Int
  }

  public let seed: UInt64
  /// In order from west to east: place `i` is the next one west of place `i + 1`.
  public let places: [Place]
  public let people: [Person]

  /// Changes when the same seed would give other text.
  static let version = 1
  static let purpose: UInt64 = 0x574F_524C_44  // "WORLD"

  public init(seed: UInt64) {
    var draws = Draws(seed: seed, purpose: Self.purpose, start: 0)
    self.seed = seed
    let places = Self.makePlaces(&draws)
    self.places = places
    people = Self.makePeople(placeCount: places.count, &draws)
  }

  private static func makePlaces(_ draws: inout Draws) -> [Place] {
    let products = draws.shuffled(WorldWords.products)
    let landmarks = draws.shuffled(WorldWords.landmarks)
    return draws.shuffled(WorldWords.places).enumerated().map { index, name in
      let features = draws.shuffled(WorldWords.features)
      return Place(
        name: name, landmark: landmarks[index % landmarks.count],
        features: Array(features.prefix(2)), product: products[index % products.count])
    }
  }

  private static func makePeople(placeCount: Int, _ draws: inout Draws) -> [Person] {
    let women = draws.shuffled(WorldWords.women).map { ($0, true) }
    let men = draws.shuffled(WorldWords.men).map { ($0, false) }
    let names = draws.shuffled(women + men)
    let animalNames = draws.shuffled(WorldWords.animalNames)
    let count = names.count
    return names.indices.map { index in
      let age = 8 + draws.below(72)
      // From 2 to count - 2 steps on: never the person, nor the sibling, who is a neighbour.
      let friendStep = 2 + draws.below(count - 3)
      let teacherStep = 2 + draws.below(count - 3)
      return Person(
        name: names[index].0, isFemale: names[index].1, age: age, home: draws.below(placeCount),
        job: age < 18 ? "pupil" : draws.pick(WorldWords.jobs),
        colour: draws.pick(WorldWords.colours), food: draws.pick(WorldWords.foods),
        animal: draws.pick(WorldWords.animals),
        animalName: animalNames[index % animalNames.count],
        material: draws.pick(WorldWords.materials), thing: draws.pick(WorldWords.things),
        friend: (index + friendStep) % count, sibling: index ^ 1,
        teacher: (index + teacherStep) % count)
    }
  }
}

/// Draws one after the other from a counter-based stream.
struct Draws {
  private let stream: RandomStream
  private var index: UInt64

  init(seed: UInt64, purpose: UInt64, start: UInt64) {
    stream = RandomStream(seed: seed, purpose: purpose)
    index = start
  }

  mutating func below(_ bound: Int) -> Int {
    defer { index += 1 }
    return stream.integer(below: bound, at: index)
  }

  mutating func pick<Element>(_ choices: [Element]) -> Element { choices[below(choices.count)] }

  /// True once in `count` draws, on average.
  mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }

  mutating func shuffled<Element>(_ elements: [Element]) -> [Element] {
    var result = elements
    for index in stride(from: result.count - 1, to: 0, by: -1) {
      result.swapAt(index, below(index + 1))
    }
    return result
  }
}

/// The words the world is made of.
enum WorldWords {
  // An even count in all, so that everyone has a sibling.
  static let women = words(
    "Ada Bela Cora Dina Edda Fenna Greta Hanna Ida Jora Kara Lena Mara Nora Olga Petra Rosa Sanna "
      + "Tilda Una Vera Wilma Yara Zora")
  static let men = words(
    "Arno Bruno Carl Dirk Emil Frans Gustav Hugo Ivo Jakob Konrad Leo Milo Nils Otto Paul Quin "
      + "Rolf Simon Tom Ulf Viktor Willem Zeno")
  static let places = words(
    "Arlby Brenholt Carwick Dunmoor Elmsea Farrow Glenport Hollin Inverlake Kelsdale Lindow "
      + "Marrowby Northam Oakhurst Penfield Ravenna")
  static let landmarks = [
    "the river Orn", "the river Tay", "the river Lume", "the Grey Hill", "the Long Hill",
    "the Pine Forest", "the Old Forest", "Lake Mirren", "Lake Sorrow", "the White Cliff",
    "the Salt Marsh", "the Stone Bridge",
  ]
  static let features = words(
    "mill market harbour tower well orchard school library windmill bakery station garden")
  static let products = words(
    "cheese boats glass honey rope candles paper bells bread wool apples clocks salt shoes")
  static let jobs = words(
    "baker smith teacher fisher weaver doctor farmer carpenter painter miller gardener sailor "
      + "shepherd cook tailor potter")
  static let colours = words("red blue green yellow white black brown purple orange grey")
  static let foods = words(
    "soup bread cheese apples pears honey fish beans cake plums rice eggs nuts carrots")
  static let animals = words("dog cat goat horse rabbit duck goose parrot pony sheep")
  static let animalNames = words(
    "Pip Bramble Dot Fern Ginger Hazel Juno Kip Luna Moss Nettle Olive Pepper Rusty Sky Tansy "
      + "Umber Willow Clover Biscuit Button Comet Daisy Echo")
  static let materials = words("brass wooden glass silver copper clay iron paper stone woollen")
  static let things = words(
    "kite lantern drum key basket ladder clock coat map bell boat violin hammer blanket cup "
      + "mirror book wheel whistle umbrella")

  private static func words(_ text: String) -> [String] {
    text.split(separator: " ").map(String.init)
  }
}
