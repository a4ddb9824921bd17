internal import Tensors

/// What an engine computes in one pass over memory. Each can be taken apart, to measure what it is
/// worth: the values in between then lie in memory, written by one operator and read by the next.
public enum Fusion: String, CaseIterable, Sendable {
  /// A norm writes the operand of the product behind it; apart: f32, which is rounded then.
  case normPack = "norm-pack"
  /// Queries and keys turn in the tiles of their product; apart: in a product that is whole.
  case rotary
  /// Gate and up meet in the tiles of their product, and their gradients part there; apart: in
  /// products that are whole.
  case swiglu
  /// Scores exist tile by tile; apart: for all pairs of a segment's tokens, head after head.
  case attention
  /// Logits exist for a block of tokens; apart: for all of a micro-batch.
  case head
  /// A weight is packed while its update has it in cache; apart: when its group is updated.
  case optimizer
}

/// Memory for values that only an engine with a fusion taken apart writes out. Grows with use.
final class ApartMemory: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): touched between dispatches, by the engine's one caller.
  private var floats: SharedRows<Float>?
  private var attentions: [Int: AttentionApart] = [:]
  private var reversedRotary: (of: RotaryTable, table: RotaryTable)?

  /// Room for `count` elements; overwritten by whoever asks next.
  func floats(_ count: Int) -> SharedRows<Float> {
    if let floats, floats.count >= count { return floats[0..<count] }
    let grown = AlignedStorage<Float>(count: count, filledWith: 0).rows
    floats = grown
    return grown
  }

  /// Room for one head of a segment of `length` tokens.
  func attention(length: Int, headWidth: Int, form: OperandForm) -> AttentionApart {
    if let found = attentions[length], found.headWidth == headWidth { return found }
    let made = AttentionApart(length: length, headWidth: headWidth, form: form)
    attentions[length] = made
    return made
  }

  /// The table that turns back what `table` turns.
  func reversed(_ table: RotaryTable) -> RotaryTable {
    if let reversedRotary, reversedRotary.of === table { return reversedRotary.table }
    let reversed = table.reversed()
    reversedRotary = (table, reversed)
    return reversed
  }
}
