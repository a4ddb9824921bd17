public import Operators
internal import System
public import Tensors

/// A decoder's forward and backward pass over one micro-batch.
///
/// The graph, for layer `l` with residual stream `x` (f32, `[T, D]`):
///
///     a = x + dropout(attention(rotary(norm(x) Wqkv)) Wo)
///     y = a + dropout((silu(norm(a) Wgate) * norm(a) Wup) Wdown)
///
/// then a final norm and the output head. Everything it needs is allocated by ``init``; a pass
/// allocates nothing. Not reentrant: one caller, whose thread is member 0 of the engine's team.
public final class Transformer {
  public let weights: ModelWeights
  public let engine: Engine
  /// Most rows of a micro-batch.
  public let tokenCapacity: Int
  let shape: ModelShape
  let activations: Activations
  let attentionShape: AttentionShape
  let workspaces: Workspaces
  /// What the backward pass makes gradients for in place of the weights, and where.
  let adapters: (weights: AdapterWeights, workspace: AdapterWorkspace)?
  public var adapterWeights: AdapterWeights? { adapters?.weights }
  private var forwardSeconds = 0.0

  /// - Parameters:
  ///   - tokenCapacity: Most rows of a micro-batch.
  ///   - lookupRowCapacity: Most rows of the look-up part of a gradient; 0 where none is computed.
  ///   - adapters: Trained in place of the weights; nil: these are.
  ///   - other: A transformer of the same sizes (its head apart) that computes at other times: both
  ///     keep their activations in the same memory.
  public init(
    weights: ModelWeights, engine: Engine, tokenCapacity: Int, lookupRowCapacity: Int,
    adapters: AdapterWeights? = nil, sharing other: Transformer? = nil
  ) {
    precondition(
      weights.form == engine.form, "weights in \(weights.form), an engine with \(engine.form)")
    let shape = weights.layout.shape
    self.weights = weights
    self.engine = engine
    self.tokenCapacity = tokenCapacity
    self.shape = shape
    precondition(
      other.map { $0.tokenCapacity == tokenCapacity && $0.engine === engine } ?? true,
      "activations of other sizes cannot be shared")
    activations = other?.activations
      ?? Activations(shape: shape, tokenCapacity: tokenCapacity, form: engine.form)
    attentionShape = AttentionShape(shape)
    self.adapters = adapters.map {
      ($0, AdapterWorkspace($0, engine: engine, tokenCapacity: tokenCapacity))
    }
    workspaces = Workspaces(
      layout: weights.layout, engine: engine, tokenCapacity: tokenCapacity,
      lookupRowCapacity: lookupRowCapacity)
  }

  /// The losses of a micro-batch, without dropout and without gradients.
  public func loss(_ batch: Microbatch) -> SliceStatistics {
    _ = forward(batch, dropout: nil, isCancelled: { false })
    return headLoss(batch, gradient: nil)
  }

  /// The losses of a slice, `microbatch` sequences at a time.
  ///
  /// - Parameters:
  ///   - batch: Memory for one micro-batch; overwritten.
  ///   - progress: Told how many sequences have been read.
  public func loss(
    of slice: TokenSlice, microbatch: Int, by batch: inout Microbatch,
    progress: (Int) -> Void = { _ in }
  ) -> SliceStatistics {
    let count = slice.sequences.count
    var sum = SliceStatistics(tokenCount: 0, lossSum: 0)
    for start in stride(from: 0, to: count, by: microbatch) {
      let end = min(start + microbatch, count)
      batch.load(start..<end, of: slice, firstToken: 0)
      sum = sum + loss(batch)
      progress(end)
    }
    return sum
  }

  /// Seconds spent in forward passes (output head apart) since the last call.
  public func takeForwardSeconds() -> Double {
    defer { forwardSeconds = 0 }
    return forwardSeconds
  }

  /// Fills the activations of `batch`, up to the final norm. Returns false when cancelled, which
  /// it asks before each layer.
  func forward(_ batch: Microbatch, dropout: Dropout?, isCancelled: () -> Bool) -> Bool {
    let tokenCount = batch.tokenCount
    precondition(
      tokenCount <= tokenCapacity, "\(tokenCount) tokens, room for \(tokenCapacity)")
    let start = Clock.monotonicSeconds
    defer { forwardSeconds += Clock.monotonicSeconds - start }
    let width = shape.modelWidth
    engine.embeddingForward(
      ids: batch.ids, table: weights.master[weights.embedding],
      output: activations.stream(0, tokenCount),
      dropout: dropout?.mask(.embedding, layer: 0, firstRow: batch.firstToken, width: width))
    for layer in 0..<shape.layerCount {
      if isCancelled() { return false }
      forward(layer, batch, dropout)
    }
    engine.rmsNormForward(
      activations.stream(shape.layerCount, tokenCount), gain: weights.gain(weights.finalNorm),
      epsilon: weights.epsilon, output: activations.final.normed.rows.rows(0..<tokenCount),
      inverseRMS: activations.final.inverseRMS.rows[0..<tokenCount])
    return true
  }

  private func forward(_ layer: Int, _ batch: Microbatch, _ dropout: Dropout?) {
    let kept = activations.layer(layer, batch.tokenCount)
    func mask(_ site: Dropout.Site) -> DropoutMask? {
      dropout?.mask(site, layer: layer, firstRow: batch.firstToken, width: shape.modelWidth)
    }
    weights.forward(
      layer, kept, output: activations.stream(layer + 1, batch.tokenCount),
      positions: batch.positions, masks: (mask(.attention), mask(.feedForward)), engine: engine
    ) {
      engine.attentionForward(
        qkv: kept.queryKeyValue, shape: attentionShape, segments: batch.segments,
        output: kept.attention, logSumExp: kept.logSumExp, workspace: workspaces.attention)
    }
  }

  /// What the head makes of each row, see ``RowObjective``; valid until the next pass.
  public func values(_ batch: Microbatch) -> SharedRows<Double> {
    _ = forward(batch, dropout: nil, isCancelled: { false })
    return headValues(batch)
  }

  /// The values of the rows whose activations stand.
  func headValues(_ batch: Microbatch) -> SharedRows<Double> {
    let values = workspaces.values[0..<batch.tokenCount]
    switch weights.layout.head {
    case .language: _ = headLoss(batch, losses: values, gradient: nil)
    case .score:
      engine.headScores(
        normed: activations.final.normed.rows.rows(0..<batch.tokenCount),
        head: weights.head.packed, into: values, workspace: workspaces.head)
    }
    return values
  }

  /// The losses of a language head, and its gradients where they are wanted.
  func headLoss(
    _ batch: Microbatch, rowWeights: SharedRows<Float>? = nil,
    losses: SharedRows<Double>? = nil, gradient: HeadGradient?
  ) -> SliceStatistics {
    engine.headLoss(
      normed: activations.final.normed.rows.rows(0..<batch.tokenCount), head: weights.head.packed,
      targets: batch.targets, isTarget: batch.isTarget, weights: rowWeights, losses: losses,
      gradient: gradient, workspace: workspaces.head)
  }
}

/// What is to be minimized, as a function of the values that a micro-batch's rows have.
///
/// Under a language head a row's value is its loss, -ln p(target), nats, 0 where nothing is to be
/// predicted; under a score head it is its score. Overwrites `weights` with
/// d objective / d value, row by row, and returns the statistics of the micro-batch. A function of
/// its arguments only, so that whoever computes a slice gets the same bits.
public typealias RowObjective = (
  _ values: SharedRows<Double>, _ weights: SharedRows<Float>
) -> SliceStatistics
