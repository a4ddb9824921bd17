internal import System

/// What an operator does, for the breakdown of a step.
public enum OperatorPart: String, CaseIterable, Sendable {
  /// Products of the layers, with what is fused to them.
  case matmul
  /// Operands of weight gradients, and weights packed outside of the update.
  case packing
  case attention
  case norm
  /// Look-ups, rounding, sums of gradients, squares.
  case elementwise
  /// Output head and cross-entropy.
  case head
  /// Tokens drawn from logits.
  case sampling
  /// AdamW and the packing that goes with it.
  case optimizer
}

/// Where an engine's time goes, part by part: what its caller waits from dispatch to dispatch. And
/// the bytes that its operators must move: each operand once, as if nothing of it were in a cache
/// before, and all of it inside.
///
/// Belongs to the one caller of the engine.
public final class OperatorTimes: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): read and written between dispatches, by the one caller.
  private var sums = [Double](repeating: 0, count: OperatorPart.allCases.count)
  /// Dispatches so far.
  public private(set) var dispatchCount = 0
  /// Bytes read and written so far.
  public private(set) var byteCount = 0

  public init() {}

  func add(_ part: OperatorPart, seconds: Double, byteCount: Int) {
    sums[Self.index(of: part)] += seconds
    dispatchCount += 1
    self.byteCount += byteCount
  }

  public func seconds(of part: OperatorPart) -> Double { sums[Self.index(of: part)] }

  /// Begins again from 0.
  public func reset() {
    for index in sums.indices { sums[index] = 0 }
    dispatchCount = 0
    byteCount = 0
  }

  private static func index(of part: OperatorPart) -> Int {
    OperatorPart.allCases.firstIndex(of: part) ?? 0
  }
}
