internal import CKernels
public import Tensors

/// Logits of a few rows, `[T, V]`, for generation. Rows lie a whole number of panels apart, as
/// those of a training step do, so that the same product makes both.
public struct LogitRows {
  public let rowCount: Int
  /// V.
  public let vocabularySize: Int
  let storage: SharedRows<Float>

  /// Allocates room for `rowCount` rows.
  public init(rowCount: Int, vocabularySize: Int) {
    let count = rowCount * wholePanels(vocabularySize)
    self.init(
      rowCount: rowCount, vocabularySize: vocabularySize,
      storage: AlignedStorage(count: count, filledWith: 0).rows)
  }

  private init(rowCount: Int, vocabularySize: Int, storage: SharedRows<Float>) {
    self.rowCount = rowCount
    self.vocabularySize = vocabularySize
    self.storage = storage
  }

  var rowStride: Int { wholePanels(vocabularySize) }

  /// Row `row`, `[V]`.
  public subscript(_ row: Int) -> SharedRows<Float> {
    storage[row * rowStride..<row * rowStride + vocabularySize]
  }

  /// The first `count` rows, sharing the same memory.
  public func prefix(_ count: Int) -> LogitRows {
    LogitRows(
      rowCount: count, vocabularySize: vocabularySize, storage: storage[0..<count * rowStride])
  }
}

extension Engine {
  /// The logits of a few tokens: those of ``headLoss``, to the bit.
  ///
  /// - Parameters:
  ///   - normed: `[T, D]`.
  ///   - head: `[V, D]`.
  ///   - output: `[T, V]`, overwritten.
  public func logits(normed: OperandRows, head: PackedWeights, into output: LogitRows) {
    precondition(
      output.vocabularySize == head.outputWidth && output.rowCount == normed.rowCount,
      "room for [\(output.rowCount), \(output.vocabularySize)] logits, there are "
        + "[\(normed.rowCount), \(head.outputWidth)]")
    computeLogits(normed, head, into: output.storage)
  }

  /// The loss of a target for each row, `-ln p(target)`, nats, with the bits of ``headLoss``.
  ///
  /// - Parameters:
  ///   - logits: `[T, V]`. Overwritten by what is of no use to others.
  ///   - targets: `[T]`, below V.
  ///   - losses: `[T]`, overwritten.
  public func losses(
    of logits: LogitRows, targets: [UInt32], into losses: SharedRows<Double>
  ) {
    precondition(
      targets.count == logits.rowCount && losses.count == logits.rowCount,
      "\(targets.count) targets, \(losses.count) losses, \(logits.rowCount) rows")
    for target in targets {
      precondition(
        target < logits.vocabularySize,
        "target \(target) is outside the vocabulary of \(logits.vocabularySize)")
    }
    unsafe targets.withUnsafeBufferPointer { targets in
      guard let targets = targets.baseAddress else { return }
      // SAFETY: the windows were checked and live until `run` has returned.
      unsafe run(
        heads.cross_entropy,
        ck_head_args(
          logits: logits.storage.baseAddress, row_count: logits.rowCount,
          column_count: logits.vocabularySize, row_stride: logits.rowStride, targets: targets,
          is_target: nil, losses: losses.baseAddress, weights: nil, is_gradient_wanted: 0,
          is_f32: isFloat),
        .head)
    }
  }
}
