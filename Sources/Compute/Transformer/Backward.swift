internal import Operators
public import Tensors

/// The gradient of a slice as the backward pass writes it.
public struct GradientWindows {
  /// `[layout.count]`, of the weights or of their adapters. An untied embedding's part is left
  /// alone.
  public let flat: SharedRows<Float>
  /// Look-up part, `[R, D]`: one row for each token id that the step touches. Empty with adapters.
  public let lookup: SharedRows<Float>

  public init(flat: SharedRows<Float>, lookup: SharedRows<Float>) {
    self.flat = flat
    self.lookup = lookup
  }
}

/// What a micro-batch's gradient does to the windows it is written to.
public enum GradientMode: Equatable, Sendable {
  /// First micro-batch of a slice.
  case overwrite
  /// A further micro-batch of the same slice, sums continue.
  case accumulate
  /// The only micro-batch of a slice whose left sibling lies in the windows: the same bits as
  /// computing it apart and adding.
  case addToSibling
}

extension Transformer {
  /// Forward and backward of one micro-batch.
  ///
  /// Gradients are of the sum of its token losses, or of `objective`. They are finished in the
  /// order of the flat space, which is the reverse of the layers.
  ///
  /// - Parameters:
  ///   - rowOfToken: `[V]`: the row of the look-up part that belongs to a token id.
  ///   - objective: Makes the rows' weights of their values, which costs the head a second visit;
  ///     nil: the sum of the token losses.
  ///   - isCancelled: Asked between layers; true abandons the micro-batch. In mode
  ///     ``GradientMode/addToSibling`` it is asked only before the first gradient is written.
  ///   - finished: Gets ranges that are final in `gradient`, ascending and without gaps; look-up
  ///     elements count from `layout.count` on.
  /// - Returns: nil when cancelled; the gradient is then worthless, except that a sibling's is
  ///   still untouched.
  public func gradient(
    _ batch: Microbatch, dropout: Dropout?, rowOfToken: [Int32], into gradient: GradientWindows,
    mode: GradientMode, objective: RowObjective? = nil, isCancelled: () -> Bool,
    finished: (Range<Int>) -> Void
  ) -> SliceStatistics? {
    guard forward(batch, dropout: dropout, isCancelled: isCancelled), !isCancelled() else {
      return nil
    }
    var finishedEnd = 0
    func finish(_ end: Int) {
      if end > finishedEnd { finished(finishedEnd..<end) }
      finishedEnd = end
    }
    let statistics = headGradient(batch, gradient, mode, objective)
    if adapters == nil { finish(weights.finalNorm.lowerBound) }
    let scratch = activations.backward(batch.tokenCount)
    scratch.stream.fill(with: 0)
    backwardNorm(
      input: activations.stream(shape.layerCount, batch.tokenCount), gainRange: weights.finalNorm,
      inverseRMS: activations.final.inverseRMS.rows[0..<batch.tokenCount], scratch, gradient, mode)
    for layer in (0..<shape.layerCount).reversed() {
      if mode != .addToSibling && isCancelled() { return nil }
      backward(layer, batch, dropout, gradient, mode)
      let own = adapters?.weights.layers[layer].flatRange ?? weights.layers[layer].flatRange
      finish(own.upperBound)
    }
    if adapters == nil { lookupGradient(batch, dropout, rowOfToken, gradient, mode) }
    finish(gradient.flat.count + gradient.lookup.count)
    return statistics
  }

  /// The head's values and gradient, and d loss / d normed.
  ///
  /// The head adds its gradient chunk after chunk of tokens. A sibling's may not be continued that
  /// way, see ``lookupGradient``, unless one chunk is all there is.
  private func headGradient(
    _ batch: Microbatch, _ gradient: GradientWindows, _ mode: GradientMode,
    _ objective: RowObjective?
  ) -> SliceStatistics {
    let isFrozen = adapters != nil
    let isApart =
      !isFrozen && mode == .addToSibling && batch.tokenCount > Engine.headChunkTokenCount
    let target = HeadGradient(
      normed: activations.backward(batch.tokenCount).normed,
      weights: isFrozen ? nil : isApart ? workspaces.headGradient() : gradient.flat,
      accumulates: mode != .overwrite && !isApart)
    let statistics = headGradient(batch, objective, into: target)
    if isApart {
      let apart = workspaces.headGradient()
      for range in weights.head.ranges { engine.add(apart[range], into: gradient.flat[range]) }
    }
    return statistics
  }

  private func headGradient(
    _ batch: Microbatch, _ objective: RowObjective?, into target: HeadGradient
  ) -> SliceStatistics {
    guard let objective else { return headLoss(batch, gradient: target) }
    let rowWeights = workspaces.rowWeights[0..<batch.tokenCount]
    let statistics = objective(headValues(batch), rowWeights)
    switch weights.layout.head {
    case .language: _ = headLoss(batch, rowWeights: rowWeights, gradient: target)
    case .score:
      engine.headScoresBackward(
        dScores: rowWeights, normed: activations.final.normed.rows.rows(0..<batch.tokenCount),
        head: weights.head.packed, gradient: target, workspace: workspaces.head)
    }
    return statistics
  }

  /// One layer, from d loss / d its output to d loss / d its input, both in the stream gradient.
  private func backward(
    _ layer: Int, _ batch: Microbatch, _ dropout: Dropout?, _ gradient: GradientWindows,
    _ mode: GradientMode
  ) {
    let tokenCount = batch.tokenCount
    let (own, kept) = (weights.layers[layer], activations.layer(layer, tokenCount))
    let adapters = adapters?.weights.layers[layer]
    let scratch = activations.backward(tokenCount)
    func mask(_ site: Dropout.Site) -> DropoutMask? {
      dropout?.mask(site, layer: layer, firstRow: batch.firstToken, width: shape.modelWidth)
    }

    engine.roundToOperand(scratch.stream, output: scratch.branch, dropout: mask(.feedForward))
    weightGradient(own.down, adapters?.down, dY: scratch.branch, x: kept.hidden, gradient, mode)
    engine.matmulInput(
      scratch.branch, own.down.packed,
      .swigluBackward(gateUp: kept.gateUp, dGateUp: kept.gateUp))
    weightGradient(
      own.gateUp, adapters?.gateUp, dY: kept.gateUp, x: kept.feedForwardNormed, gradient, mode)
    engine.matmulInput(kept.gateUp, own.gateUp.packed, .store(scratch.normed))
    backwardNorm(
      input: kept.middle, gainRange: own.feedForwardNorm, inverseRMS: kept.feedForwardInverseRMS,
      scratch, gradient, mode)

    engine.roundToOperand(scratch.stream, output: scratch.branch, dropout: mask(.attention))
    weightGradient(
      own.attentionOutput, adapters?.attentionOutput, dY: scratch.branch, x: kept.attention,
      gradient, mode)
    engine.matmulInput(scratch.branch, own.attentionOutput.packed, .operand(scratch.attention))
    engine.attentionBackward(
      qkv: kept.queryKeyValue, output: kept.attention, dOutput: scratch.attention,
      logSumExp: kept.logSumExp, shape: attentionShape, segments: batch.segments,
      dQKV: scratch.queryKeyValue, rotary: weights.rotary, positions: batch.positions,
      workspace: workspaces.attention)
    weightGradient(
      own.queryKeyValue, adapters?.queryKeyValue, dY: scratch.queryKeyValue,
      x: kept.attentionNormed, gradient, mode)
    engine.matmulInput(scratch.queryKeyValue, own.queryKeyValue.packed, .store(scratch.normed))
    backwardNorm(
      input: kept.input, gainRange: own.attentionNorm, inverseRMS: kept.attentionInverseRMS,
      scratch, gradient, mode)
  }

  /// `dW (+)= dY^T x` into the matrix's rows of the flat space; with adapters, theirs.
  private func weightGradient(
    _ matrix: ProductMatrix, _ adapter: MatrixAdapter?, dY: OperandRows, x: OperandRows,
    _ gradient: GradientWindows, _ mode: GradientMode
  ) {
    guard adapters == nil || adapter != nil else { return }
    let (outputSide, inputSide) = activations.pairs(dY.columnCount, x.columnCount)
    engine.packPairs(dY, into: outputSide)
    engine.packPairs(x, into: inputSide)
    if let adapter, let workspace = adapters?.workspace {
      adapterGradient(
        adapter, (dY, outputSide), (x, inputSide), gradient.flat,
        accumulate: mode != .overwrite, workspace)
    } else {
      engine.matmulWeight(
        dY: outputSide, x: inputSide, into: gradient.flat, rowOffsets: matrix.rowOffsets,
        accumulate: mode != .overwrite)
    }
  }

  /// The gradients of `A` and `B` without their factor s, which the update applies:
  ///
  ///     dA (+)= (dY B)^T x          dB (+)= dY^T (x A^T)
  private func adapterGradient(
    _ adapter: MatrixAdapter, _ dY: (rows: OperandRows, pairs: PackedPairs),
    _ x: (rows: OperandRows, pairs: PackedPairs), _ gradient: SharedRows<Float>,
    accumulate: Bool, _ workspace: AdapterWorkspace
  ) {
    let (rows, pairs) = workspace.product(adapter, x.rows.rowCount)
    engine.matmulInput(dY.rows, adapter.b, .operand(rows))
    engine.packPairs(rows, into: pairs)
    engine.matmulWeight(
      dY: pairs, x: x.pairs, into: gradient, rowOffsets: adapter.aOffsets, accumulate: accumulate)
    engine.matmul(x.rows, adapter.a, .operand(rows))
    engine.packPairs(rows, into: pairs)
    engine.matmulWeight(
      dY: dY.pairs, x: pairs, into: workspace.wide, rowOffsets: adapter.bOffsets,
      accumulate: false)
    adapter.gather(workspace.wide, into: gradient, accumulate: accumulate)
  }

  /// Adds the norm's input gradient to the stream gradient, and its gain's to the gradient.
  private func backwardNorm(
    input: SharedRows<Float>, gainRange: Range<Int>, inverseRMS: SharedRows<Float>,
    _ scratch: BackwardActivations, _ gradient: GradientWindows, _ mode: GradientMode
  ) {
    let gainGradient = adapters?.workspace.gain ?? gradient.flat[gainRange]
    if mode == .overwrite { gainGradient.fill(with: 0) }
    engine.rmsNormBackward(
      input, gain: weights.gain(gainRange), inverseRMS: inverseRMS, dOutput: scratch.normed,
      residualGradient: scratch.stream, gainGradient: gainGradient, scratch: workspaces.norm)
  }

  /// The look-up part, row by row in token order.
  ///
  /// A sibling's rows may not be continued token by token: ((left + t1) + t2) differs from
  /// left + (t1 + t2) in its last bits.
  private func lookupGradient(
    _ batch: Microbatch, _ dropout: Dropout?, _ rowOfToken: [Int32], _ gradient: GradientWindows,
    _ mode: GradientMode
  ) {
    workspaces.loadRows(of: batch.ids, rowOfToken)
    let isApart = mode == .addToSibling
    let target = isApart ? workspaces.lookup(gradient.lookup.count) : gradient.lookup
    if mode != .accumulate { target.fill(with: 0) }
    engine.embeddingBackward(
      rows: workspaces.rows,
      dOutput: activations.backward(batch.tokenCount).stream, lookupGradient: target,
      dropout: dropout?.mask(
        .embedding, layer: 0, firstRow: batch.firstToken, width: shape.modelWidth))
    if isApart { engine.add(target, into: gradient.lookup) }
  }
}
