internal import Operators
internal import Planning
internal import Settings
internal import Tensors
internal import Transformer

/// Tokens added to texts whose keys and values are cached, as `cox generate` computes them.
struct DecodeBench {
  private let setup: BenchSetup
  private let streamCount: Int
  /// Tokens in each cache before the clock starts.
  private let context: Int
  private let stepCount: Int

  static let options: [CommandOption] = [
    .option(
      "streams", "count", .integer(1...4096), default: "1", help: "Texts that grow side by side."),
    .option(
      "context", "tokens", .integer(1...1 << 20),
      help: "Tokens in each cache before. (default: half the shape's context)"),
    .option(
      "tokens", "count", .integer(1...1 << 20), default: "32",
      help: "Tokens added to each text, the ones that are timed."),
  ]

  /// - Throws: What ``BenchSetup`` throws; more tokens than the shape's context.
  init(_ invocation: Invocation) throws {
    stepCount = invocation.integer("tokens") ?? 32
    setup = try BenchSetup(invocation, rounds: stepCount)
    let length = setup.preset.model.sequenceLength
    streamCount = invocation.integer("streams") ?? 1
    context = invocation.integer("context") ?? length / 2
    guard context + stepCount <= length else {
      throw PlainError(
        "--context \(context) and --tokens \(stepCount) are more than the \(length) tokens of "
          + "shape \(setup.preset.rawValue)", .usage)
    }
  }

  /// Weights are of one value: what is computed does not depend on it.
  func measure() -> [(String, JSONNode)] {
    let decoder = StreamDecoder(
      weights: setup.weights { _ in 0.01 }, engine: setup.engine,
      rowCapacity: max(64, streamCount), streamCapacity: streamCount)
    let streams = (0..<streamCount).map { _ in decoder.makeStream() }
    let prefillSeconds = BenchSetup.seconds { for stream in streams { prefill(stream, decoder) } }
    let seconds = (0..<stepCount).map { _ in
      BenchSetup.seconds { _ = decoder.feed(streams.map { ($0, [1]) }) }
    }
    return figures(prefillSeconds: prefillSeconds, seconds)
  }

  private func prefill(_ stream: DecoderStream, _ decoder: StreamDecoder) {
    var left = context
    while left > 0 {
      let portion = min(left, decoder.rowCapacity)
      _ = decoder.feed([(stream, Array(repeating: 1, count: portion))])
      left -= portion
    }
  }

  private func figures(
    prefillSeconds: Double, _ seconds: [Double]
  ) -> [(String, JSONNode)] {
    let median = BenchCommand.median(seconds)
    let byteCount = weightByteCount + cacheByteCount
    let read = Double(byteCount) / median
    let bandwidth = readBandwidth(byteCount: byteCount)
    func rate(_ seconds: Double) -> JSONNode {
      BenchCommand.rounded(Double(streamCount) / seconds, 1)
    }
    return setup.head + [
      ("streams", .integer(streamCount)), ("context", .integer(context)),
      ("tokens", .integer(stepCount)),
      (
        "prefill_tokens_per_s",
        BenchCommand.rounded(Double(streamCount * context) / prefillSeconds, 1)
      ),
      ("tokens_per_s_best", rate(seconds.min() ?? 1)), ("tokens_per_s_median", rate(median)),
      ("tokens_per_s_worst", rate(seconds.max() ?? 1)),
      ("weight_bytes_per_token", .integer(weightByteCount / streamCount)),
      ("cache_bytes_per_token", .integer(cacheByteCount / streamCount)),
      ("read_GBps", BenchCommand.rounded(read * 1e-9, 2)),
      ("read_GBps_measured", BenchCommand.rounded(bandwidth * 1e-9, 2)),
      ("of_read_bandwidth", BenchCommand.rounded(read / bandwidth, 4)),
    ]
  }

  /// Bytes of packed weights that one token of every stream reads together: each matrix once.
  private var weightByteCount: Int {
    let shape = setup.preset.model
    let (width, forward) = (shape.modelWidth, shape.feedForwardWidth)
    let layer =
      width * (shape.queryKeyValueWidth + shape.attentionWidth + 3 * forward)
    let count = shape.layerCount * layer + shape.vocabularySize * width
    return setup.engine.precision.byteCount * count
  }

  /// Bytes of keys and values that the middle one of the timed tokens reads, all streams.
  private var cacheByteCount: Int {
    let shape = setup.preset.model
    let perToken = 2 * shape.layerCount * shape.keyValueHeadCount * shape.headWidth
    return setup.engine.precision.byteCount * streamCount * perToken * (context + stepCount / 2)
  }

  /// Bytes per second that the team's threads read of as much memory, again and again: the best of
  /// eight. What fits into caches is read from there.
  private func readBandwidth(byteCount: Int) -> Double {
    let numbers = AlignedStorage(count: byteCount / 4, filledWith: Float(1)).rows
    let seconds = (0..<8).map { _ in BenchSetup.seconds { setup.engine.probeRead(numbers) } }
    return Double(byteCount) / (seconds.min() ?? 1)
  }
}
