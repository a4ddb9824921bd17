/// What the operands of a product are rounded to. Sums are `f32` either way.
public enum Precision: String, Codable, CaseIterable, Sendable {
  case bf16, f32
  public var byteCount: Int { self == .bf16 ? 2 : 4 }
}
