internal import Evaluation
internal import Operators
internal import Settings
internal import Tensors
internal import Transformer

/// Answers drawn for many prompts at once, with log-probabilities, as a rollout needs them.
struct RolloutBench {
  private let setup: BenchSetup
  private let times = OperatorTimes()
  private let generator: Generator
  private let requests: [Generator.Request]

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

  /// - Throws: What ``BenchSetup`` throws; more tokens than the shape's context.
  init(_ invocation: Invocation) throws {
    setup = try BenchSetup(
      invocation, rounds: invocation.integer("rounds") ?? 5, times: times)
    let shape = setup.preset.model
    let prompt = invocation.integer("prompt") ?? 32, tokens = invocation.integer("tokens") ?? 128
    // The last token drawn is not fed.
    guard prompt + tokens - 1 <= shape.sequenceLength else {
      throw PlainError(
        "--prompt \(prompt) and --tokens \(tokens) are more than the "
          + "\(shape.sequenceLength) tokens of shape \(setup.preset.rawValue)", .usage)
    }
    let streamCount = invocation.integer("streams") ?? 32
    // Small weights, different: what is computed does not depend on them, but what is drawn does.
    let draws = RandomStream(seed: 1, purpose: 2)
    let weights = setup.weights { (draws.uniform(at: UInt64($0)) - 0.5) * 0.07 }
    generator = Generator(
      decoder: StreamDecoder(
        weights: weights, engine: setup.engine, rowCapacity: max(512, streamCount),
        streamCapacity: streamCount))
    requests = (0..<(invocation.integer("requests") ?? streamCount)).map { index in
      let draws = RandomStream(seed: UInt64(index), purpose: 1)
      return Generator.Request(
        prompt: (0..<prompt).map {
          UInt32(draws.integer(below: shape.vocabularySize, at: UInt64($0)))
        },
        sampler: Sampler(seed: UInt64(index)), tokenLimit: tokens)
    }
  }

  func measure() -> [(String, JSONNode)] {
    func draw() { _ = generator.generate(requests, givesLogProbabilities: true) }
    draw()
    times.reset()
    return figures((0..<setup.rounds).map { _ in BenchSetup.seconds(draw) })
  }

  private func figures(_ seconds: [Double]) -> [(String, JSONNode)] {
    let total = seconds.reduce(0, +)
    let drawnCount = requests.reduce(0) { $0 + $1.tokenLimit }
    func rate(_ seconds: Double) -> JSONNode {
      BenchCommand.rounded(Double(drawnCount) / seconds, 1)
    }
    var shares = OperatorPart.allCases.map { ($0.rawValue, times.seconds(of: $0) / total) }
    shares.append(("other", 1 - shares.reduce(0) { $0 + $1.1 }))
    return setup.head + [
      ("streams", .integer(generator.decoder.streamCapacity)),
      ("requests", .integer(requests.count)), ("prompt", .integer(requests[0].prompt.count)),
      ("tokens", .integer(requests[0].tokenLimit)), ("rounds", .integer(setup.rounds)),
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
