internal import Settings

/// Cuts a source in the part to train on and the part held back for validation.
struct TextSplit {
  let source: TextSource
  let rule: ResolvedPlan.DataChoice.Split
  /// `tail` only: bytes of the corpus that are trained on.
  private let trainingByteCount: Int

  /// - Throws: what reading the source throws; ``CorpusError/emptySource(path:)``.
  init(_ source: TextSource, _ rule: ResolvedPlan.DataChoice.Split) throws(CorpusError) {
    self.source = source
    self.rule = rule
    guard case .tail(let fraction) = rule else {
      trainingByteCount = 0
      return
    }
    precondition(fraction >= 0 && fraction < 1, "a tail of \(fraction) leaves nothing to train on")
    var byteCount = 0
    try source.forEachDocument { document in byteCount += document.range.count }
    guard byteCount > 0 else { throw .emptySource(path: source.name) }
    trainingByteCount = Int((1 - fraction) * Double(byteCount))
  }

  /// Calls `body` with every document, or with both parts of the one document that the cut of
  /// `tail` goes through. The cut never lies inside a character.
  func forEachPart(
    _ body: (_ document: TextSource.Document, _ range: Range<Int>, _ isTraining: Bool)
      throws(CorpusError) -> Void
  ) throws(CorpusError) {
    var position = 0
    try source.forEachDocument { (document) throws(CorpusError) in
      let range = document.range
      defer { position += range.count }
      switch rule {
      case .documents(let fraction):
        try body(document, range, !Self.isHeldBack(document.bytes, range, fraction))
      case .tail:
        var cut = min(max(trainingByteCount - position, 0), range.count)
        while cut < range.count, document.bytes[range.lowerBound + cut] & 0xC0 == 0x80 { cut += 1 }
        let middle = range.lowerBound + cut
        if cut > 0 { try body(document, range.lowerBound..<middle, true) }
        if cut < range.count { try body(document, middle..<range.upperBound, false) }
      }
    }
  }

  /// By the bytes of `range`, so that equal ones are on one side.
  static func isHeldBack(_ bytes: [UInt8], _ range: Range<Int>, _ fraction: Double) -> Bool {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for index in range { hash = (hash ^ UInt64(bytes[index])) &* 0x100_0000_01B3 }
    hash = (hash ^ (hash >> 30)) &* 0xBF58_476D_1CE4_E5B9
    hash = (hash ^ (hash >> 27)) &* 0x94D0_49BB_1331_11EB
    hash ^= hash >> 31
    return Double(hash >> 11) * 0x1p-53 < fraction
  }
}
