/// Numbers as people read them.
public enum Figures {
  /// `13,767,552`.
  public static func grouped(_ number: Int) -> String {
    let digits = Array(String(number.magnitude))
    var text = number < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return text
  }

  /// With `digits` decimals, rounded half away from zero: `3.14`.
  public static func fixed(_ number: Double, _ digits: Int) -> String {
    guard number.isFinite, number.magnitude < 1e15 else { return "\(number)" }
    let scale = (0..<digits).reduce(1.0) { power, _ in power * 10 }
    let scaled = Int64((number.magnitude * scale).rounded())
    let sign = number < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(scaled)" }
    let (whole, rest) = scaled.quotientAndRemainder(dividingBy: Int64(scale))
    let decimals = String(rest)
    return "\(sign)\(whole)." + String(repeating: "0", count: digits - decimals.count) + decimals
  }

  /// Three significant digits and a unit of thousands: `13.8 M`, `717 k`, `42`.
  public static func short(_ number: Double) -> String {
    let units = ["", " k", " M", " G", " T", " P", " E"]
    var (rest, unit) = (number, 0)
    while rest.magnitude >= 999.5, unit < units.count - 1 {
      rest /= 1000
      unit += 1
    }
    if unit == 0, rest == rest.rounded() { return fixed(rest, 0) }
    return fixed(rest, rest.magnitude < 9.995 ? 2 : rest.magnitude < 99.95 ? 1 : 0) + units[unit]
  }

  /// `1.9 GiB`, `64.0 MiB`, `12.0 KiB`.
  public static func bytes(_ count: Int) -> String {
    let value = Double(count)
    if value >= 1024 * 1024 * 1024 { return fixed(value / (1024 * 1024 * 1024), 2) + " GiB" }
    if value >= 1024 * 1024 { return fixed(value / (1024 * 1024), 1) + " MiB" }
    return value >= 1024 ? fixed(value / 1024, 1) + " KiB" : "\(count) B"
  }

  /// `2 h 05 min`, `3 min 20 s`, `4.1 s`, `25 ms`.
  public static func duration(seconds: Double) -> String {
    if seconds < 0.0995 { return fixed(seconds * 1000, seconds < 0.00995 ? 1 : 0) + " ms" }
    if seconds < 59.95 { return fixed(seconds, seconds < 9.95 ? 1 : 0) + " s" }
    let whole = Int(min(seconds, 1e12).rounded())
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    if whole < 3600 { return "\(whole / 60) min \(two(whole % 60)) s" }
    if whole < 48 * 3600 { return "\(whole / 3600) h \(two(whole % 3600 / 60)) min" }
    return "\(whole / 86400) d \(two(whole % 86400 / 3600)) h"
  }

  /// Cells in columns as wide as their widest, the columns of `right` flush right.
  public static func table(_ rows: [[String]], right: Set<Int> = []) -> [String] {
    let count = rows.map(\.count).max() ?? 0
    let widths = (0..<count).map { column in
      rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell -> String in
        let blank = String(repeating: " ", count: widths[column] - cell.count)
        if right.contains(column) { return blank + cell }
        return column == row.count - 1 ? cell : cell + blank
      }
      return cells.joined(separator: "  ")
    }
  }
}
