internal import Operators
internal import Tensors

extension ModelWeights {
  func gain(_ range: Range<Int>) -> SharedRows<Float> { master[range] }

  var epsilon: Float { Float(shape.normEpsilon) }

  /// Query and key columns turn with the position, value columns do not.
  private var rotaryColumnCount: Int {
    (shape.headCount + shape.keyValueHeadCount) * shape.headWidth
  }

  /// One layer, from `kept.input` to `output`. Training, prefill and decode all come through here
  /// and differ only in `attend`, which makes `kept.attention` of `kept.queryKeyValue`.
  ///
  /// - Parameters:
  ///   - output: Residual stream after the layer, `[T, D]`. Overwritten; may be `kept.input` where
  ///     no backward pass follows.
  ///   - masks: Dropout of the attention branch and of the feed-forward branch.
  func forward(
    _ layer: Int, _ kept: LayerActivations, output: SharedRows<Float>,
    positions: SharedRows<Int32>, masks: (attention: DropoutMask?, feedForward: DropoutMask?),
    engine: Engine, attend: () -> Void
  ) {
    let own = layers[layer]
    engine.rmsNormForward(
      kept.input, gain: gain(own.attentionNorm), epsilon: epsilon, output: kept.attentionNormed,
      inverseRMS: kept.attentionInverseRMS)
    engine.matmul(
      kept.attentionNormed, own.queryKeyValue.packed,
      .rotary(
        kept.queryKeyValue, rotary, positions: positions, rotaryColumnCount: rotaryColumnCount))
    attend()
    engine.matmul(
      kept.attention, own.attentionOutput.packed,
      .residual(input: kept.input, output: kept.middle, masks.attention))
    engine.rmsNormForward(
      kept.middle, gain: gain(own.feedForwardNorm), epsilon: epsilon,
      output: kept.feedForwardNormed, inverseRMS: kept.feedForwardInverseRMS)
    engine.matmul(
      kept.feedForwardNormed, own.gateUp.packed,
      .swiglu(gateUp: kept.gateUp, hidden: kept.hidden))
    engine.matmul(
      kept.hidden, own.down.packed,
      .residual(input: kept.middle, output: output, masks.feedForward))
  }
}
