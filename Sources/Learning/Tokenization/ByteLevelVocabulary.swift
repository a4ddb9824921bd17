/// A vocabulary and its merges in the byte-level alphabet, as files spell them.
struct ByteLevelVocabulary {
  var tokens: [(text: [UInt8], id: Int)] = []
  var merges: [(left: [UInt8], right: [UInt8])] = []

  /// The tokenizer that merges so.
  ///
  /// - Throws: ``TokenizerError/malformedTokenizer(key:problem:)``.
  func tokenizer(
    kind: Tokenizer.Kind, splitter: Splitter, specials: [Tokenizer.Special],
    takesWholePiecesFirst: Bool = false
  ) throws(TokenizerError) -> Tokenizer {
    let texts = try textsByID()
    var bytesByID: [[UInt8]?] = []
    var ids: [[UInt8]: UInt32] = [:]
    for (id, text) in texts.enumerated() {
      guard let text else {
        bytesByID.append(nil)
        continue
      }
      guard let bytes = ByteAlphabet.read(text), !bytes.isEmpty else {
        throw .malformedTokenizer(
          key: "model.vocab", problem: "token \(id) is not in the byte-level alphabet")
      }
      bytesByID.append(bytes)
      ids[text] = UInt32(id)
    }
    try Self.check(specials, isTaken: { texts.indices.contains($0) && texts[$0] != nil })
    let found = Tokenizer(
      kind: kind, splitter: splitter, tokens: TokenBytes(bytesByID), specials: specials,
      merges: MergeTable(merges: try mergesByID(ids)),
      takesWholePiecesFirst: takesWholePiecesFirst)
    try found.checkBytes(key: "model.vocab")
    return found
  }

  /// Texts by id, nil where there is a gap.
  func textsByID() throws(TokenizerError) -> [[UInt8]?] {
    guard let last = tokens.map(\.id).max() else {
      throw .malformedTokenizer(key: "model.vocab", problem: "it is missing or empty")
    }
    guard last < Tokenizer.idCountMax else { throw Tokenizer.idTooLarge(last, key: "model.vocab") }
    var texts = [[UInt8]?](repeating: nil, count: last + 1)
    for (text, id) in tokens {
      guard texts.indices.contains(id), texts[id] == nil else {
        throw .malformedTokenizer(key: "model.vocab", problem: "id \(id) occurs twice, or is none")
      }
      texts[id] = text
    }
    return texts
  }

  private func mergesByID(_ ids: [[UInt8]: UInt32]) throws(TokenizerError) -> [Merge] {
    var found: [Merge] = []
    for (rank, pair) in merges.enumerated() {
      guard let left = ids[pair.left], let right = ids[pair.right],
        let result = ids[pair.left + pair.right]
      else {
        throw .malformedTokenizer(
          key: "model.merges", problem: "merge \(rank) names a token that is not in the vocabulary")
      }
      found.append(Merge(left: left, right: right, result: result))
    }
    return found
  }

  /// Checks that special tokens have ids of their own.
  static func check(
    _ specials: [Tokenizer.Special], isTaken: (Int) -> Bool
  ) throws(TokenizerError) {
    var last: UInt32?
    for special in specials {
      guard special.id < Tokenizer.idCountMax else {
        throw Tokenizer.idTooLarge(Int(special.id), key: "added_tokens")
      }
      guard special.id != last, !isTaken(Int(special.id)) else {
        throw .malformedTokenizer(
          key: "added_tokens", problem: "id \(special.id) stands for something else already")
      }
      last = special.id
    }
  }
}

extension Tokenizer {
  /// Most ids of a tokenizer: as many as a plan's `model.vocabulary` allows.
  static let idCountMax = 1 << 22

  static func idTooLarge(_ id: Int, key: String) -> TokenizerError {
    .malformedTokenizer(key: key, problem: "id \(id) is past the limit of \(idCountMax - 1)")
  }

  /// Checks that any text can be encoded.
  func checkBytes(key: String) throws(TokenizerError) {
    let byteIDs = byteIDs
    if let missing = byteIDs.firstIndex(of: UInt32.max) {
      throw .malformedTokenizer(key: key, problem: "byte \(missing) has no token")
    }
    if kind == .bytes, byteIDs != (0..<256).map({ UInt32($0) }) {
      throw .unsupported(
        key: key, found: "bytes in another order", supported: "byte b has id b")
    }
  }
}
