extension JSONNode {
  /// The value as strict JSON, keys in their order.
  ///
  /// - Parameter isIndented: One member per line, two spaces a level, and a last line break;
  ///   otherwise one line without blanks.
  public func jsonText(isIndented: Bool = true) -> String {
    var text = ""
    write(into: &text, indent: isIndented ? 0 : nil)
    return isIndented ? text + "\n" : text
  }

  private func write(into text: inout String, indent: Int?) {
    switch value {
    case .null: text += "null"
    case .bool(let flag): text += flag ? "true" : "false"
    case .number(let literal): text += literal
    case .string(let string): Self.write(string, into: &text)
    case .array(let nodes):
      Self.write(nodes, into: &text, "[", "]", indent) { node, text, indent in
        node.write(into: &text, indent: indent)
      }
    case .object(let members):
      Self.write(members, into: &text, "{", "}", indent) { member, text, indent in
        Self.write(member.key, into: &text)
        text += indent == nil ? ":" : ": "
        member.node.write(into: &text, indent: indent)
      }
    }
  }

  private static func write<Item>(
    _ items: [Item], into text: inout String, _ open: String, _ close: String, _ indent: Int?,
    _ body: (Item, inout String, Int?) -> Void
  ) {
    text += open
    let inner = indent.map { $0 + 2 }
    for (index, item) in items.enumerated() {
      if index > 0 { text += "," }
      if let inner { text += "\n" + String(repeating: " ", count: inner) }
      body(item, &text, inner)
    }
    if let indent, !items.isEmpty { text += "\n" + String(repeating: " ", count: indent) }
    text += close
  }

  private static func write(_ string: String, into text: inout String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let hex = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}

/// Any JSON, through any coder: lets a value with its own JSON form travel inside other messages.
extension JSONNode: Codable {
  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  public init(from decoder: any Decoder) throws {
    if let members = try? decoder.container(keyedBy: Key.self) {
      self = .object(
        try members.allKeys.sorted { $0.stringValue < $1.stringValue }.map {
          ($0.stringValue, try members.decode(JSONNode.self, forKey: $0))
        })
      return
    }
    if var list = try? decoder.unkeyedContainer() {
      var nodes = [JSONNode]()
      while !list.isAtEnd { nodes.append(try list.decode(JSONNode.self)) }
      self = .list(nodes)
      return
    }
    let single = try decoder.singleValueContainer()
    if single.decodeNil() {
      self.init(.null)
    } else if let flag = try? single.decode(Bool.self) {
      self = .flag(flag)
    } else if let number = try? single.decode(Int64.self) {
      self = .integer(number)
    } else if let number = try? single.decode(UInt64.self) {
      self = .integer(number)
    } else if let number = try? single.decode(Double.self), number.isFinite {
      self = .decimal(number)
    } else {
      self = .text(try single.decode(String.self))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    switch value {
    case .object(let members):
      var container = encoder.container(keyedBy: Key.self)
      for member in members {
        try container.encode(member.node, forKey: Key(stringValue: member.key))
      }
    case .array(let nodes):
      var container = encoder.unkeyedContainer()
      for node in nodes { try container.encode(node) }
    default:
      var container = encoder.singleValueContainer()
      switch value {
      case .bool(let flag): try container.encode(flag)
      case .string(let text): try container.encode(text)
      case .number(let literal):
        if let whole = Int64(literal) {
          try container.encode(whole)
        } else if let whole = UInt64(literal) {
          try container.encode(whole)
        } else {
          try container.encode(Double(literal) ?? 0)
        }
      default: try container.encodeNil()
      }
    }
  }
}
