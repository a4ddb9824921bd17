/// Where something stands in a text. Lines and columns count from 1, columns in Unicode scalars.
public struct SourceSpan: Equatable, Hashable, Sendable {
  public var line: Int
  public var column: Int
  /// Scalars on this line that belong to it; at least 1.
  public var length: Int

  public init(line: Int, column: Int, length: Int = 1) {
    self.line = line
    self.column = column
    self.length = length
  }
}

/// A JSON value that knows where it was written.
public struct JSONNode: Equatable, Sendable {
  public enum Value: Equatable, Sendable {
    case null
    case bool(Bool)
    /// The literal as written, so that 64-bit integers and decimals both keep every digit.
    case number(String)
    case string(String)
    case array([JSONNode])
    /// In the order written; the reader keeps repeated keys for the schema to refuse.
    case object([Member])
  }

  public struct Member: Equatable, Sendable {
    public var key: String
    public var keySpan: SourceSpan?
    public var node: JSONNode
    public init(key: String, keySpan: SourceSpan? = nil, node: JSONNode) {
      self.key = key
      self.keySpan = keySpan
      self.node = node
    }
  }

  public var value: Value
  /// Nil for a value that was made and not read.
  public var span: SourceSpan?

  public init(_ value: Value, span: SourceSpan? = nil) {
    self.value = value
    self.span = span
  }

  public static func text(_ text: String) -> JSONNode { JSONNode(.string(text)) }
  public static func flag(_ flag: Bool) -> JSONNode { JSONNode(.bool(flag)) }
  public static func integer(_ number: some BinaryInteger) -> JSONNode {
    JSONNode(.number("\(number)"))
  }
  /// The shortest decimal that reads back as the same number.
  /// - Precondition: JSON has no NaN and no infinity.
  public static func decimal(_ number: Double) -> JSONNode {
    precondition(number.isFinite, "JSON cannot hold \(number)")
    return JSONNode(.number(numberText(number)))
  }
  public static func list(_ nodes: [JSONNode]) -> JSONNode { JSONNode(.array(nodes)) }
  public static func object(_ members: [(String, JSONNode)]) -> JSONNode {
    JSONNode(.object(members.map { Member(key: $0.0, node: $0.1) }))
  }

  /// The member's value; nil where this is no object or has no such key.
  public subscript(_ key: String) -> JSONNode? {
    guard case .object(let members) = value else { return nil }
    return members.first { $0.key == key }?.node
  }

  public var elements: [JSONNode]? {
    if case .array(let nodes) = value { nodes } else { nil }
  }
  public var string: String? { if case .string(let text) = value { text } else { nil } }
  public var bool: Bool? { if case .bool(let flag) = value { flag } else { nil } }
  public var double: Double? { if case .number(let text) = value { Double(text) } else { nil } }
  /// The number, if it is whole and fits; `1e3` and `3.0` are whole.
  public var int: Int? {
    guard case .number(let text) = value else { return nil }
    return Int(text) ?? Double(text).flatMap { Int(exactly: $0) }
  }
  public var unsigned: UInt64? {
    guard case .number(let text) = value else { return nil }
    return UInt64(text) ?? Double(text).flatMap { UInt64(exactly: $0) }
  }

  /// The kind in words, for messages: "the text 'abc'", "a list".
  public var inWords: String {
    switch value {
    case .null: "null"
    case .bool(let flag): "\(flag)"
    case .number(let text): "the number \(text)"
    case .string(let text): "the text '\(text)'"
    case .array: "a list"
    case .object: "a section"
    }
  }
}
