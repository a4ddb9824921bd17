import Evaluation
import Operators
import System
import Tensors
import Testing
import Transformer

/// A model with weights large enough that its logits differ, and a decoder over it.
private func withModel<R>(
  variant: KernelVariant = .best, precision: Precision = .bf16, threadCount: Int = 1,
  rowCapacity: Int = 8, streamCapacity: Int? = nil, isHeadTied: Bool = true,
  _ body: (ModelWeights, Engine, StreamDecoder) -> R
) -> R {
  let team = ThreadTeam(memberCount: threadCount)
  defer { team.stop() }
  let layout = ParameterLayout(
    ModelShape(
      layerCount: 2, modelWidth: 36, headCount: 4, keyValueHeadCount: 2, headWidth: 10,
      feedForwardWidth: 52, vocabularySize: 71, sequenceLength: 150, isHeadTied: isHeadTied))
  let master = AlignedStorage<Float>(count: layout.count, filledWith: 0).rows
  for parameter in layout.parameters {
    let stream = RandomStream(seed: 5, purpose: UInt64(parameter.offset))
    for index in 0..<parameter.count {
      let draw = (stream.uniform(at: UInt64(index)) - 0.5) * 0.6
      master[parameter.offset + index] = parameter.role.isGain ? 1 + draw : draw
    }
  }
  let engine = Engine(team: team, variant: variant, precision: precision)
  let weights = ModelWeights(layout: layout, master: master, form: engine.form)
  weights.pack(engine)
  return body(
    weights, engine,
    StreamDecoder(
      weights: weights, engine: engine, rowCapacity: rowCapacity, streamCapacity: streamCapacity))
}

private func tokens(_ count: Int, seed: UInt64) -> [UInt32] {
  let stream = RandomStream(seed: seed, purpose: 3)
  return (0..<count).map { UInt32(stream.integer(below: 71, at: UInt64($0))) }
}

@Suite struct `Text generation` {
  private func requests() -> [Generator.Request] {
    (0..<5).map { index in
      Generator.Request(
        prompt: tokens(3 + 20 * index, seed: UInt64(index)),
        sampler: Sampler(
          temperature: index == 0 ? 0 : 0.9, topP: index == 1 ? 0.7 : 1, seed: UInt64(index)),
        tokenLimit: 30)
    }
  }

  @Test(arguments: [Precision.bf16, .f32])
  func `a text is the same alone and in a batch`(precision: Precision) {
    let alone = withModel(precision: precision) { _, _, decoder in
      requests().map {
        Generator(decoder: decoder).generate([$0], givesLogProbabilities: true)[0]
      }
    }
    #expect(alone.allSatisfy { $0.tokens.count == 30 && $0.ending == .tokenLimit })
    let together = withModel(precision: precision, threadCount: 3) { _, _, decoder in
      Generator(decoder: decoder).generate(requests(), givesLogProbabilities: true)
    }
    #expect(together == alone)
    let crowded = withModel(precision: precision, rowCapacity: 2) { _, _, decoder in
      Generator(decoder: decoder).generate(requests(), givesLogProbabilities: true)
    }
    #expect(crowded == alone)
    let roomy = withModel(precision: precision, rowCapacity: 200, streamCapacity: 3) {
      _, _, decoder in
      Generator(decoder: decoder).generate(requests(), givesLogProbabilities: true)
    }
    #expect(roomy == alone)
  }

  @Test(arguments: [Precision.bf16, .f32])
  func `portions of a prompt do not change a bit of its logits`(precision: Precision) {
    withModel(precision: precision, rowCapacity: 140) { _, _, decoder in
      let prompt = tokens(140, seed: 4)
      let whole = decoder.feed([(decoder.makeStream(), prompt)])[0].array
      let stream = decoder.makeStream()
      var last: [Float] = []
      var rest = prompt[...]
      for count in [1, 64, 5, 69, 1] {
        last = decoder.feed([(stream, Array(rest.prefix(count)))])[0].array
        rest = rest.dropFirst(count)
      }
      #expect(last == whole)
    }
  }

  @Test(arguments: KernelVariant.available, Precision.allCases)
  func `a text has its tokens and their training losses alone and in every slot among 31 others`(
    variant: KernelVariant, precision: Precision
  ) {
    // It crosses the tile of 64 keys; the others begin and end before, with and after it.
    let request = Generator.Request(
      prompt: tokens(60, seed: 40), sampler: Sampler(seed: 3), tokenLimit: 8)
    let others = (0..<31).map { index in
      Generator.Request(
        prompt: tokens(1 + index * 7 % 40, seed: UInt64(index)),
        sampler: Sampler(temperature: 0.5, topP: index % 2 == 0 ? 1 : 0.8, seed: UInt64(index)),
        tokenLimit: 1 + index * 5 % 12)
    }
    for isHeadTied in [true, false] {
      let (alone, expected) = withModel(
        variant: variant, precision: precision, isHeadTied: isHeadTied
      ) { weights, engine, decoder in
        let found = Generator(decoder: decoder).generate([request], givesLogProbabilities: true)[0]
        return (found, trainingLosses(request.prompt + found.tokens, weights, engine).suffix(8))
      }
      #expect(alone.logProbabilities.map(\.bitPattern) == expected.map { (-$0).bitPattern })
      let differing = withModel(
        variant: variant, precision: precision, rowCapacity: 200, streamCapacity: 32,
        isHeadTied: isHeadTied
      ) { _, _, decoder in
        let generator = Generator(decoder: decoder)
        return (0..<32).filter { slot in
          var crowd = others
          crowd.insert(request, at: slot)
          return generator.generate(crowd, givesLogProbabilities: true)[slot] != alone
        }
      }
      #expect(differing == [])
    }
  }

  @Test func `log-probabilities are given to those who ask`() {
    withModel { _, _, decoder in
      let generator = Generator(decoder: decoder)
      let plain = generator.generate(requests())
      #expect(plain.allSatisfy { $0.logProbabilities.isEmpty })
      var asked = generator.generate(requests(), givesLogProbabilities: true)
      for index in asked.indices {
        #expect(asked[index].logProbabilities.count == asked[index].tokens.count)
        #expect(asked[index].logProbabilities.allSatisfy { $0 < 0 })
        asked[index].logProbabilities = []
      }
      #expect(asked == plain)
    }
  }

  /// The loss of each token but the first, by a training forward.
  private func trainingLosses(
    _ text: [UInt32], _ weights: ModelWeights, _ engine: Engine
  ) -> [Double] {
    let sequence = TokenSlice.Sequence(
      tokens: text, isTarget: Array(repeating: true, count: text.count - 1))
    var batch = Microbatch(tokenCapacity: 150)
    batch.load(0..<1, of: TokenSlice(sequences: [sequence]), firstToken: 0)
    return Transformer(
      weights: weights, engine: engine, tokenCapacity: 150, lookupRowCapacity: 0
    ).values(batch).array
  }

  @Test func `it stops at a stop token, and where the model's sight ends`() {
    withModel { _, _, decoder in
      let generator = Generator(decoder: decoder)
      var request = Generator.Request(
        prompt: tokens(5, seed: 1), sampler: Sampler(temperature: 0), tokenLimit: 1000)
      let free = generator.generate([request])[0]
      #expect(free.ending == .sequenceLength)
      // Every fed token has a position; the last drawn one is not fed.
      #expect(free.tokens.count == 150 - 5 + 1)
      request.stopTokens = [free.tokens[3]]
      let stopped = generator.generate([request])[0]
      let end = (free.tokens.firstIndex(of: free.tokens[3]) ?? 0) + 1
      #expect(stopped.tokens == Array(free.tokens.prefix(end)))
      #expect(stopped.ending == .stopToken)
    }
  }
}

@Suite struct `Sampling` {
  @Test func `draws follow the distribution of the logits`() {
    // Probabilities 0.1, 0.2, 0.3, 0.4.
    let logits = LogitRows(rowCount: 1, vocabularySize: 4)
    logits[0].copy(from: [0.1, 0.2, 0.3, 0.4].map { Float(PortableMath.log($0)) })
    let team = ThreadTeam(memberCount: 1)
    defer { team.stop() }
    let engine = Engine(team: team)
    let workspace = DrawWorkspace(vocabularySize: 4, memberCount: 1)
    let token = AlignedStorage<UInt32>(count: 1, filledWith: 0).rows
    var counts = [Int](repeating: 0, count: 4)
    for index in 0..<10_000 {
      engine.draw(
        [Sampler(seed: 3).draw(at: index)], from: logits, idCount: 4, into: token,
        workspace: workspace)
      counts[Int(token[0])] += 1
    }
    // Four standard errors of a count of 10,000 draws are at most 196.
    for (id, expected) in [1000, 2000, 3000, 4000].enumerated() {
      #expect(abs(counts[id] - expected) < 200)
    }
  }
}

@Suite struct `Loss evaluation` {
  @Test func `the sum does not depend on threads`() {
    let text = tokens(700, seed: 2)
    let windows = stride(from: 0, to: 699, by: 60).map { start in
      let end = min(start + 60, 699)
      return TokenSlice.Sequence(
        tokens: Array(text[start...end]), isTarget: Array(repeating: true, count: end - start))
    }
    func sum(_ threadCount: Int) -> SliceStatistics {
      withModel(threadCount: threadCount) { weights, engine, _ in
        Transformer(
          weights: weights, engine: engine, tokenCapacity: 120, lookupRowCapacity: 0
        ).evaluate(windows, microbatch: 2, sliceCount: 4)
      }
    }
    let alone = sum(1)
    #expect(alone.tokenCount == 699)
    #expect(sum(3) == alone)
  }
}
