internal import CKernels
internal import System
public import Tensors

/// The heads of one attention layer.
public struct AttentionShape: Equatable, Sendable {
  /// N, query heads.
  public let headCount: Int
  /// G, key-value heads; query head `n` reads key-value head `n / (N / G)`.
  public let keyValueHeadCount: Int
  /// H.
  public let headWidth: Int

  /// - Precondition: G divides N; H is even and at most ``ModelShape/headWidthMax``.
  public init(headCount: Int, keyValueHeadCount: Int, headWidth: Int) {
    precondition(
      keyValueHeadCount > 0 && headCount > 0 && headCount % keyValueHeadCount == 0,
      "\(keyValueHeadCount) key-value heads do not divide \(headCount) query heads")
    precondition(
      headWidth > 0 && headWidth % 2 == 0 && headWidth <= CK_ATTENTION_WIDTH_MAX,
      "head width \(headWidth) is not even or above \(CK_ATTENTION_WIDTH_MAX)")
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headWidth = headWidth
  }

  public init(_ model: ModelShape) {
    self.init(
      headCount: model.headCount, keyValueHeadCount: model.keyValueHeadCount,
      headWidth: model.headWidth)
  }

  /// Columns of q, k and v side by side: `(N + 2G) H`.
  public var queryKeyValueWidth: Int { (headCount + 2 * keyValueHeadCount) * headWidth }
  /// Columns of the output: `N H`.
  public var outputWidth: Int { headCount * headWidth }
}

/// Scratch memory of ``Engine/attentionForward(qkv:shape:segments:output:logSumExp:workspace:)``
/// and its backward pass, one part for every member of a team. One layer uses it at a time.
///
/// A member holds one key-value head of one segment: packed keys, and the f32 gradients of its
/// keys and values. The size grows with the segment length, not with its square.
public final class AttentionWorkspace: Sendable {
  public let headWidth: Int
  /// The longest segment it has room for.
  public let segmentLength: Int
  public let precision: Precision
  public let memberCount: Int
  let memberByteCount: Int
  let bytes: SharedRows<UInt8>

  public init(shape: AttentionShape, segmentLength: Int, precision: Precision, memberCount: Int) {
    precondition(segmentLength > 0, "no segment has \(segmentLength) tokens")
    headWidth = shape.headWidth
    self.segmentLength = segmentLength
    self.precision = precision
    self.memberCount = memberCount
    memberByteCount = ck_attention_workspace_bytes(
      precision == .f32 ? 1 : 0, shape.headWidth, segmentLength)
    bytes = AlignedStorage(count: memberByteCount * memberCount, filledWith: 0).rows
  }

  public var byteCount: Int { bytes.count }
}

extension Engine {
  /// Attends causally within each segment of a micro-batch.
  ///
  ///     s[t, u] = q[t] . k[u] / sqrt(H),  u <= t in the segment of t
  ///     output[t] = sum_u softmax_u(s[t, u]) v[u]
  ///
  /// Keys are visited in tiles of 64 counted from the segment start, with a running maximum and
  /// sum, so a row's bits depend on its prefix alone. Probabilities are rounded to the operand
  /// type.
  /// - Parameters:
  ///   - qkv: `[T, (N + 2G) H]`: q of every query head (rotated), k of every key-value head
  ///     (rotated), v of every key-value head.
  ///   - segments: Disjoint, not empty. Rows outside of all of them are left alone.
  ///   - output: `[T, N H]`. Overwritten; the backward pass reads it.
  ///   - logSumExp: `[N, T]`, ln of the sum of e^s. Overwritten; the backward pass reads it.
  /// - Source: Dao 2023, arXiv:2307.08691, algorithm 1; Milakov & Gimelshein 2018,
  ///   arXiv:1805.02867.
  public func attentionForward(
    qkv: OperandRows, shape: AttentionShape, segments: [Range<Int>], output: OperandRows,
    logSumExp: SharedRows<Float>, workspace: AttentionWorkspace
  ) {
    guard !apart.contains(.attention) else {
      return attentionForwardApart(
        qkv: qkv, shape: shape, segments: segments, output: output, logSumExp: logSumExp)
    }
    unsafe withArguments(
      qkv: qkv, shape: shape, segments: segments, output: output, logSumExp: logSumExp,
      workspace: workspace
    ) { arguments in
      unsafe run(
        attentionKernels.forward, arguments, .attention,
        moving: qkv.byteCount + output.byteCount + logSumExp.byteCount)
    }
  }

  /// The gradient of ``attentionForward(qkv:shape:segments:output:logSumExp:workspace:)``, the
  /// rotation of q and k undone.
  ///
  ///     p[t, u] = e^(s[t, u] - logSumExp[t]),   delta[t] = dOutput[t] . output[t]
  ///     ds[t, u] = p[t, u] (dOutput[t] . v[u] - delta[t])
  ///     dv[u] = sum_t p[t, u] dOutput[t],  dk[u] = sum_t ds[t, u] q[t] / sqrt(H)
  ///     dq[t] = sum_u ds[t, u] k[u] / sqrt(H)
  ///
  /// Scores are computed again in blocks of 64 x 64; p and ds are rounded to the operand type. dk
  /// and dv add up the query heads of their group in ascending order.
  /// - Parameters:
  ///   - qkv, output, logSumExp: As the forward pass read and left them.
  ///   - dOutput: `[T, N H]`.
  ///   - dQKV: `[T, (N + 2G) H]`. Overwritten, except for rows outside of all segments.
  ///   - rotary: The table by which the pairs (2i, 2i + 1) of every head of q and k were turned.
  ///   - positions: `[T]`, of every row in `rotary`.
  /// - Source: Dao 2023, arXiv:2307.08691, algorithm 2.
  public func attentionBackward(
    qkv: OperandRows, output: OperandRows, dOutput: OperandRows, logSumExp: SharedRows<Float>,
    shape: AttentionShape, segments: [Range<Int>], dQKV: OperandRows, rotary: RotaryTable,
    positions: SharedRows<Int32>, workspace: AttentionWorkspace
  ) {
    checkOperand(dOutput, "dOutput", rowCount: qkv.rowCount, columnCount: shape.outputWidth)
    checkOperand(dQKV, "dQKV", rowCount: qkv.rowCount, columnCount: shape.queryKeyValueWidth)
    precondition(
      rotary.headWidth == shape.headWidth,
      "the table turns heads of \(rotary.headWidth), not of \(shape.headWidth)")
    precondition(
      positions.count >= qkv.rowCount, "\(positions.count) positions, \(qkv.rowCount) rows")
    positions.withSpan { span in
      for index in 0..<qkv.rowCount {
        precondition(
          span[index] >= 0 && span[index] < rotary.positionCount,
          "position \(span[index]) is outside 0..<\(rotary.positionCount)")
      }
    }
    guard !apart.contains(.attention) else {
      return attentionBackwardApart(
        qkv: qkv, dOutput: dOutput, logSumExp: logSumExp, shape: shape, segments: segments,
        dQKV: dQKV, rotary: rotary, positions: positions)
    }
    unsafe withArguments(
      qkv: qkv, shape: shape, segments: segments, output: output, logSumExp: logSumExp,
      workspace: workspace
    ) { arguments in
      // SAFETY: the windows were checked and live until `run` has returned.
      let backward = unsafe ck_attention_backward_args(
        forward: arguments, d_output: dOutput.baseAddress, d_qkv: dQKV.baseAddress,
        cosines: rotary.cosines.baseAddress, sines: rotary.sines.baseAddress,
        rotary_row_stride: rotary.rowStride, positions: positions.baseAddress)
      unsafe run(
        attentionKernels.backward, backward, .attention,
        moving: qkv.byteCount + output.byteCount + dOutput.byteCount + logSumExp.byteCount
          + dQKV.byteCount)
    }
  }

  func kernelShape(_ shape: AttentionShape) -> ck_attention_shape {
    unsafe ck_attention_shape(
      tile: tile, is_f32: precision == .f32 ? 1 : 0, head_count: shape.headCount,
      key_value_head_count: shape.keyValueHeadCount, head_width: shape.headWidth)
  }

  func checkOperand(_ rows: OperandRows, _ name: String, rowCount: Int, columnCount: Int) {
    precondition(
      rows.rowCount == rowCount && rows.columnCount == columnCount,
      "\(name) is [\(rows.rowCount), \(rows.columnCount)], not [\(rowCount), \(columnCount)]")
    precondition(
      rows.precision == precision, "\(name) is \(rows.precision), the engine is \(precision)")
  }

  /// Checks what both passes share and lends it to `body` as the kernels want it.
  @unsafe
  private func withArguments(
    qkv: OperandRows, shape: AttentionShape, segments: [Range<Int>], output: OperandRows,
    logSumExp: SharedRows<Float>, workspace: AttentionWorkspace,
    _ body: (ck_attention_args) -> Void
  ) {
    let tokenCount = qkv.rowCount
    checkOperand(qkv, "qkv", rowCount: tokenCount, columnCount: shape.queryKeyValueWidth)
    checkOperand(output, "output", rowCount: tokenCount, columnCount: shape.outputWidth)
    precondition(
      logSumExp.count == shape.headCount * tokenCount,
      "logSumExp has \(logSumExp.count) elements, not \(shape.headCount) x \(tokenCount)")
    precondition(
      workspace.headWidth == shape.headWidth && workspace.precision == precision
        && workspace.memberCount >= team.memberCount,
      "the workspace is for head width \(workspace.headWidth), \(workspace.precision) and "
        + "\(workspace.memberCount) members")
    for segment in segments {
      precondition(
        segment.lowerBound >= 0 && !segment.isEmpty && segment.upperBound <= tokenCount,
        "segment \(segment) is empty or outside 0..<\(tokenCount)")
      precondition(
        segment.count <= workspace.segmentLength,
        "segment \(segment) is longer than the workspace's \(workspace.segmentLength)")
    }
    unsafe segments.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      // SAFETY: Range<Int> is frozen: two words, lower bound first, as ck_attention_segment.
      let first = unsafe base.assumingMemoryBound(to: ck_attention_segment.self)
      unsafe body(
        ck_attention_args(
          shape: kernelShape(shape), token_count: tokenCount, segments: first,
          segment_count: segments.count, qkv: qkv.baseAddress, output: output.baseAddress,
          log_sum_exp: logSumExp.baseAddress,
          workspace: UnsafeMutableRawPointer(workspace.bytes.baseAddress)
            .assumingMemoryBound(to: CChar.self),
          workspace_stride_bytes: workspace.memberByteCount))
    }
  }
}
