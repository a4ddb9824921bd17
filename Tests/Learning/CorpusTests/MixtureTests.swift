internal import Corpus
internal import Settings
internal import System
internal import Tensors
internal import Testing
internal import Tokenization

/// Sources whose bytes tell them apart: "a0001 a0002 ...", and so on for other letters.
private struct Sources {
  let scratch: Scratch
  let names: [String]
  let data: DataChoice

  /// - Parameter counts: Words of each source; a word has 6 bytes.
  init(
    _ counts: [Int], weights: [Double], split: DataChoice.Split = .tail(0.1),
    order: DataChoice.Order = .shuffled
  ) throws {
    let scratch = try Scratch()
    let names = try counts.enumerated().map { place, count in
      let letter = Character(Unicode.Scalar(UInt8(ascii: "a") + UInt8(place)))
      let text = (0..<count).map { "\(letter)\(String(10_000 + $0).suffix(4)) " }.joined()
      return try scratch.write(text, to: "\(letter).txt")
    }
    data = DataChoice(
      mixture: zip(names, weights).map { .init(.path($0), weight: $1) }, split: split, order: order)
    self.names = names
    self.scratch = scratch
  }

  func corpus(_ data: DataChoice? = nil, textDigest: String? = nil) throws -> Corpus {
    let data = data ?? self.data
    return try Corpus(
      data: data, tokenizer: .bytes,
      cacheDirectories: data.sources.map { source in
        "\(scratch.path)/data/\(Files.name(of: source.source.name))"
      },
      sequenceLength: 32, expectedTextDigest: textDigest)
  }
}

/// The place of the source that a sequence is of.
private func place(_ sequence: TokenSlice.Sequence) -> Int {
  let letters = Set(sequence.tokens.filter { (97...122).contains($0) })
  return letters.count == 1 ? Int(letters.first ?? 0) - 97 : -1
}

private func sequences(
  _ corpus: Corpus, steps: Range<Int>, slices: Int = 4, phase: Int = 1
) throws -> [TokenSlice.Sequence] {
  try steps.flatMap { step in
    try (0..<slices).flatMap { slice in
      try corpus.slice(
        step: step, slice: slice, batch: batch(8, slices: slices), sequenceLength: 32, seed: 5,
        phase: phase
      ).sequences
    }
  }
}

@Suite struct `Windows of a mixture` {
  @Test(arguments: [[3.0, 1], [1, 1, 1], [0.7, 0.2, 0.1]], DataChoice.Order.allCases)
  func `come from the sources as their weights are`(
    weights: [Double], order: DataChoice.Order
  ) throws {
    let sources = try Sources([900, 300, 500], weights: weights, order: order)
    let read = try sequences(sources.corpus(), steps: 0..<250)
    let sum = weights.reduce(0, +)
    for (source, weight) in weights.enumerated() {
      let count = read.count { place($0) == source }
      #expect(abs(Double(count) - 2000 * weight / sum) <= 1.5, "\(count) of source \(source)")
    }
    // Every window is of one source whole.
    #expect(read.allSatisfy { place($0) >= 0 && $0.tokens.count == 33 })
  }

  @Test(arguments: DataChoice.Order.allCases)
  func `follow from their number: out of order, in other slices, from another corpus`(
    order: DataChoice.Order
  ) throws {
    let sources = try Sources([600, 200], weights: [2, 1], order: order)
    let corpus = try sources.corpus()
    let forward = try sequences(corpus, steps: 0..<40)
    let again = try sources.corpus()
    // As a run reads that is resumed at step 25, and then shown from its beginning.
    #expect(try sequences(again, steps: 25..<40) == Array(forward[200...]))
    #expect(try sequences(again, steps: 0..<25) == Array(forward[..<200]))
    for slices in [1, 2, 8] {
      #expect(try sequences(corpus, steps: 0..<40, slices: slices) == forward)
    }
    #expect(try sequences(corpus, steps: 0..<40, phase: 2) != forward)
  }

  @Test func `keep the epochs of each source`() throws {
    let sources = try Sources([900, 100], weights: [1, 1])
    let corpus = try sources.corpus()
    let read = try sequences(corpus, steps: 0..<60)
    let windows = (0..<2).map { source in read.filter { place($0) == source }.map(\.tokens) }
    // The first source reads as if it were alone; the second goes through its 15 windows, each
    // epoch in another order.
    let alone = try sources.corpus(DataChoice(source: .path(sources.names[0])))
    #expect(try sequences(alone, steps: 0..<30).map(\.tokens) == windows[0])
    let count = (corpus.sourceTokenCounts[1] - 32) / 32
    #expect(count == 15)
    let epochs = (0..<3).map { Array(windows[1][$0 * count..<($0 + 1) * count]) }
    #expect(epochs.allSatisfy { Set($0).count == count })
    #expect(epochs[0] != epochs[1])
  }

  @Test func `of one text read twice are no copies of one another`() throws {
    let sources = try Sources([900], weights: [1])
    let source = DataChoice.Source.path(sources.names[0])
    for order in DataChoice.Order.allCases {
      let twice = DataChoice(mixture: [.init(source), .init(source)], order: order)
      let read = try sequences(sources.corpus(twice), steps: 0..<2)
      #expect(Set(read.map(\.tokens)).count > 8)
    }
  }

  @Test func `of another text in any source are refused`() throws {
    let sources = try Sources([600, 200], weights: [2, 1])
    let digest = try #require(try sources.corpus().textDigest)
    #expect(try sources.corpus(textDigest: digest).identity == sources.corpus().identity)
    var names = ""
    try sources.scratch.write(String(repeating: "b0000 ", count: 200), to: "b.txt")
    #expect {
      try sources.corpus(textDigest: digest)
    } throws: { error in
      guard case .changedText(let path, _, let expected)? = error as? CorpusError else {
        return false
      }
      names = path
      return expected == digest
    }
    #expect(names == sources.names.joined(separator: " + "))
  }

  @Test func `need a window of every source to train on, and text of it held back`() throws {
    let small = try Sources([600, 5], weights: [2, 1])
    #expect(throws: CorpusError.tooFewTokens(path: small.names[1], found: 28, needed: 33)) {
      try small.corpus()
    }
    let whole = try Sources([600, 400], weights: [2, 1], split: .documents(0.0001))
    #expect(throws: CorpusError.nothingHeldBack(path: whole.names[0])) { try whole.corpus() }
    try Files.removeTree(whole.names[1])
    #expect(throws: CorpusError.missing(path: whole.names[1])) { try whole.corpus() }
  }

  @Test func `have a tokenizer that was trained on all of it`() throws {
    let sources = try Sources([40, 40], weights: [1000, 1])
    let tokenizer = try Corpus.trainTokenizer(
      .init(kind: .characters, vocabularySize: 0), on: sources.data)
    #expect(try tokenizer.encode("a0001 b0002").count == 11)
  }
}

@Suite struct `Validation of a mixture` {
  /// Windows of each source that a validation reads, and their sequences.
  private func read(
    _ corpus: Corpus, tokenLimit: Int?
  ) -> (counts: [Int], sequences: [TokenSlice.Sequence]) {
    let sequences = (0..<4).flatMap { slice in
      corpus.validationSlice(
        slice: slice, sliceCount: 4, sequenceLength: 32, tokenLimit: tokenLimit
      ).sequences
    }
    let places = sequences.map(place)
    let coverage = corpus.validation.coverage(sequenceLength: 32, tokenLimit: tokenLimit)
    #expect(coverage.tokenCount == sequences.reduce(0) { $0 + $1.count })
    #expect(coverage.byteCount == coverage.tokenCount)
    return ((0..<2).map { source in places.count { $0 == source } }, sequences)
  }

  @Test func `reads of each source as its weight is`() throws {
    // 3,600 and 1,200 bytes held back: 113 and 38 windows.
    let corpus = try Sources([6000, 2000], weights: [3, 2]).corpus()
    let capped = read(corpus, tokenLimit: 640)
    #expect(capped.counts == [12, 8])
    // Evenly spaced in each: the first window of a part is among them, its last is not.
    #expect(Set(capped.sequences.map(\.tokens)).count == 20)
    // The second source runs out first: of 96 windows it has 38.
    let whole = read(corpus, tokenLimit: nil)
    #expect(whole.counts == [58, 38])
    #expect(whole.sequences.filter { $0.count < 32 }.map(place) == [1])
  }

  @Test func `of a mixture of equal parts is that of both`() throws {
    let sources = try Sources([2000, 2000], weights: [1, 1])
    let both = read(try sources.corpus(), tokenLimit: nil).sequences
    let parts = try sources.names.map { name in
      read(try sources.corpus(DataChoice(source: .path(name))), tokenLimit: nil).sequences
    }
    #expect(both == parts[0] + parts[1])
  }
}
