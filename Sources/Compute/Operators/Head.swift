internal import CKernels
public import Tensors

/// What `Engine.headLoss` computes in: memory for one chunk of tokens. Made once.
public final class HeadWorkspace {
  /// V.
  let vocabularySize: Int
  /// V rounded up to whole panels: the row stride of logits and their gradient.
  let stride: Int
  /// Most tokens of a chunk.
  let chunkTokenCount: Int
  /// Most tokens whose logits exist at the same time.
  let blockTokenCount: Int
  /// `[block, stride]`; the gradient takes the logits' place, row by row.
  let logits: SharedRows<Float>
  /// The logits' gradient of a whole chunk; columns past V are zero.
  let dLogitsPairs: PackedPairs
  let normedPairs: PackedPairs
  /// What `dNormed` is summed in, block after block of the vocabulary.
  let sums: SharedRows<Float>
  /// Per token of the block, nats.
  let losses: SharedRows<Double>

  /// - Parameters:
  ///   - width: D.
  ///   - vocabularySize: V.
  ///   - tokenCapacity: Most tokens of a call.
  public init(
    width: Int, vocabularySize: Int, engine: Engine,
    tokenCapacity: Int = Engine.headChunkTokenCount
  ) {
    let chunk = min(tokenCapacity, Engine.headChunkTokenCount)
    let block =
      engine.apart.contains(.head)
      ? tokenCapacity : min(tokenCapacity, Engine.headBlockTokenCount)
    let form = engine.form
    self.vocabularySize = vocabularySize
    stride = wholePanels(vocabularySize)
    chunkTokenCount = chunk
    blockTokenCount = block
    logits = AlignedStorage(count: block * stride, filledWith: 0).rows
    dLogitsPairs = PackedPairs(rowCapacity: chunk, columnCount: stride, form: form)
    normedPairs = PackedPairs(rowCapacity: chunk, columnCount: width, form: form)
    let sumCount = (block + 5) / 6 * 6 * wholePanels(width)
    sums = AlignedStorage(count: sumCount, filledWith: 0).rows
    losses = AlignedStorage(count: block, filledWith: 0).rows
  }
}

/// Where the gradients of a head go.
public struct HeadGradient {
  /// `[T, D]`, overwritten with the gradient of the head's input.
  let normed: SharedRows<Float>
  /// Flat; gets `dW` at the head's row offsets. nil: the head is frozen.
  let weights: SharedRows<Float>?
  /// Whether `dW` is added to what is there.
  let accumulates: Bool

  public init(normed: SharedRows<Float>, weights: SharedRows<Float>?, accumulates: Bool) {
    self.normed = normed
    self.weights = weights
    self.accumulates = accumulates
  }
}

extension Engine {
  /// Tokens whose share of the head's gradient is one product. A constant of the numeric profile:
  /// that gradient is summed within a chunk, then over chunks.
  public static var headChunkTokenCount: Int { 512 }

  /// Tokens whose logits exist at the same time (see ``Fusion/head``). A constant of the numeric
  /// profile: losses are summed within a block, then over blocks. An even divisor of the chunk.
  public static var headBlockTokenCount: Int { 128 }

  /// Output head and cross-entropy: losses and both gradients, block after block of tokens, so
  /// that logits never exist for all of them.
  ///
  ///     logits = normed W^T,   loss[t] = ln sum_v exp(logits[t, v]) - logits[t, target[t]]
  ///
  /// - Parameters:
  ///   - normed: `[T, D]`.
  ///   - head: `W`, `[V, D]`.
  ///   - targets: `[T]`, below V where `isTarget`.
  ///   - isTarget: `[T]`; other tokens have neither loss nor gradient.
  ///   - weights: `[T]`; multiply the tokens' gradients, not their losses. nil: 1 each.
  ///   - losses: `[T]`, overwritten with each token's loss, nats; 0 where there is no target.
  ///   - gradient: Where both gradients go; nil: losses only.
  /// - Returns: The number of targets and the sum of their losses, in token order.
  public func headLoss(
    normed: OperandRows, head: PackedWeights, targets: [UInt32], isTarget: [Bool],
    weights: SharedRows<Float>? = nil, losses: SharedRows<Double>? = nil,
    gradient: HeadGradient?, workspace: HeadWorkspace
  ) -> SliceStatistics {
    let tokenCount = normed.rowCount
    precondition(
      targets.count == tokenCount && isTarget.count == tokenCount,
      "\(targets.count) targets, \(isTarget.count) marks, \(tokenCount) tokens")
    precondition(
      (weights?.count ?? tokenCount) == tokenCount && (losses?.count ?? tokenCount) == tokenCount,
      "weights and losses have one element for each of \(tokenCount) tokens")
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    forEachBlock(normed, head, gradient, workspace) { block in
      computeLogits(normed.rows(block), head, into: workspace.logits)
      statistics = statistics + computeLosses(
        block, targets, isTarget, weights?[block], workspace, isGradientWanted: gradient != nil)
      losses?[block].copy(from: workspace.losses[0..<block.count])
    }
    return statistics
  }

  /// The scores of a head of one row: `scores[t] = normed[t] . w`.
  ///
  /// - Parameters:
  ///   - normed: `[T, D]`.
  ///   - head: `w`, `[1, D]`.
  ///   - scores: `[T]`, overwritten.
  public func headScores(
    normed: OperandRows, head: PackedWeights, into scores: SharedRows<Double>,
    workspace: HeadWorkspace
  ) {
    precondition(
      head.outputWidth == 1 && scores.count == normed.rowCount,
      "\(head.outputWidth) rows of the head, \(scores.count) scores, \(normed.rowCount) tokens")
    forEachBlock(normed, head, nil, workspace) { block in
      computeLogits(normed.rows(block), head, into: workspace.logits)
      for (row, token) in block.enumerated() {
        scores[token] = Double(workspace.logits[row * workspace.stride])
      }
    }
  }

  /// Both gradients of a head of one row, from those of its scores, which are rounded to operands.
  ///
  /// - Parameter dScores: `[T]`.
  public func headScoresBackward(
    dScores: SharedRows<Float>, normed: OperandRows, head: PackedWeights, gradient: HeadGradient,
    workspace: HeadWorkspace
  ) {
    precondition(
      head.outputWidth == 1 && dScores.count == normed.rowCount,
      "\(head.outputWidth) rows of the head, \(dScores.count) of \(normed.rowCount) scores")
    forEachBlock(normed, head, gradient, workspace) { block in
      workspace.logits[0..<block.count * workspace.stride].fill(with: 0)
      for (row, token) in block.enumerated() {
        // The row's first operand; a bf16 one is the lower half of the element.
        workspace.logits[row * workspace.stride] =
          precision == .f32
          ? dScores[token]
          : Float(bitPattern: UInt32(BFloat16(dScores[token]).bitPattern))
      }
    }
  }

  /// Visits the tokens block after block. With `gradient`, `compute` leaves the logits' gradient in
  /// the workspace, as operands, and both products follow it.
  private func forEachBlock(
    _ normed: OperandRows, _ head: PackedWeights, _ gradient: HeadGradient?,
    _ workspace: HeadWorkspace, compute: (Range<Int>) -> Void
  ) {
    precondition(
      head.outputWidth == workspace.vocabularySize
        && head.inputWidth == workspace.normedPairs.columnCount,
      "the workspace is for another head than [\(head.outputWidth), \(head.inputWidth)]")
    if let weights = gradient?.weights {
      precondition(weights.count >= head.masterCount, "the gradient lacks rows of the head")
    }
    let width = head.inputWidth
    for start in stride(from: 0, to: normed.rowCount, by: workspace.blockTokenCount) {
      let block = start..<min(start + workspace.blockTokenCount, normed.rowCount)
      compute(block)
      guard let gradient else { continue }
      computeInputGradient(
        head, gradient.normed[block.lowerBound * width..<block.upperBound * width], block.count,
        workspace)
      guard let weights = gradient.weights else { continue }
      addHeadGradient(
        block, normed, head, into: weights, accumulates: gradient.accumulates, workspace)
    }
  }

  /// Packs the logits' gradient of a block, and makes the product of every chunk that is whole.
  private func addHeadGradient(
    _ block: Range<Int>, _ normed: OperandRows, _ head: PackedWeights,
    into gradient: SharedRows<Float>, accumulates: Bool, _ workspace: HeadWorkspace
  ) {
    var start = block.lowerBound
    while start < block.upperBound {
      let first = start / workspace.chunkTokenCount * workspace.chunkTokenCount
      let chunk = first..<min(first + workspace.chunkTokenCount, normed.rowCount)
      let end = min(chunk.upperBound, block.upperBound)
      let logits = workspace.logits[
        (start - block.lowerBound) * workspace.stride..<workspace.logits.count]
      workspace.dLogitsPairs.rowCount = chunk.count
      unsafe packRows(
        logits.baseAddress, rowByteCount: 4 * workspace.stride, start - first..<end - first,
        of: workspace.dLogitsPairs, .head)
      if end == chunk.upperBound {
        computeHeadGradient(
          normed.rows(chunk), head, gradient, accumulate: accumulates || first > 0, workspace)
      }
      start = end
    }
  }

  /// Fills the first rows of `rows`, each `head`'s rows rounded up to whole panels.
  func computeLogits(
    _ normed: OperandRows, _ head: PackedWeights, into rows: SharedRows<Float>
  ) {
    // The columns that pad the last panel are computed too (they are 0), so that rows stay aligned.
    let shape = ProductShape(
      rowCount: normed.rowCount, columnCount: wholePanels(head.outputWidth))
    let output = rows[0..<shape.rowCount * shape.columnCount]
    multiply(
      normed, head.rowsAsColumns, depth: head.inputWidth, shape,
      prepare(BackwardEpilogue.store(output), for: shape), .head)
  }

  private func computeLosses(
    _ block: Range<Int>, _ targets: [UInt32], _ isTarget: [Bool], _ weights: SharedRows<Float>?,
    _ workspace: HeadWorkspace, isGradientWanted: Bool
  ) -> SliceStatistics {
    for token in block where isTarget[token] {
      precondition(
        targets[token] < workspace.vocabularySize,
        "target \(targets[token]) is outside the vocabulary of \(workspace.vocabularySize)")
    }
    unsafe targets.withUnsafeBufferPointer { targets in
      unsafe isTarget.withUnsafeBufferPointer { isTarget in
        guard let targets = targets.baseAddress, let isTarget = isTarget.baseAddress else { return }
        unsafe run(
          heads.cross_entropy,
          ck_head_args(
            logits: workspace.logits.baseAddress, row_count: block.count,
            column_count: workspace.vocabularySize, row_stride: workspace.stride,
            targets: targets + block.lowerBound, is_target: isTarget + block.lowerBound,
            losses: workspace.losses.baseAddress, weights: weights?.baseAddress,
            is_gradient_wanted: isGradientWanted ? 1 : 0, is_f32: isFloat),
          .head, moving: 8 * block.count * workspace.stride)
      }
    }
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    for start in stride(from: 0, to: block.count, by: Self.headBlockTokenCount) {
      var part = SliceStatistics(tokenCount: 0, lossSum: 0)
      workspace.losses.withSpan { losses in
        for index in start..<min(start + Self.headBlockTokenCount, block.count)
        where isTarget[block.lowerBound + index] {
          part.tokenCount += 1
          part.lossSum += losses[index]
        }
      }
      statistics = statistics + part
    }
    return statistics
  }

  private func computeInputGradient(
    _ head: PackedWeights, _ dNormed: SharedRows<Float>, _ tokenCount: Int,
    _ workspace: HeadWorkspace
  ) {
    let shape = ProductShape(rowCount: tokenCount, columnCount: head.inputWidth)
    let epilogue = prepare(BackwardEpilogue.store(dNormed), for: shape)
    // K is V, made even: the padding of both operands is zero.
    unsafe runProduct(
      ck_matmul_args(
        tiles: tiles, epilogue: epilogue.function, epilogue_args: epilogue.arguments,
        a: workspace.logits.baseAddress, b: head.rowsAsK.storage.baseAddress,
        row_count: shape.rowCount, column_count: shape.columnCount,
        k_count: precision == .f32 ? head.outputWidth : (head.outputWidth + 1) / 2 * 2,
        a_row_stride: 4 * workspace.stride, a_is_packed: 0, is_f32: isFloat,
        sums: workspace.sums.baseAddress, space: nil),
      head.rowsAsK, .head, moving: epilogue.byteCount)
  }

  private func computeHeadGradient(
    _ normed: OperandRows, _ head: PackedWeights, _ gradient: SharedRows<Float>,
    accumulate: Bool, _ workspace: HeadWorkspace
  ) {
    packPairs(normed, into: workspace.normedPairs)
    unsafe multiplyPacked(
      workspace.dLogitsPairs, workspace.normedPairs, rowCount: head.outputWidth, into: gradient,
      rowOffsets: head.rowOffsets.baseAddress, accumulate: accumulate, .head)
  }
}
