/// What a splitter needs to know of a scalar: one kind each. A set of kinds is their union.
///
/// Frozen at Unicode 16.0, which tiktoken 0.14 and Hugging Face tokenizers 0.23 use: ids must not
/// change with the toolchain. The standard library of Swift 6.3 has 17.0. It agrees on everything
/// assigned by 16.0 but for one letter, see ``init(of:)``; a test pins the kinds of all scalars.
package struct ScalarKind: OptionSet, Sendable {
  package let rawValue: UInt8

  /// `\p{Lu}`, `\p{Lt}`.
  static let upper = ScalarKind(rawValue: 1)
  /// `\p{Ll}`.
  static let lower = ScalarKind(rawValue: 2)
  /// `\p{Lm}`, `\p{Lo}`.
  static let uncased = ScalarKind(rawValue: 4)
  /// `\p{M}`.
  static let mark = ScalarKind(rawValue: 8)
  /// `\p{N}`.
  static let number = ScalarKind(rawValue: 16)
  /// `\s` but for carriage return and line feed.
  static let space = ScalarKind(rawValue: 32)
  /// Carriage return or line feed.
  static let newline = ScalarKind(rawValue: 64)
  /// Anything else.
  static let other = ScalarKind(rawValue: 128)

  /// `\p{L}`.
  static let letter: ScalarKind = [.upper, .lower, .uncased]
  /// `\s`.
  static let whitespace: ScalarKind = [.space, .newline]
  /// `[^\s\p{L}\p{N}]`.
  static let symbol: ScalarKind = [.mark, .other]

  @inline(__always)
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Whether this kind is one of `kinds`.
  @inline(__always)
  func isAny(of kinds: ScalarKind) -> Bool { rawValue & kinds.rawValue != 0 }

  package init(of value: UInt32) {
    if value == 0x0A || value == 0x0D {
      self = .newline
    } else if value == 0x0295 {
      // The pharyngeal voiced fricative: Ll until 16.0, Lo since.
      self = .lower
    } else if let scalar = Unicode.Scalar(value) {
      self = Self.frozen(scalar.properties)
    } else {
      self = .other
    }
  }

  private static func frozen(_ properties: Unicode.Scalar.Properties) -> ScalarKind {
    if properties.isWhitespace { return .space }
    let kind: ScalarKind
    switch properties.generalCategory {
    case .uppercaseLetter, .titlecaseLetter: kind = .upper
    case .lowercaseLetter: kind = .lower
    case .modifierLetter, .otherLetter: kind = .uncased
    case .nonspacingMark, .spacingMark, .enclosingMark: kind = .mark
    case .decimalNumber, .letterNumber, .otherNumber: kind = .number
    default: return .other
    }
    guard let age = properties.age, age.major < 16 || (age.major == 16 && age.minor == 0) else {
      return .other
    }
    return kind
  }
}

/// Kinds of the scalars of two planes, each looked up once when it is first needed; the few above
/// are asked of the standard library one by one (filling all 17 planes would slow every start).
private let planeZero: [ScalarKind] = (0..<0x10000).map { ScalarKind(of: $0) }
private let planeOne: [ScalarKind] = (0x10000..<0x20000).map { ScalarKind(of: $0) }

/// Kinds of ASCII: most text never leaves this table.
private let ascii: InlineArray<128, ScalarKind> = InlineArray { ScalarKind(of: UInt32($0)) }

/// The kind and byte count of the scalar at `index`.
@inline(__always)
func scan(_ text: Span<UInt8>, _ index: Int) -> (kind: ScalarKind, length: Int) {
  let lead = text[index]
  if lead < 0x80 { return (ascii[Int(lead)], 1) }
  let (scalar, length) = decodeScalar(text, at: index)
  if scalar < 0x10000 { return (planeZero[Int(scalar)], length) }
  if scalar < 0x20000 { return (planeOne[Int(scalar - 0x10000)], length) }
  return (ScalarKind(of: scalar), length)
}
