/// How `bpe` cuts text into pieces before it merges bytes; a merge never crosses a cut.
public enum Splitter: String, CaseIterable, Sendable {
  /// GPT-4 and Llama 3.
  case cl100k
  /// GPT-2.
  case gpt2

  /// The splitter as a regular expression, as tokenizer.json names it.
  public var pattern: String {
    switch self {
    case .cl100k:
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"#
        + #" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    case .gpt2:
      #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    }
  }

  /// The end of the piece that starts at `start`.
  /// - Precondition: The text is well-formed UTF-8, `start` is the start of a scalar, before `end`.
  func pieceEnd(in text: Span<UInt8>, from start: Int, to end: Int) -> Int {
    switch self {
    case .cl100k: cl100kPieceEnd(text, start, end)
    case .gpt2: gpt2PieceEnd(text, start, end)
    }
  }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, `[^\r\n\p{L}\p{N}]?\p{L}+`, `\p{N}{1,3}`,
/// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, then white space: the first alternative that matches wins.
private func cl100kPieceEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
  let first = scan(text, start)
  if text[start] == 0x27, let contraction = contractionEnd(text, start, end, ignoresCase: true) {
    return contraction
  }
  let afterFirst = start + first.length
  switch first.kind {
  case .letter:
    return endOfRun(.letter, text, afterFirst, end)
  case .number:
    var index = afterFirst
    for _ in 0..<2 where index < end {
      let next = scan(text, index)
      guard next.kind == .number else { break }
      index += next.length
    }
    return index
  case .other, .space:
    if afterFirst < end, scan(text, afterFirst).kind == .letter {
      return endOfRun(.letter, text, afterFirst, end)
    }
  case .newline:
    break
  }
  if let symbols = symbolRunStart(text, start, end) {
    var index = endOfRun(.other, text, symbols, end)
    while index < end, text[index] == 0x0A || text[index] == 0x0D { index += 1 }
    return index
  }
  return whitespaceEnd(text, start, end, cutsAfterNewlines: true)
}

/// `'(?:[sdmt]|ll|ve|re)`, ` ?\p{L}+`, ` ?\p{N}+`, ` ?[^\s\p{L}\p{N}]+`, then white space.
private func gpt2PieceEnd(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
  if text[start] == 0x27, let contraction = contractionEnd(text, start, end, ignoresCase: false) {
    return contraction
  }
  let body = text[start] == 0x20 && start + 1 < end ? start + 1 : start
  let kind = scan(text, body).kind
  if kind == .letter || kind == .number || kind == .other {
    return endOfRun(kind, text, body, end)
  }
  return whitespaceEnd(text, start, end, cutsAfterNewlines: false)
}

/// Where the symbols of ` ?[^\s\p{L}\p{N}]+` start, if it matches at `start`.
private func symbolRunStart(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
  let index = text[start] == 0x20 ? start + 1 : start
  guard index < end, scan(text, index).kind == .other else { return nil }
  return index
}

private func endOfRun(
  _ kind: ScalarKind, _ text: Span<UInt8>, _ start: Int, _ end: Int
) -> Int {
  var index = start
  while index < end {
    let next = scan(text, index)
    guard next.kind == kind else { break }
    index += next.length
  }
  return index
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

/// `\s*[\r\n]+` (if asked for), `\s+(?!\S)`, `\s+` at `start`, which holds white space.
private func whitespaceEnd(
  _ text: Span<UInt8>, _ start: Int, _ end: Int, cutsAfterNewlines: Bool
) -> Int {
  var index = start
  var lastStart = start
  var afterNewline: Int?
  while index < end {
    let next = scan(text, index)
    guard next.kind == .space || next.kind == .newline else { break }
    lastStart = index
    index += next.length
    if next.kind == .newline { afterNewline = index }
  }
  if cutsAfterNewlines, let afterNewline { return afterNewline }
  // The last white space stays with what follows it, unless it is all there is.
  return index == end || lastStart == start ? index : lastStart
}

extension Splitter {
  /// The pieces of `text`, in order.
  package func pieces(of text: String) -> [[UInt8]] {
    let bytes = Array(text.utf8)
    var pieces: [[UInt8]] = []
    var start = 0
    while start < bytes.count {
      let end = pieceEnd(in: bytes.span, from: start, to: bytes.count)
      pieces.append(Array(bytes[start..<end]))
      start = end
    }
    return pieces
  }
}
