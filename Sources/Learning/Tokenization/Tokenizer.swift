internal import System

/// Text to ids and back.
///
/// A value that many threads may share. Ids below ``ordinaryCount`` stand for bytes; special
/// tokens follow and never come from ``encode(_:)``.
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
  /// Ids that stand for bytes.
  public var ordinaryCount: Int { tokens.count }
  /// Names of the special tokens; the first has the id ``ordinaryCount``.
  public let specialNames: [String]
  /// Bytes of every ordinary id.
  let tokens: TokenBytes
  /// `bpe` only.
  let merges: MergeTable
  /// `characters` only.
  let characters: CharacterTable

  init(
    kind: Kind, splitter: Splitter = .cl100k, tokens: TokenBytes, specialNames: [String],
    merges: MergeTable = MergeTable(merges: []), characters: CharacterTable = CharacterTable([])
  ) {
    self.kind = kind
    self.splitter = splitter
    self.tokens = tokens
    self.specialNames = specialNames
    self.merges = merges
    self.characters = characters
  }

  /// The tokenizer whose ids are the bytes, followed by the special tokens.
  public static let bytes = Tokenizer(
    kind: .bytes, tokens: TokenBytes((0...255).map { [UInt8($0)] }),
    specialNames: SpecialToken.allCases.map(\.rawValue))

  /// V: ids in all, special tokens included.
  public var vocabularySize: Int { ordinaryCount + specialNames.count }

  /// The id of a special token, or nil if this tokenizer has none of that name.
  public func id(of token: SpecialToken) -> UInt32? {
    specialNames.firstIndex(of: token.rawValue).map { UInt32(ordinaryCount + $0) }
  }

  /// Stands before every document.
  public var bos: UInt32? { id(of: .bos) }
  public var eos: UInt32? { id(of: .eos) }

  /// Bytes that an id stands for; 0 for a special token.
  public func byteCount(of id: UInt32) -> Int {
    id < ordinaryCount ? tokens.byteCount(of: Int(id)) : 0
  }

  /// What an id stands for: its bytes, or a special token's name.
  public func name(of id: UInt32) -> [UInt8] {
    precondition(id < vocabularySize, "there is no token \(id) below \(vocabularySize)")
    let index = Int(id)
    return index < ordinaryCount
      ? tokens[index] : Array(specialNames[index - ordinaryCount].utf8)
  }

  /// Encodes text. Never gives a special token, whatever the text says.
  ///
  /// - Parameter text: UTF-8. The kind `bytes` takes any bytes.
  /// - Throws: ``TokenizerError/invalidUTF8(byteOffset:)``,
  ///   ``TokenizerError/unknownCharacter(scalar:byteOffset:)``.
  public func encode(_ text: [UInt8]) throws(TokenizerError) -> [UInt32] {
    var ids: [UInt32] = []
    var encoder = makeEncoder()
    try encoder.encode(text, into: &ids)
    return ids
  }

  /// Encodes text. Never gives a special token, whatever the text says.
  public func encode(_ text: String) throws(TokenizerError) -> [UInt32] {
    try encode(Array(text.utf8))
  }

  /// An encoder that remembers pieces it has met; worth keeping for many texts of one thread.
  public func makeEncoder() -> TokenEncoder { TokenEncoder(self) }

  /// The bytes that `ids` stand for. Special tokens stand for none.
  ///
  /// The bytes need not be UTF-8: a model may stop inside a character.
  /// - Precondition: Every id is below ``vocabularySize``.
  public func decode(_ ids: [UInt32]) -> [UInt8] {
    var bytes: [UInt8] = []
    for id in ids {
      precondition(id < vocabularySize, "there is no token \(id) below \(vocabularySize)")
      if id < ordinaryCount { tokens.append(Int(id), to: &bytes) }
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

  init(_ tokens: [[UInt8]]) {
    for token in tokens { append(token) }
  }

  var count: Int { ends.count - 1 }

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
