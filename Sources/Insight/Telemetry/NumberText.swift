/// Numbers as text for tables, without a locale.
enum NumberText {
  /// `value` with `digits` digits after the point, rounded half away from zero; "n/a" for nil and
  /// for what is not finite, powers of ten for what is too large for a column.
  static func fixed(_ value: Double?, _ digits: Int) -> String {
    guard let value, value.isFinite else { return "n/a" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value.magnitude * scale).rounded()
    guard scaled < 1e15 else { return "\(value)" }
    let text = String(Int64(scaled))
    let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    let whole = padded.dropLast(digits)
    let sign = value < 0 && scaled > 0 ? "-" : ""
    return digits == 0 ? "\(sign)\(whole)" : "\(sign)\(whole).\(padded.suffix(digits))"
  }

  /// Digits in groups of three: `1,228,800`.
  static func grouped(_ value: Double) -> String {
    let text = fixed(value, 0)
    guard text.allSatisfy({ $0.isNumber || $0 == "-" }) else { return text }
    var result = ""
    for (index, digit) in text.enumerated() {
      let left = text.count - index
      if index > 0, left % 3 == 0, result != "-" { result += "," }
      result.append(digit)
    }
    return result
  }

  /// Short with a unit prefix: `89.7 M`, `1.23 G`.
  static func prefixed(_ value: Double) -> String {
    for (limit, letter) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] where value >= limit {
      return "\(significant(value / limit)) \(letter)"
    }
    return "\(significant(value)) "
  }

  private static func significant(_ value: Double) -> String {
    fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0)
  }

  /// A fraction as percent, without the sign.
  static func percent(_ fraction: Double?, _ digits: Int = 1) -> String {
    fixed(fraction.map { 100 * $0 }, digits)
  }

  /// `45 s`, `4 m 10 s`, `1 h 05 m`, `3 d 04 h`.
  static func duration(_ seconds: Double?) -> String {
    guard let seconds, seconds.isFinite, seconds >= 0, seconds < 1e12 else { return "n/a" }
    let total = Int(seconds.rounded())
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    switch total {
    case ..<60: return "\(total) s"
    case ..<3600: return "\(total / 60) m \(two(total % 60)) s"
    case ..<86_400: return "\(total / 3600) h \(two(total / 60 % 60)) m"
    default: return "\(total / 86_400) d \(two(total / 3600 % 24)) h"
    }
  }

  /// Left-aligned in `width` columns; at least one blank follows, whatever the text's length.
  static func column(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }

  /// Right-aligned in `width` columns.
  static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
