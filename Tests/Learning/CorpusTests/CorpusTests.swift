internal import Corpus
internal import Settings
internal import System
internal import Tensors
internal import Testing
internal import Tokenization

@Suite struct `Training windows` {
  @Test func `are the same when asked for again, out of order or from another corpus`() throws {
    let scratch = try Scratch()
    for order in DataChoice.Order.allCases {
      let first = try worldCorpus(scratch, order: order)
      let second = try worldCorpus(scratch, order: order)
      func slice(_ corpus: Corpus, _ step: Int) throws -> TokenSlice {
        try corpus.slice(
          step: step, slice: 1, batch: batch(8, slices: 4), sequenceLength: 32, seed: 5, phase: 0)
      }
      let steps = [0, 1, 2, 40, 41, 90]
      let forward = try steps.map { try slice(first, $0) }
      let backward = try steps.reversed().map { try slice(second, $0) }
      #expect(forward == backward.reversed())
    }
  }

  @Test func `do not depend on how many slices the step has`() throws {
    let scratch = try Scratch()
    let corpus = try worldCorpus(scratch)
    func step(slices: Int) throws -> [TokenSlice.Sequence] {
      try (0..<slices).flatMap {
        try corpus.slice(
          step: 3, slice: $0, batch: batch(8, slices: slices), sequenceLength: 32, seed: 5,
          phase: 0
        ).sequences
      }
    }
    #expect(try step(slices: 1) == step(slices: 8))
  }

  @Test func `differ by seed, phase and epoch`() throws {
    let scratch = try Scratch()
    for order in DataChoice.Order.allCases {
      let corpus = try worldCorpus(scratch, order: order)
      func slice(seed: UInt64, phase: Int, step: Int) throws -> TokenSlice {
        try corpus.slice(
          step: step, slice: 0, batch: batch(4), sequenceLength: 32, seed: seed, phase: phase)
      }
      let base = try slice(seed: 1, phase: 0, step: 0)
      #expect(try base != slice(seed: 2, phase: 0, step: 0))
      #expect(try base != slice(seed: 1, phase: 1, step: 0))
      #expect(try base != slice(seed: 1, phase: 0, step: 1))
    }
  }

  @Test func `of an epoch overlap by one token and cover the documents once`() throws {
    let scratch = try Scratch()
    let corpus = try worldCorpus(scratch)
    let length = 32
    let total = corpus.trainingTokenCount
    let count = (total - length) / length
    let windows = try (0..<count).map {
      try corpus.slice(
        step: $0, slice: 0, batch: batch(1), sequenceLength: length, seed: 9, phase: 0
      ).sequences[0]
    }
    #expect(windows.allSatisfy { $0.tokens.count == length + 1 && !$0.isTarget.contains(false) })
    // Each window but one starts with the token that another one ends with.
    var ends: [UInt32: Int] = [:]
    for window in windows {
      ends[window.tokens[0], default: 0] += 1
      ends[window.tokens[length], default: 0] -= 1
    }
    #expect(ends.values.allSatisfy { abs($0) <= 1 })
    #expect(ends.values.count { $0 != 0 } <= 2)
    // What was read is part of the text: no token occurs more often than in the source, and all
    // but fewer than two windows' tokens were read.
    var left: [UInt32: Int] = [:]
    for document in try sourceTokens(documents: 60) {
      left[256, default: 0] += 1
      for token in document { left[token, default: 0] += 1 }
    }
    for window in windows { for token in window.tokens.dropLast() { left[token, default: 0] -= 1 } }
    #expect(left.values.allSatisfy { $0 >= 0 })
    #expect(total - count * length < 2 * length)
  }

  @Test func `of shuffled order are pieces of whole documents in permuted order`() throws {
    let scratch = try Scratch()
    let corpus = try worldCorpus(scratch)
    let documents = Set(try sourceTokens(documents: 60))
    var wholeCount = 0
    for step in 0..<50 {
      let slice = try corpus.slice(
        step: step, slice: 0, batch: batch(1), sequenceLength: 800, seed: 2, phase: 0)
      let parts = slice.sequences[0].tokens.split(separator: 256)
      for part in parts.dropFirst().dropLast() {
        // The cut of `tail` leaves one document of which only the start is trained on.
        let isWhole = documents.contains(Array(part))
        #expect(isWhole || documents.contains { $0.starts(with: part) })
        wholeCount += 1
      }
    }
    #expect(wholeCount > 50)
  }

  @Test func `of random order lie in the text as they are`() throws {
    let scratch = try Scratch()
    let text = (0..<4000).map { "\($0) " }.joined()
    let path = try scratch.write(text, to: "numbers.txt")
    let data = DataChoice(source: .path(path), order: .random)
    let tokenizer = try Corpus.trainTokenizer(
      ResolvedPlan.TokenizerChoice(kind: .characters, vocabularySize: 0), on: data)
    let corpus = try Corpus(
      data: data, tokenizer: tokenizer, cacheDirectories: ["\(scratch.path)/data"],
      sequenceLength: 64)
    let training = String(text.prefix(Int(0.9 * Double(text.utf8.count))))
    var distinct: Set<[UInt32]> = []
    for step in 0..<50 {
      let slice = try corpus.slice(
        step: step, slice: 0, batch: batch(3), sequenceLength: 64, seed: 1, phase: 0)
      for sequence in slice.sequences {
        let piece = String(decoding: tokenizer.decode(sequence.tokens), as: UTF8.self)
        #expect(piece.utf8.count == 65 && training.contains(piece))
        distinct.insert(sequence.tokens)
      }
    }
    #expect(distinct.count == 150)
  }

  @Test func `mark where documents start if attention stays inside documents`() throws {
    let scratch = try Scratch()
    for order in DataChoice.Order.allCases {
      let corpus = try worldCorpus(scratch, order: order, attention: .document)
      var startCount = 0
      for step in 0..<60 {
        let sequence = try corpus.slice(
          step: step, slice: 0, batch: batch(1), sequenceLength: 300, seed: 4, phase: 0
        ).sequences[0]
        let expected = [0] + (1..<300).filter { sequence.tokens[$0] == 256 }.map { UInt32($0) }
        #expect(sequence.segmentStarts == expected)
        startCount += expected.count - 1
      }
      #expect(startCount > 30)
    }
  }

  @Test func `are the same however the tokens are cut into files`() throws {
    let (one, many) = (try Scratch(), try Scratch())
    for order in DataChoice.Order.allCases {
      let whole = try worldCorpus(one, order: order)
      let cut = try worldCorpus(many, order: order, shardTokenCount: 501)
      for step in 0..<30 {
        func slice(_ corpus: Corpus) throws -> TokenSlice {
          try corpus.slice(
            step: step, slice: 0, batch: batch(2), sequenceLength: 700, seed: 1, phase: 0)
        }
        #expect(try slice(whole) == slice(cut))
      }
    }
    #expect(try Files.list("\(many.path)/data").count > 10)
  }
}

@Suite struct `Validation windows` {
  private func text(_ count: Int) throws -> EvaluationText {
    try EvaluationText((0..<count).map { UInt8(truncatingIfNeeded: $0 / 7) }, tokenizer: .bytes)
  }

  @Test(arguments: [2, 32, 33, 34, 64, 65, 1000])
  func `predict every token but the first once, last partial window included`(count: Int) throws {
    let text = try text(count)
    for sliceCount in [1, 3, 8] {
      let sequences = (0..<sliceCount).flatMap {
        text.slice($0, of: sliceCount, sequenceLength: 32, tokenLimit: nil).sequences
      }
      var predicted: [UInt32] = []
      for (index, sequence) in sequences.enumerated() {
        #expect(index == sequences.count - 1 || sequence.count == 32)
        #expect(sequence.isTarget.allSatisfy { $0 })
        predicted += sequence.tokens.dropFirst()
      }
      #expect(predicted == (1..<count).map { UInt32(truncatingIfNeeded: $0 / 7) & 255 })
    }
    #expect(text.coverage(sequenceLength: 32, tokenLimit: nil) == (count - 1, count - 1))
  }

  @Test func `are evenly spaced full windows where there is a limit`() throws {
    let text = try text(100_000)
    let slices = (0..<4).map {
      text.slice($0, of: 4, sequenceLength: 50, tokenLimit: 1000).sequences
    }
    #expect(slices.map(\.count) == [5, 5, 5, 5])
    #expect(text.coverage(sequenceLength: 50, tokenLimit: 1000) == (1000, 1000))
    // 2000 windows, 20 of them: every hundredth.
    let starts = slices.flatMap { $0.map(\.tokens[0]) }
    #expect(starts == (0..<20).map { UInt32(truncatingIfNeeded: $0 * 100 * 50 / 7) & 255 })
  }

  @Test func `of a text of one token are none`() throws {
    #expect(try text(1).slice(0, of: 1, sequenceLength: 8, tokenLimit: nil).sequences.isEmpty)
    #expect(try text(0).coverage(sequenceLength: 8, tokenLimit: 5) == (0, 0))
  }

  @Test func `count the bytes of what they predict`() throws {
    let words = Array(String(repeating: "the miller and the mill ", count: 40).utf8)
    let bpe = try Tokenizer.train(.bpe, on: words, vocabularySize: 270)
    let text = try EvaluationText(words, tokenizer: bpe)
    #expect(text.byteCount == words.count)
    let first = bpe.byteCount(of: try bpe.encode(words)[0])
    #expect(text.coverage(sequenceLength: 7, tokenLimit: nil)
      == (text.tokenCount - 1, words.count - first))
  }
}
