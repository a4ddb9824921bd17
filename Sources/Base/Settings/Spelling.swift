/// Suggestions for words that were probably mistyped.
public enum Spelling {
  /// The candidate closest to `word`, if one is close enough to be what was meant: at most a third
  /// of its letters (and one, for short words) changed, added, dropped or swapped.
  public static func suggestion(for word: String, among candidates: [String]) -> String? {
    let limit = max(1, word.count / 3)
    let ranked = candidates.map { (candidate: $0, distance: distance(word, $0)) }
    guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance > 0 else {
      return nil
    }
    if best.distance <= limit { return best.candidate }
    // "lr_schedule" for "schedule": a whole name with something around it.
    return candidates.first { $0.count >= 4 && (word.contains($0) || $0.contains(word)) }
      .flatMap { word.count >= 4 ? $0 : nil }
  }

  /// Edits that turn `a` into `b`: insert, delete, replace a letter, or swap two neighbours.
  static func distance(_ a: String, _ b: String) -> Int {
    let left = Array(a.lowercased()), right = Array(b.lowercased())
    var beforeLast = [Int](), last = Array(0...right.count)
    for i in 0..<left.count {
      var row = [i + 1]
      for j in 0..<right.count {
        let replaced = last[j] + (left[i] == right[j] ? 0 : 1)
        var best = min(replaced, last[j + 1] + 1, row[j] + 1)
        if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
          best = min(best, beforeLast[j - 1] + 1)
        }
        row.append(best)
      }
      (beforeLast, last) = (last, row)
    }
    return last[right.count]
  }
}
