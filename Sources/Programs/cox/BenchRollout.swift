internal import Evaluation
internal import Operators
internal import Settings
internal import System
internal import Tensors
internal import Transformer

/// Answers drawn for many prompts at once, with log-probabilities, as a rollout needs them.
struct RolloutBench {
  private let preset: ModelPreset
  private let engine: Engine
  private let times: OperatorTimes
  private let generator: Generator
  private let requests: [Generator.Request]
  private let roundCount: Int

  static let options: [CommandOption] = [
    .option("streams", "count", .integer(1...4096), default: "32", help: "Texts at once."),
    .option(
      "requests", "count", .integer(1...1 << 20), help: "Texts in all. (default: --streams)"),
    .option("prompt", "tokens", .integer(1...1 << 20), default: "32", help: "Tokens of a prompt."),
    .option(
      "tokens", "count", .integer(1...1 << 20), default: "128", help: "Tokens drawn for each."),
    .option(
      "rounds", "count", .integer(1...10_000), default: "5",
      help: "How often it is measured after a first round that is not; the median counts."),
  ]

  static func run(_ invocation: Invocation) throws {
    let preset = BenchCommand.shape(invocation)
    let prompt = invocation.integer("prompt") ?? 32, tokens = invocation.integer("tokens") ?? 128
    // The last token drawn is not fed.
    guard prompt + tokens - 1 <= preset.model.sequenceLength else {
      throw PlainError(
        "--prompt \(prompt) and --tokens \(tokens) are more than the "
          + "\(preset.model.sequenceLength) tokens of shape \(preset.rawValue)", .usage)
    }
    let times = OperatorTimes()
    let bench = RolloutBench(
      preset: preset, engine: try BenchCommand.engine(invocation, times: times), times: times,
      promptLength: prompt, tokenCount: tokens, invocation)
    BenchCommand.print(bench.measure(), asJSON: invocation.has("json"))
  }

  private init(
    preset: ModelPreset, engine: Engine, times: OperatorTimes, promptLength: Int, tokenCount: Int,
    _ invocation: Invocation
  ) {
    self.preset = preset
    self.engine = engine
    self.times = times
    roundCount = invocation.integer("rounds") ?? 5
    let shape = preset.model
    let streamCount = invocation.integer("streams") ?? 32
    generator = Generator(
      decoder: StreamDecoder(
        weights: Self.randomWeights(shape, engine), engine: engine,
        rowCapacity: max(512, streamCount), streamCapacity: streamCount))
    requests = (0..<(invocation.integer("requests") ?? streamCount)).map { index in
      let draws = RandomStream(seed: UInt64(index), purpose: 1)
      return Generator.Request(
        prompt: (0..<promptLength).map {
          UInt32(draws.integer(below: shape.vocabularySize, at: UInt64($0)))
        },
        sampler: Sampler(seed: UInt64(index)), tokenLimit: tokenCount)
    }
  }

  /// Small ones, different: what is computed does not depend on them, but what is drawn does.
  private static func randomWeights(_ shape: ModelShape, _ engine: Engine) -> ModelWeights {
    let layout = ParameterLayout(shape)
    let master = AlignedStorage(count: layout.count, filledWith: Float(0)).rows
    let draws = RandomStream(seed: 1, purpose: 2)
    master.withMutableSpan { span in
      for index in span.indices { span[index] = (draws.uniform(at: UInt64(index)) - 0.5) * 0.07 }
    }
    let weights = ModelWeights(layout: layout, master: master, form: engine.form)
    weights.pack(engine)
    return weights
  }

  private func measure() -> [(String, JSONNode)] {
    _ = generator.generate(requests, givesLogProbabilities: true)
    times.reset()
    let seconds = (0..<roundCount).map { _ in
      let start = Clock.monotonicSeconds
      _ = generator.generate(requests, givesLogProbabilities: true)
      return Clock.monotonicSeconds - start
    }
    return figures(seconds)
  }

  private func figures(_ seconds: [Double]) -> [(String, JSONNode)] {
    let total = seconds.reduce(0, +)
    let drawnCount = requests.reduce(0) { $0 + $1.tokenLimit }
    func rate(_ seconds: Double) -> JSONNode {
      BenchCommand.rounded(Double(drawnCount) / seconds, 1)
    }
    var shares = OperatorPart.allCases.map { ($0.rawValue, times.seconds(of: $0) / total) }
    shares.append(("other", 1 - shares.reduce(0) { $0 + $1.1 }))
    return [
      ("shape", .text(preset.rawValue)), ("threads", .integer(engine.team.memberCount)),
      ("kernels", .text(engine.variant.name)), ("profile", .text(engine.profile)),
      ("dtype", .text(engine.precision.rawValue)),
      ("streams", .integer(generator.decoder.streamCapacity)),
      ("requests", .integer(requests.count)), ("prompt", .integer(requests[0].prompt.count)),
      ("tokens", .integer(requests[0].tokenLimit)), ("rounds", .integer(roundCount)),
      ("tokens_per_s_best", rate(seconds.min() ?? 1)),
      ("tokens_per_s_median", rate(BenchCommand.median(seconds))),
      ("tokens_per_s_worst", rate(seconds.max() ?? 1)),
      (
        "share_by",
        .object(shares.filter { $0.1 > 0 }.map { ($0.0, BenchCommand.rounded($0.1, 4)) })
      ),
    ]
  }
}
