internal import CKernels
internal import System
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

/// How the token after a row of logits is chosen.
public struct TokenDraw: Equatable, Sendable {
  /// 0 takes the likeliest token, of equals the first; 1 draws from the model's own distribution.
  public var temperature: Double
  /// Draws from the smallest set of likeliest tokens whose probability reaches this; 1: all.
  public var topP: Double
  /// The random number, `0 ..< 1`.
  public var uniform: Double

  public init(temperature: Double, topP: Double, uniform: Double) {
    self.temperature = temperature
    self.topP = topP
    self.uniform = uniform
  }

  var kernelDraw: ck_draw {
    ck_draw(scale: Float(1 / temperature), top_p: topP, uniform: uniform)
  }
}

/// Memory that ``Engine/draw(_:from:idCount:into:workspace:)`` needs, a row for each member.
public final class DrawWorkspace: Sendable {
  let vocabularySize: Int
  let memberCount: Int
  let weights: SharedRows<Float>
  let heap: SharedRows<UInt64>

  public init(vocabularySize: Int, memberCount: Int) {
    let count = memberCount * wholePanels(vocabularySize)
    self.vocabularySize = vocabularySize
    self.memberCount = memberCount
    weights = AlignedStorage(count: count, filledWith: 0).rows
    heap = AlignedStorage(count: count, filledWith: 0).rows
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
        .head, moving: 2 * logits.storage.byteCount)
    }
  }

  /// Draws a token for each row.
  ///
  ///     w[v] = exp((logits[v] - max logits) / temperature),  v < idCount
  ///     token = the first v at which sum_u<=v w[u] passes uniform x sum w
  ///
  /// With `topP` below 1 only the likeliest ids are left, likeliest first, ids of equal weight in
  /// order. Weights are f32, their sums f64; a row's token has nothing to do with the rows beside
  /// it, and is the same for every variant.
  ///
  /// - Parameters:
  ///   - draws: `[T]`.
  ///   - logits: `[T, V]`.
  ///   - idCount: Ids that may be drawn, the first ones of a row.
  ///   - tokens: `[T]`, overwritten.
  public func draw(
    _ draws: [TokenDraw], from logits: LogitRows, idCount: Int, into tokens: SharedRows<UInt32>,
    workspace: DrawWorkspace
  ) {
    precondition(
      draws.count == logits.rowCount && tokens.count == logits.rowCount,
      "\(draws.count) draws, \(tokens.count) tokens, \(logits.rowCount) rows")
    precondition(
      (1...logits.vocabularySize).contains(idCount), "\(idCount) of \(logits.vocabularySize) ids")
    precondition(
      workspace.vocabularySize == logits.vocabularySize
        && workspace.memberCount >= team.memberCount,
      "the workspace is for \(workspace.vocabularySize) ids and \(workspace.memberCount) members")
    unsafe draws.map(\.kernelDraw).withUnsafeBufferPointer { draws in
      guard let draws = draws.baseAddress else { return }
      // SAFETY: the windows were checked and live until `run` has returned.
      unsafe run(
        heads.draw,
        ck_draw_args(
          logits: logits.storage.baseAddress, row_count: logits.rowCount,
          row_stride: logits.rowStride, id_count: idCount, draws: draws,
          weights: workspace.weights.baseAddress, heap: workspace.heap.baseAddress,
          tokens: tokens.baseAddress),
        .sampling, moving: logits.storage.byteCount)
    }
  }
}
