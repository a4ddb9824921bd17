/// What a splitter needs to know of a scalar.
enum ScalarKind: UInt8, Sendable {
  /// Neither letter nor number nor white space.
  case other
  /// `\p{L}`.
  case letter
  /// `\p{N}`.
  case number
  /// `\s` but for carriage return and line feed.
  case space
  /// Carriage return or line feed.
  case newline

  init(of value: UInt32) {
    guard let scalar = Unicode.Scalar(value) else {
      self = .other
      return
    }
    if value == 0x0A || value == 0x0D {
      self = .newline
    } else if scalar.properties.isWhitespace {
      self = .space
    } else {
      switch scalar.properties.generalCategory {
      case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
        self = .letter
      case .decimalNumber, .letterNumber, .otherNumber:
        self = .number
      default:
        self = .other
      }
    }
  }
}

/// Kinds of the scalars below U+10000, looked up at about 5 ms once; the few above are asked of
/// the standard library one by one (filling all 17 planes would take 85 ms at every start).
private let planeZero: [ScalarKind] = (0..<0x10000).map { ScalarKind(of: UInt32($0)) }

/// Kinds of ASCII as raw values, four bits would do: most text never leaves this table.
private let ascii: InlineArray<128, ScalarKind> = InlineArray { ScalarKind(of: UInt32($0)) }

/// The kind and byte count of the scalar at `index`.
@inline(__always)
func scan(_ text: Span<UInt8>, _ index: Int) -> (kind: ScalarKind, length: Int) {
  let lead = text[index]
  if lead < 0x80 { return (ascii[Int(lead)], 1) }
  let (scalar, length) = decodeScalar(text, at: index)
  return (scalar < 0x10000 ? planeZero[Int(scalar)] : ScalarKind(of: scalar), length)
}
