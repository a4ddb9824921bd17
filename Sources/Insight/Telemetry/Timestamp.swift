/// Times as RFC 3339 text in UTC with milliseconds: `2026-03-01T12:00:00.250Z`.
public enum Timestamp {
  /// - Parameter unixMilliseconds: Since 1970, UTC.
  public static func text(unixMilliseconds: Int64) -> String {
    let (days, inDay) = floorDivided(unixMilliseconds, by: 86_400_000)
    let (year, month, day) = date(daysSince1970: days)
    let clock = clockText(unixMilliseconds: unixMilliseconds)
    return "\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))T\(clock)."
      + "\(digits(inDay % 1000, 3))Z"
  }

  /// `HH:MM:SS`, UTC.
  public static func clockText(unixMilliseconds: Int64) -> String {
    let seconds = floorDivided(unixMilliseconds, by: 86_400_000).remainder / 1000
    return "\(digits(seconds / 3600, 2)):\(digits(seconds / 60 % 60, 2)):\(digits(seconds % 60, 2))"
  }

  /// Milliseconds since 1970 of a text that ``text(unixMilliseconds:)`` wrote; nil for any other.
  public static func unixMilliseconds(_ text: String) -> Int64? {
    let characters = Array(text.utf8)
    guard characters.count == 24 else { return nil }
    func number(_ range: Range<Int>) -> Int64? {
      var value: Int64 = 0
      for byte in characters[range] {
        guard byte >= 0x30, byte <= 0x39 else { return nil }
        value = 10 * value + Int64(byte - 0x30)
      }
      return value
    }
    guard
      let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
      let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
      let milliseconds = number(20..<23), (1...12).contains(month)
    else { return nil }
    let clock = ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds
    let result = days(year: year, month: month, day: day) * 86_400_000 + clock
    return self.text(unixMilliseconds: result) == text ? result : nil
  }

  private static func floorDivided(
    _ value: Int64, by divisor: Int64
  ) -> (quotient: Int64, remainder: Int64) {
    let remainder = ((value % divisor) + divisor) % divisor
    return ((value - remainder) / divisor, remainder)
  }

  private static func digits(_ value: Int64, _ count: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, count - text.count)) + text
  }

  /// Counts years from March, so that the leap day is a year's last; 146,097 days are 400 years.
  ///
  /// - Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
  private static func date(daysSince1970 days: Int64) -> (Int64, Int64, Int64) {
    let (era, dayOfEra) = floorDivided(days + 719_468, by: 146_097)
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }

  private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let (era, yearOfEra) = floorDivided(shifted, by: 400)
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }
}
