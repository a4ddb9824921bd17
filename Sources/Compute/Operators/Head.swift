internal import CKernels
public import Tensors

/// What `Engine.headLoss` computes in: memory for one chunk of tokens. Made once.
public final class HeadWorkspace {
  /// V.
  let vocabularySize: Int
  /// V rounded up to whole panels: the row stride of logits and their gradient.
  let stride: Int
  /// `[chunk, stride]`.
  let logits: SharedRows<Float>
  /// `[chunk, stride]`; columns past V are zero.
  let dLogits: OperandRows
  let dLogitsPairs: PackedPairs
  let normedPairs: PackedPairs
  /// What `dNormed` is summed in, block after block of the vocabulary.
  let sums: SharedRows<Float>
  /// Per token of the chunk, nats.
  let losses: SharedRows<Double>

  /// - Parameters:
  ///   - width: D.
  ///   - vocabularySize: V.
  public init(width: Int, vocabularySize: Int, engine: Engine) {
    let chunk = Engine.headChunkTokenCount
    let precision = engine.precision
    self.vocabularySize = vocabularySize
    stride = (vocabularySize + 63) / 64 * 64
    logits = AlignedStorage(count: chunk * stride, filledWith: 0).rows
    dLogits = OperandStorage(rowCount: chunk, columnCount: stride, precision: precision).rows
    dLogitsPairs = PackedPairs(rowCapacity: chunk, columnCount: stride, precision: precision)
    normedPairs = PackedPairs(rowCapacity: chunk, columnCount: width, precision: precision)
    let sumCount = (chunk + 5) / 6 * 6 * ((width + 63) / 64 * 64)
    sums = AlignedStorage(count: sumCount, filledWith: 0).rows
    losses = AlignedStorage(count: chunk, filledWith: 0).rows
  }
}

extension Engine {
  /// Tokens whose logits exist at the same time. A constant of the numeric profile: the head's
  /// gradient is summed within a chunk, then over chunks.
  public static var headChunkTokenCount: Int { 256 }

  /// Output head and cross-entropy: losses and both gradients, chunk after chunk of tokens, so
  /// that logits never exist for all of them.
  ///
  ///     logits = normed W^T,   loss[t] = ln sum_v exp(logits[t, v]) - logits[t, target[t]]
  ///
  /// - Parameters:
  ///   - normed: `[T, D]`.
  ///   - head: `W`, `[V, D]`.
  ///   - targets: `[T]`, below V where `isTarget`.
  ///   - isTarget: `[T]`; other tokens have neither loss nor gradient.
  ///   - lossScale: Multiplies the gradients (not the loss).
  ///   - dNormed: `[T, D]`, overwritten. nil: losses only, `headGradient` is left alone.
  ///   - headGradient: Flat; gets `dW` at the head's row offsets.
  ///   - accumulate: Adds to what the head's rows of `headGradient` hold.
  /// - Returns: The number of targets and the sum of their losses, in token order.
  public func headLoss(
    normed: OperandRows, head: PackedWeights, targets: [UInt32], isTarget: [Bool],
    lossScale: Float, dNormed: SharedRows<Float>?, headGradient: SharedRows<Float>,
    accumulate: Bool, workspace: HeadWorkspace
  ) -> SliceStatistics {
    let tokenCount = normed.rowCount
    precondition(
      targets.count == tokenCount && isTarget.count == tokenCount,
      "\(targets.count) targets, \(isTarget.count) marks, \(tokenCount) tokens")
    precondition(
      head.outputWidth == workspace.vocabularySize
        && head.inputWidth == workspace.normedPairs.columnCount,
      "the workspace is for another head than [\(head.outputWidth), \(head.inputWidth)]")
    if dNormed != nil {
      precondition(headGradient.count >= head.masterCount, "the gradient lacks rows of the head")
    }
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    var first = 0
    while first < tokenCount {
      let chunk = first..<min(first + Self.headChunkTokenCount, tokenCount)
      computeLogits(normed.rows(chunk), head, workspace)
      statistics = statistics + computeLosses(
        chunk, targets, isTarget, lossScale, workspace, isGradientWanted: dNormed != nil)
      if let dNormed {
        let width = head.inputWidth
        computeInputGradient(
          head, dNormed[chunk.lowerBound * width..<chunk.upperBound * width], chunk.count,
          workspace)
        computeHeadGradient(
          normed.rows(chunk), head, headGradient, accumulate: accumulate || first > 0, workspace)
      }
      first = chunk.upperBound
    }
    return statistics
  }

  /// The logits of a few tokens, for generation.
  ///
  /// - Parameters:
  ///   - normed: `[T, D]`.
  ///   - head: `[V, D]`.
  ///   - output: `[T, V]`, overwritten.
  public func logits(normed: OperandRows, head: PackedWeights, into output: SharedRows<Float>) {
    matmul(normed, head, .store(output))
  }

  private func computeLogits(
    _ normed: OperandRows, _ head: PackedWeights, _ workspace: HeadWorkspace
  ) {
    // The columns that pad the last panel are computed too (they are 0), so that rows stay aligned.
    let shape = ProductShape(rowCount: normed.rowCount, columnCount: workspace.stride)
    let output = workspace.logits[0..<shape.rowCount * shape.columnCount]
    multiply(
      normed, head.rowsAsColumns, depth: head.inputWidth, shape,
      prepare(BackwardEpilogue.store(output), for: shape), .head)
  }

  private func computeLosses(
    _ chunk: Range<Int>, _ targets: [UInt32], _ isTarget: [Bool], _ lossScale: Float,
    _ workspace: HeadWorkspace, isGradientWanted: Bool
  ) -> SliceStatistics {
    for token in chunk where isTarget[token] {
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
            logits: workspace.logits.baseAddress, row_count: chunk.count,
            column_count: workspace.vocabularySize, row_stride: workspace.stride,
            targets: targets + chunk.lowerBound, is_target: isTarget + chunk.lowerBound,
            losses: workspace.losses.baseAddress,
            d_logits: isGradientWanted ? workspace.dLogits.baseAddress : nil,
            loss_scale: lossScale, is_f32: isFloat),
          .head)
      }
    }
    var statistics = SliceStatistics(tokenCount: 0, lossSum: 0)
    workspace.losses.withSpan { losses in
      for index in 0..<chunk.count where isTarget[chunk.lowerBound + index] {
        statistics.tokenCount += 1
        statistics.lossSum += losses[index]
      }
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
    unsafe run(
      ck_matmul,
      ck_matmul_args(
        tile: tile, epilogue: epilogue.function, epilogue_args: epilogue.arguments,
        a: workspace.dLogits.baseAddress, b: head.rowsAsK.baseAddress,
        row_count: shape.rowCount, column_count: shape.columnCount,
        k_count: precision == .f32 ? head.outputWidth : (head.outputWidth + 1) / 2 * 2,
        a_row_stride: workspace.dLogits.rowByteCount, a_is_packed: 0, is_f32: isFloat,
        sums: workspace.sums.baseAddress),
      .head)
  }

  private func computeHeadGradient(
    _ normed: OperandRows, _ head: PackedWeights, _ gradient: SharedRows<Float>,
    accumulate: Bool, _ workspace: HeadWorkspace
  ) {
    packPairs(workspace.dLogits.rows(0..<normed.rowCount), into: workspace.dLogitsPairs)
    packPairs(normed, into: workspace.normedPairs)
    unsafe multiplyPacked(
      workspace.dLogitsPairs, workspace.normedPairs, rowCount: head.outputWidth, into: gradient,
      rowOffsets: head.rowOffsets.baseAddress, accumulate: accumulate, .head)
  }
}
