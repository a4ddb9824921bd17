internal import CKernels
internal import Tensors

/// Memory of one head of one segment, L tokens, whose scores exist all at once.
final class AttentionApart {
  let headWidth: Int
  /// `[L, H]`: a head's columns of queries, output or gradients, side by side.
  let query, output, dOutput: OperandRows
  /// `[L, H]`.
  let keys, values: PackedWeights
  /// `[L, H]`, f32: what is packed, and sums of gradients.
  let plain, dKeys, dValues: SharedRows<Float>
  /// `[L, L]`, f32.
  let scores, dWeights: SharedRows<Float>
  /// `[L, L]`: the softmax of a row's scores, and the gradient of the scores.
  let weights, dScores: OperandRows
  /// Operands of dV and dK.
  let pairs, headPairs: PackedPairs
  /// Where each token's row starts in `[L, H]`.
  let rowOffsets: [Int]

  init(length: Int, headWidth: Int, form: OperandForm) {
    func floats(_ count: Int) -> SharedRows<Float> {
      AlignedStorage(count: count, filledWith: 0).rows
    }
    func operands(_ columns: Int) -> OperandRows {
      OperandStorage(rowCount: length, columnCount: columns, precision: form.precision).rows
    }
    self.headWidth = headWidth
    rowOffsets = (0..<length).map { $0 * headWidth }
    (query, output, dOutput) = (operands(headWidth), operands(headWidth), operands(headWidth))
    keys = PackedWeights(rowOffsets: rowOffsets, columnCount: headWidth, form: form)
    values = PackedWeights(rowOffsets: rowOffsets, columnCount: headWidth, form: form)
    plain = floats(length * headWidth)
    (dKeys, dValues) = (floats(length * headWidth), floats(length * headWidth))
    (scores, dWeights) = (floats(length * length), floats(length * length))
    (weights, dScores) = (operands(length), operands(length))
    pairs = PackedPairs(rowCapacity: length, columnCount: length, form: form)
    headPairs = PackedPairs(rowCapacity: length, columnCount: headWidth, form: form)
  }
}

/// One head of one segment: which rows and columns of q, k and v are its own.
private struct AttentionHead {
  let shape: AttentionShape
  let segment: Range<Int>
  /// Among the query heads, or among the key-value heads.
  let index: Int

  var queryColumn: Int { index * shape.headWidth }
  var keyColumn: Int { (shape.headCount + index) * shape.headWidth }
  var valueColumn: Int {
    (shape.headCount + shape.keyValueHeadCount + index) * shape.headWidth
  }
  /// The query heads of this key-value head.
  var group: [AttentionHead] {
    let size = shape.headCount / shape.keyValueHeadCount
    return (index * size..<(index + 1) * size).map {
      AttentionHead(shape: shape, segment: segment, index: $0)
    }
  }

  /// Every key-value head of every segment.
  static func all(_ shape: AttentionShape, _ segments: [Range<Int>]) -> [AttentionHead] {
    segments.flatMap { segment in
      (0..<shape.keyValueHeadCount).map { AttentionHead(shape: shape, segment: segment, index: $0) }
    }
  }

  /// Its row of log-sum-exponentials, of `[N, T]`.
  func part(of logSumExp: SharedRows<Float>) -> SharedRows<Float> {
    let first = index * (logSumExp.count / shape.headCount)
    return logSumExp[first + segment.lowerBound..<first + segment.upperBound]
  }
}

/// Attention product by product, as formulas have it: for each head S = Q K^T, P = softmax(S),
/// O = P V, and the same backwards. Rounds P and dS to the operand type, as the fused kernels do.
extension Engine {
  /// See `attentionForward`.
  func attentionForwardApart(
    qkv: OperandRows, shape: AttentionShape, segments: [Range<Int>], output: OperandRows,
    logSumExp: SharedRows<Float>
  ) {
    for owner in AttentionHead.all(shape, segments) {
      let memory = load(owner, qkv)
      for head in owner.group {
        memory.query.copyColumns(of: qkv.rows(head.segment), from: head.queryColumn)
        matmul(memory.query, memory.keys, .store(memory.scores))
        soften(memory, head, logSumExp, isBackward: false)
        matmulInput(memory.weights, memory.values, .operand(memory.output))
        output.rows(head.segment).setColumns(to: memory.output, from: head.queryColumn)
      }
    }
  }

  /// See `attentionBackward`.
  func attentionBackwardApart(
    qkv: OperandRows, dOutput: OperandRows, logSumExp: SharedRows<Float>, shape: AttentionShape,
    segments: [Range<Int>], dQKV: OperandRows, rotary: RotaryTable, positions: SharedRows<Int32>
  ) {
    let back = apartMemory.reversed(rotary)
    for owner in AttentionHead.all(shape, segments) {
      let memory = load(owner, qkv)
      let (rows, turns) = (dQKV.rows(owner.segment), positions[owner.segment])
      let size = ProductShape(rowCount: owner.segment.count, columnCount: shape.headWidth)
      /// Rounds an f32 gradient of q or k, its rotation undone.
      func turnBack(_ gradient: SharedRows<Float>, to column: Int) {
        finish(
          gradient, size,
          prepare(
            ForwardEpilogue.rotary(
              memory.output, back, positions: turns, rotaryColumnCount: shape.headWidth),
            for: size))
        rows.setColumns(to: memory.output, from: column)
      }
      for (place, head) in owner.group.enumerated() {
        memory.query.copyColumns(of: qkv.rows(head.segment), from: head.queryColumn)
        memory.dOutput.copyColumns(of: dOutput.rows(head.segment), from: head.queryColumn)
        matmul(memory.query, memory.keys, .store(memory.scores))
        matmul(memory.dOutput, memory.values, .store(memory.dWeights))
        soften(memory, head, logSumExp, isBackward: true)
        add(memory.weights, memory.dOutput, to: memory.dValues, memory, isFirst: place == 0)
        add(memory.dScores, memory.query, to: memory.dKeys, memory, isFirst: place == 0)
        matmulInput(memory.dScores, memory.keys, .store(memory.plain))
        turnBack(memory.plain, to: head.queryColumn)
      }
      turnBack(memory.dKeys, to: owner.keyColumn)
      roundToOperand(memory.dValues, output: memory.output)
      rows.setColumns(to: memory.output, from: owner.valueColumn)
    }
  }

  /// Packs the keys and values of a head.
  private func load(_ owner: AttentionHead, _ qkv: OperandRows) -> AttentionApart {
    let memory = apartMemory.attention(
      length: owner.segment.count, headWidth: owner.shape.headWidth, form: form)
    let rows = qkv.rows(owner.segment)
    for (packed, column) in [(memory.keys, owner.keyColumn), (memory.values, owner.valueColumn)] {
      rows.widenColumns(from: column, count: memory.headWidth, into: memory.plain)
      pack(packed, from: memory.plain)
    }
    return memory
  }

  private func soften(
    _ memory: AttentionApart, _ head: AttentionHead, _ logSumExp: SharedRows<Float>,
    isBackward: Bool
  ) {
    let own = head.part(of: logSumExp)
    // SAFETY: the windows hold [L, L] and [L] elements and outlive the dispatch.
    let arguments = unsafe ck_soften_args(
      scores: memory.scores.baseAddress, d_weights: memory.dWeights.baseAddress,
      weights: memory.weights.baseAddress, d_scores: memory.dScores.baseAddress,
      log_sum_exp: own.baseAddress, count: head.segment.count,
      scale: 1 / Float(head.shape.headWidth).squareRoot(), is_f32: isFloat)
    unsafe run(
      isBackward ? attentionKernels.soften_backward : attentionKernels.soften, arguments,
      .attention,
      moving: (memory.scores.byteCount + memory.weights.byteCount) * (isBackward ? 2 : 1))
  }

  /// `sum (+)= a^T b`, over the segment's tokens.
  private func add(
    _ a: OperandRows, _ b: OperandRows, to sum: SharedRows<Float>, _ memory: AttentionApart,
    isFirst: Bool
  ) {
    packPairs(a, into: memory.pairs)
    packPairs(b, into: memory.headPairs)
    matmulWeight(
      dY: memory.pairs, x: memory.headPairs, into: sum, rowOffsets: memory.rowOffsets,
      accumulate: !isFirst)
  }
}
