public import Operators
internal import System
internal import Tensors

/// One text being continued: the keys and values of its tokens in every layer.
public final class DecoderStream {
  let caches: [KeyValueCache]
  /// Tokens seen so far.
  public var tokenCount: Int { caches.first?.tokenCount ?? 0 }

  init(shape: ModelShape, precision: Precision) {
    caches = (0..<shape.layerCount).map { _ in
      KeyValueCache(shape: AttentionShape(shape), precision: precision)
    }
  }

  /// Forgets its tokens and keeps its memory, for another text.
  public func reset() {
    for cache in caches { cache.truncate(to: 0) }
  }
}

/// The forward pass of new tokens of several streams at once.
///
/// A token's logits have the bits that the training forward (without dropout) gives them for the
/// same prefix, alone or in a batch, whatever portions the prefix came in.
public final class StreamDecoder {
  public let weights: ModelWeights
  public let engine: Engine
  /// Most tokens of one call, all streams together.
  public let rowCapacity: Int
  /// Most streams of one call.
  public let streamCapacity: Int
  private let shape: ModelShape
  private let attentionShape: AttentionShape
  private let activations: Activations
  private let positions: SharedRows<Int32>
  private let lastRows: SharedRows<Float>
  private let lastNormed: OperandStorage
  private let logits: LogitRows
  private let losses: SharedRows<Double>
  private let tokens: SharedRows<UInt32>
  private let drawWorkspace: DrawWorkspace

  /// - Parameter streamCapacity: At most the row capacity, which it is unless given.
  public init(
    weights: ModelWeights, engine: Engine, rowCapacity: Int, streamCapacity: Int? = nil
  ) {
    let shape = weights.layout.shape
    let streamCapacity = streamCapacity ?? rowCapacity
    precondition(
      (1...rowCapacity).contains(streamCapacity), "\(streamCapacity) streams, \(rowCapacity) rows")
    self.weights = weights
    self.engine = engine
    self.rowCapacity = rowCapacity
    self.streamCapacity = streamCapacity
    self.shape = shape
    attentionShape = AttentionShape(shape)
    activations = Activations(
      shape: shape, tokenCapacity: rowCapacity, form: engine.form, isForwardOnly: true)
    positions = AlignedStorage(count: rowCapacity, filledWith: 0).rows
    lastRows = AlignedStorage(count: streamCapacity * shape.modelWidth, filledWith: 0).rows
    lastNormed = OperandStorage(
      rowCount: streamCapacity, columnCount: shape.modelWidth, precision: engine.precision)
    logits = LogitRows(rowCount: streamCapacity, vocabularySize: shape.vocabularySize)
    losses = AlignedStorage(count: streamCapacity, filledWith: 0).rows
    tokens = AlignedStorage(count: streamCapacity, filledWith: 0).rows
    drawWorkspace = DrawWorkspace(
      vocabularySize: shape.vocabularySize, memberCount: engine.team.memberCount)
  }

  /// An empty stream of this model.
  public func makeStream() -> DecoderStream {
    DecoderStream(shape: shape, precision: engine.precision)
  }

  /// Appends tokens to streams.
  ///
  /// - Parameter portions: Different streams and at least one new token for each.
  /// - Returns: `[portions, V]`, the logits after the last token of each portion; valid until the
  ///   next call.
  /// - Precondition: No stream grows beyond the model's sequence length, and there are at most
  ///   ``streamCapacity`` streams and ``rowCapacity`` tokens.
  public func feed(_ portions: [(stream: DecoderStream, tokens: [UInt32])]) -> LogitRows {
    let ids = portions.flatMap(\.tokens)
    let counts = portions.map(\.tokens.count)
    precondition(
      ids.count <= rowCapacity && counts.count <= streamCapacity,
      "\(ids.count) tokens of \(counts.count) streams, room for \(rowCapacity) of "
        + "\(streamCapacity)")
    loadPositions(portions)
    let stream = activations.stream(0, ids.count)
    engine.embeddingForward(
      ids: ids, table: weights.master[weights.embedding], output: stream, dropout: nil)
    for layer in 0..<shape.layerCount {
      let kept = activations.layer(0, ids.count)
      weights.forward(
        layer, kept, output: stream, positions: positions[0..<ids.count],
        masks: (attention: nil, feedForward: nil), engine: engine
      ) {
        engine.attentionDecode(
          qkv: kept.queryKeyValue, shape: attentionShape, newTokenCounts: counts,
          caches: portions.map { $0.stream.caches[layer] }, output: kept.attention)
      }
    }
    return lastLogits(stream, counts)
  }

  private func loadPositions(_ portions: [(stream: DecoderStream, tokens: [UInt32])]) {
    var row = 0
    for portion in portions {
      let first = portion.stream.tokenCount
      precondition(!portion.tokens.isEmpty, "a stream gets no token")
      precondition(
        first + portion.tokens.count <= shape.sequenceLength,
        "\(first) + \(portion.tokens.count) tokens, the model sees \(shape.sequenceLength)")
      for index in portion.tokens.indices {
        positions[row] = Int32(first + index)
        row += 1
      }
    }
  }

  /// Only the last row of each portion meets the head.
  private func lastLogits(_ stream: SharedRows<Float>, _ counts: [Int]) -> LogitRows {
    let width = shape.modelWidth
    let rows = 0..<counts.count
    var end = 0
    for (index, count) in counts.enumerated() {
      end += count
      lastRows[index * width..<(index + 1) * width].copy(
        from: stream[(end - 1) * width..<end * width])
    }
    let normed = lastNormed.rows.rows(rows)
    engine.rmsNormForward(
      lastRows[0..<counts.count * width], gain: weights.gain(weights.finalNorm),
      epsilon: weights.epsilon, output: normed, inverseRMS: activations.final.inverseRMS.rows[rows])
    let result = logits.prefix(counts.count)
    engine.logits(normed: normed, head: weights.head.packed, into: result)
    return result
  }

  /// Draws the token that follows each portion fed last.
  ///
  /// - Parameters:
  ///   - draws: One for each portion.
  ///   - idCount: Ids that may be drawn, the first ones of the vocabulary.
  public func draw(_ draws: [TokenDraw], idCount: Int) -> [UInt32] {
    let found = tokens[0..<draws.count]
    engine.draw(
      draws, from: logits.prefix(draws.count), idCount: idCount, into: found,
      workspace: drawWorkspace)
    return found.array
  }

  /// ln p of a token for each portion fed last, under the model itself, with the bits of the loss
  /// that the training forward (without dropout) gives it. Overwrites the logits.
  ///
  /// - Parameter tokens: One for each portion.
  public func logProbabilities(of tokens: [UInt32]) -> [Double] {
    let found = losses[0..<tokens.count]
    engine.losses(of: logits.prefix(tokens.count), targets: tokens, into: found)
    return found.array.map(-)
  }
}
