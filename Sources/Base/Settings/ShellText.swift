/// A command line as a shell reads it back: words that hold more than plain characters in quotes.
public func shellText(_ words: [String]) -> String {
  words.map { word in
    let isPlain = word.allSatisfy { $0.isLetter || $0.isNumber || "-_./=:,+@%".contains($0) }
    return isPlain && !word.isEmpty ? word : "'\(word.replacing("'", with: "'\\''"))'"
  }.joined(separator: " ")
}
