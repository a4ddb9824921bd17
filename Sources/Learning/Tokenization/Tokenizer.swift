internal import System

/// Text to ids and back.
///
/// A value that many threads may share. An id stands for bytes, or it is a special token, which
/// never comes from ``encode(_:)``, or nobody uses it (files of others leave gaps).
public struct Tokenizer: Sendable {
  /// How text becomes ids.
  public enum Kind: String, CaseIterable, Sendable {
    /// Byte-level byte-pair encoding.
    case bpe
    /// One id per byte, 0...255.
    case bytes
    /// One id per Unicode scalar of the training text, in ascending order. No special tokens.
    case characters
  }

  public let kind: Kind
  /// How `bpe` cuts text before it merges; the other kinds do not cut.
  public let splitter: Splitter
  /// A token that no text is encoded to, and what files call it.
  public struct Special: Equatable, Sendable {
    public let id: UInt32
    public let name: String

    package init(id: UInt32, name: String) {
      self.id = id
      self.name = name
    }
  }

  /// Special tokens, ids ascending.
  public let specials: [Special]
  /// `bpe` only: a piece that is a token as a whole is taken before any merge is tried. Differs
  /// from merging only for tokens that the merges do not make; files of others have some.
  public let takesWholePiecesFirst: Bool
  /// Bytes of every id; none for special tokens and for ids that nobody uses.
  let tokens: TokenBytes
  /// `bpe` only.
  let merges: MergeTable
  /// `characters` only.
  let characters: CharacterTable

  /// - Parameter tokens: May end before the special tokens do.
  init(
    kind: Kind, splitter: Splitter = .cl100k, tokens: TokenBytes, specials: [Special],
    merges: MergeTable = MergeTable(merges: []), takesWholePiecesFirst: Bool = false,
    characters: CharacterTable = CharacterTable([])
  ) {
    self.kind = kind
    self.splitter = splitter
    self.tokens = tokens.padded(to: (specials.last?.id).map { Int($0) + 1 } ?? 0)
    self.specials = specials
    self.takesWholePiecesFirst = takesWholePiecesFirst
    self.merges = merges
    self.characters = characters
  }

  /// The special tokens of this program, from `first` on.
  static func ownSpecials(from first: Int) -> [Special] {
    SpecialToken.allCases.enumerated().map {
      Special(id: UInt32(first + $0.offset), name: $0.element.rawValue)
    }
  }

  /// The tokenizer whose ids are the bytes, followed by the special tokens.
  public static let bytes = Tokenizer(
    kind: .bytes, tokens: TokenBytes((0...255).map { [UInt8($0)] }),
    specials: ownSpecials(from: 256))

  /// V: one more than the largest id.
  public var vocabularySize: Int { tokens.count }

  /// The id of a special token, or nil if this tokenizer has none of that name.
  public func id(of token: SpecialToken) -> UInt32? {
    specials.first { $0.name == token.rawValue }?.id
  }

  /// Stands before every document.
  public var bos: UInt32? { id(of: .bos) }
  public var eos: UInt32? { id(of: .eos) }

  /// Bytes that an id stands for; 0 for a special token.
  public func byteCount(of id: UInt32) -> Int {
    id < tokens.count ? tokens.byteCount(of: Int(id)) : 0
  }

  /// What an id stands for: its bytes, or a special token's name.
  public func name(of id: UInt32) -> [UInt8] {
    precondition(id < vocabularySize, "there is no token \(id) below \(vocabularySize)")
    let bytes = tokens[Int(id)]
    guard bytes.isEmpty, let special = specials.first(where: { $0.id == id }) else { return bytes }
    return Array(special.name.utf8)
  }

  /// Encodes text. Never gives a special token, whatever the text says.
  ///
  /// - Parameter text: UTF-8. The kind `bytes` takes any bytes.
  /// - Throws: ``TokenizerError/invalidUTF8(byteOffset:)``,
  ///   ``TokenizerError/unknownCharacter(scalar:byteOffset:)``.
  public func encode(
    _ text: [UInt8], mode: EncodingMode = .merges
  ) throws(TokenizerError) -> [UInt32] {
    var ids: [UInt32] = []
    var encoder = makeEncoder(mode: mode)
    try encoder.encode(text, into: &ids)
    return ids
  }

  /// Encodes text. Never gives a special token, whatever the text says.
  public func encode(
    _ text: String, mode: EncodingMode = .merges
  ) throws(TokenizerError) -> [UInt32] {
    try encode(Array(text.utf8), mode: mode)
  }

  /// An encoder that remembers pieces it has met; worth keeping for many texts of one thread.
  public func makeEncoder(mode: EncodingMode = .merges) -> TokenEncoder {
    TokenEncoder(self, mode: mode)
  }

  /// The bytes that `ids` stand for. Special tokens stand for none.
  ///
  /// The bytes need not be UTF-8: a model may stop inside a character.
  /// - Precondition: Every id is below ``vocabularySize``.
  public func decode(_ ids: [UInt32]) -> [UInt8] {
    var bytes: [UInt8] = []
    for id in ids {
      precondition(id < vocabularySize, "there is no token \(id) below \(vocabularySize)")
      tokens.append(Int(id), to: &bytes)
    }
    return bytes
  }

  /// SHA-256 of ``json()``, 64 hex digits: two tokenizers with one digest give the same ids.
  public var digest: String { SHA256.hex(of: json()) }
}

/// The bytes of every token, one after the other.
struct TokenBytes: Sendable {
  private(set) var bytes: [UInt8] = []
  private var ends: [Int] = [0]

  /// - Parameter texts: By id; nil where an id stands for no bytes.
  init(_ texts: [[UInt8]?]) {
    for text in texts { append(text ?? []) }
  }

  /// The same with ids up to `count` that stand for no bytes.
  func padded(to count: Int) -> TokenBytes {
    var result = self
    while result.count < count { result.append([]) }
    return result
  }

  var count: Int { ends.count - 1 }
  /// Bytes of the longest token.
  var byteCountMax: Int { (0..<count).reduce(0) { max($0, byteCount(of: $1)) } }

  func range(of index: Int) -> Range<Int> { ends[index]..<ends[index + 1] }
  func byteCount(of index: Int) -> Int { ends[index + 1] - ends[index] }
  subscript(_ index: Int) -> [UInt8] { Array(bytes[range(of: index)]) }

  mutating func append(_ token: [UInt8]) {
    bytes.append(contentsOf: token)
    ends.append(bytes.count)
  }

  func append(_ index: Int, to target: inout [UInt8]) {
    target.append(contentsOf: bytes[range(of: index)])
  }
}

/// Ids of single scalars.
struct CharacterTable: Sendable {
  static let absent = UInt32.max
  /// Ascending.
  let scalars: [UInt32]
  /// Id of each scalar up to the largest.
  private let ids: [UInt32]

  init(_ scalars: [UInt32]) {
    self.scalars = scalars.sorted()
    var ids = [UInt32](repeating: Self.absent, count: Int(self.scalars.last ?? 0) + 1)
    for (id, scalar) in self.scalars.enumerated() { ids[Int(scalar)] = UInt32(id) }
    self.ids = ids
  }

  func id(of scalar: UInt32) -> UInt32 {
    scalar < ids.count ? ids[Int(scalar)] : Self.absent
  }
}
