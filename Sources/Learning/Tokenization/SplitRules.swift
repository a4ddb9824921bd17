/// What tells the splitters apart, and the one scanner that follows it.
///
/// Every splitter is a regular expression of the same alternatives in the same order: contraction,
/// word, number, symbols, white space; the first that matches wins.
struct SplitRules: Sendable {
  /// Where `'s 't 're 've 'm 'll 'd` belong.
  enum Contractions { case first, firstInAnyCase, afterWord }
  /// What one scalar may stand before a word: ` ?` or `[^\r\n\p{L}\p{N}]?`.
  enum WordPrefix { case oneSpace, anythingButNewlines }
  /// What may follow symbols: nothing, `[\r\n]*` or `[\r\n/]*`.
  enum SymbolTail { case nothing, newlines, newlinesAndSlashes }

  var contractions: Contractions
  var wordPrefix: WordPrefix = .anythingButNewlines
  /// What a word consists of.
  var wordKinds: ScalarKind = .letter
  /// Whether a word ends where a capital follows a small letter; see ``casedWordEnd(_:_:_:)``.
  var cutsWordsByCase = false
  var digitCountMax = 3
  /// ` ?\p{N}`.
  var takesSpaceIntoNumber = false
  var symbolTail: SymbolTail = .nothing
  /// `\s*[\r\n]+`.
  var cutsAfterNewlines = false
  /// `\s++$`, before the cut after newlines.
  var keepsLastWhitespaceWhole = false

  /// The end of the piece that starts at `start`.
  /// - Precondition: The text is well-formed UTF-8, `start` is the start of a scalar, before `end`.
  @inline(__always)
  func pieceEnd(in text: Span<UInt8>, from start: Int, to end: Int) -> Int {
    let first = scan(text, start)
    if first.kind.isAny(of: wordKinds) { return wordEnd(text, start, end) }
    if first.kind == .number { return numberEnd(text, start, end) }
    if text[start] == 0x27, contractions != .afterWord,
      let contraction = contractionEnd(
        text, start, end, ignoresCase: contractions == .firstInAnyCase)
    {
      return contraction
    }
    let second = start + first.length
    guard second < end else { return second }
    let isSpace = text[start] == 0x20
    let next = scan(text, second).kind
    if next.isAny(of: wordKinds), wordPrefix == .oneSpace ? isSpace : first.kind != .newline {
      return wordEnd(text, second, end)
    }
    if isSpace, takesSpaceIntoNumber, next == .number { return numberEnd(text, second, end) }
    if first.kind.isAny(of: .symbol) { return symbolsEnd(text, second, end) }
    if isSpace, next.isAny(of: .symbol) { return symbolsEnd(text, second, end) }
    return whitespaceEnd(text, start, end)
  }

  // MARK: - Parts; each starts where the part does

  @inline(__always)
  private func wordEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    guard cutsWordsByCase else { return runEnd(wordKinds, text, start, end) }
    let index = casedWordEnd(text, start, end)
    guard contractions == .afterWord, index < end, text[index] == 0x27 else { return index }
    return contractionEnd(text, index, end, ignoresCase: true) ?? index
  }

  /// `U*W+`, else `U+W*`, where U is all word kinds but small letters and W all but capitals.
  ///
  /// `U*` takes what it can. If a small letter follows, `W+` goes on from there. If not, `U*` must
  /// give back until `W+` can have one: the last scalar that is in both. If there is none, all are
  /// capitals, which the second form takes. A mark may be the prefix or in the word: same end.
  private func casedWordEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var index = start
    var endOfLastInBoth: Int?
    while index < end {
      let next = scan(text, index)
      if next.kind == .lower {
        return runEnd(wordKinds.subtracting(.upper), text, index, end)
      }
      guard next.kind.isAny(of: wordKinds) else { break }
      index += next.length
      if next.kind != .upper { endOfLastInBoth = index }
    }
    return endOfLastInBoth ?? index
  }

  private func numberEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var index = start
    var count = 0
    while index < end, count < digitCountMax {
      let next = scan(text, index)
      guard next.kind == .number else { break }
      index += next.length
      count += 1
    }
    return index
  }

  private func symbolsEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var index = runEnd(.symbol, text, start, end)
    guard symbolTail != .nothing else { return index }
    while index < end {
      let isNewline = text[index] == 0x0A || text[index] == 0x0D
      guard isNewline || (symbolTail == .newlinesAndSlashes && text[index] == 0x2F) else { break }
      index += 1
    }
    return index
  }

  /// `\s++$`, `\s*[\r\n]+`, `\s+(?!\S)`, `\s+`, the first two where the rules say so.
  private func whitespaceEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var index = start
    var lastStart = start
    var afterNewline: Int?
    while index < end {
      let next = scan(text, index)
      guard next.kind.isAny(of: .whitespace) else { break }
      lastStart = index
      index += next.length
      if next.kind == .newline { afterNewline = index }
    }
    if keepsLastWhitespaceWhole, index == end { return end }
    if cutsAfterNewlines, let afterNewline { return afterNewline }
    // The last white space stays with what follows it, unless it is all there is.
    return index == end || lastStart == start ? index : lastStart
  }

  @inline(__always)
  private func runEnd(
    _ kinds: ScalarKind, _ text: Span<UInt8>, _ start: Int, _ end: Int
  ) -> Int {
    var index = start
    while index < end {
      let next = scan(text, index)
      guard next.kind.isAny(of: kinds) else { break }
      index += next.length
    }
    return index
  }
}

/// The end of a contraction at `start`, which holds an apostrophe.
///
/// Without case, U+017F (long s) is an `s` too, as in the regular expression.
private func contractionEnd(
  _ text: Span<UInt8>, _ start: Int, _ end: Int, ignoresCase: Bool
) -> Int? {
  guard start + 1 < end else { return nil }
  let fold: UInt8 = ignoresCase ? 0x20 : 0
  let first = text[start + 1] | fold
  switch first {
  case 0x73, 0x74, 0x6D, 0x64: return start + 2  // s t m d
  case 0x72, 0x76, 0x6C:  // re ve ll
    guard start + 2 < end else { return nil }
    let wanted: UInt8 = first == 0x6C ? 0x6C : 0x65
    return text[start + 2] | fold == wanted ? start + 3 : nil
  default:
    guard ignoresCase, start + 2 < end, text[start + 1] == 0xC5, text[start + 2] == 0xBF else {
      return nil
    }
    return start + 3
  }
}
