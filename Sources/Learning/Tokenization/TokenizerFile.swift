extension Tokenizer {
  /// The tokenizer as tokenizer.json, which Hugging Face tokenizers reads.
  ///
  /// `bpe` and `bytes` become a byte-level BPE model whose post-processor puts `<|bos|>` first;
  /// `characters` becomes a word-level model whose words are single characters. The bytes are a
  /// function of the tokenizer.
  public func json() -> [UInt8] {
    var text = JSONText()
    text.raw(#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":["#)
    for (index, special) in specials.enumerated() {
      text.raw(index == 0 ? "\n" : ",\n")
      text.raw(#"{"id":\#(special.id),"content":"#)
      text.string(Array(special.name.utf8))
      text.raw(#","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"#)
      text.raw(#""special":true}"#)
    }
    text.raw("],\n\"normalizer\":null,\n\"pre_tokenizer\":")
    addPreTokenizer(&text)
    text.raw(",\n\"post_processor\":")
    addPostProcessor(&text)
    text.raw(",\n\"decoder\":")
    text.raw(
      kind == .characters
        ? #"{"type":"Fuse"}"#
        : #"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#)
    text.raw(",\n\"model\":")
    addModel(&text)
    text.raw("}\n")
    return text.bytes
  }

  private func addPreTokenizer(_ text: inout JSONText) {
    let byteLevel =
      #"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}"#
    switch kind {
    case .bytes: text.raw(byteLevel)
    case .characters: text.split(at: Self.anyCharacterPattern)
    case .bpe:
      text.raw(#"{"type":"Sequence","pretokenizers":["#)
      text.split(at: splitter.pattern)
      text.raw(",\(byteLevel)]}")
    }
  }

  /// Matches every scalar, newlines too.
  static let anyCharacterPattern = #"[\s\S]"#

  private func addPostProcessor(_ text: inout JSONText) {
    guard let bos else { return text.raw("null") }
    let name = SpecialToken.bos.rawValue
    let first = #"{"SpecialToken":{"id":"\#(name)","type_id":0}}"#
    let a = #"{"Sequence":{"id":"A","type_id":0}}"#
    let b = #"{"Sequence":{"id":"B","type_id":1}}"#
    text.raw(
      #"{"type":"TemplateProcessing","single":[\#(first),\#(a)],"pair":[\#(first),\#(a),\#(b)],"#
        + #""special_tokens":{"\#(name)":{"id":"\#(name)","ids":[\#(bos)],"#
        + #""tokens":["\#(name)"]}}}"#)
  }

  private func addModel(_ text: inout JSONText) {
    if kind == .characters {
      text.raw(#"{"type":"WordLevel","unk_token":"<|unknown|>","vocab":{"#)
    } else {
      text.raw(#"{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"#)
      text.raw(#""end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"#)
      text.raw(#""ignore_merges":\#(takesWholePiecesFirst),"vocab":{"#)
    }
    var isFirst = true
    for id in 0..<tokens.count where tokens.byteCount(of: id) > 0 {
      text.raw(isFirst ? "\n" : ",\n")
      isFirst = false
      text.string(written(UInt32(id)))
      text.raw(":\(id)")
    }
    text.raw("}")
    if kind != .characters {
      text.raw(#","merges":["#)
      for (rank, merge) in merges.merges.enumerated() {
        text.raw(rank == 0 ? "\n[" : ",\n[")
        text.string(written(merge.left))
        text.raw(",")
        text.string(written(merge.right))
        text.raw("]")
      }
      text.raw("]")
    }
    text.raw("}")
  }

  /// How the vocabulary of the file spells an ordinary token.
  private func written(_ id: UInt32) -> [UInt8] {
    let bytes = tokens[Int(id)]
    return kind == .characters ? bytes : ByteAlphabet.spell(bytes)
  }
}

/// The alphabet of byte-level vocabularies: every byte as one printable character.
///
/// Bytes 33-126, 161-172 and 174-255 stand for themselves; the other 68, in ascending order, are
/// U+0100 and on.
enum ByteAlphabet {
  static let scalars: [UInt32] = {
    var next: UInt32 = 0x100
    return (0...255).map { (byte: UInt32) in
      switch byte {
      case 33...126, 161...172, 174...255: return byte
      default:
        defer { next += 1 }
        return next
      }
    }
  }()

  /// Byte of each scalar below U+0144.
  private static let bytes: [UInt8?] = {
    var found = [UInt8?](repeating: nil, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { found[Int(scalar)] = UInt8(byte) }
    return found
  }()

  static func spell(_ bytes: [UInt8]) -> [UInt8] {
    bytes.flatMap { utf8Bytes(of: scalars[Int($0)]) }
  }

  /// The bytes that well-formed UTF-8 text in this alphabet spells, or nil if it has others.
  static func read(_ text: [UInt8]) -> [UInt8]? {
    var found: [UInt8] = []
    var index = 0
    while index < text.count {
      let (scalar, length) = decodeScalar(text.span, at: index)
      guard scalar < bytes.count, let byte = bytes[Int(scalar)] else { return nil }
      found.append(byte)
      index += length
    }
    return found
  }
}

/// JSON text under construction.
package struct JSONText {
  package private(set) var bytes: [UInt8] = []

  package init() {}

  package mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

  /// Adds UTF-8 bytes as a quoted string.
  package mutating func string(_ text: [UInt8]) {
    bytes.append(0x22)
    for byte in text {
      switch byte {
      case 0x22, 0x5C: bytes.append(contentsOf: [0x5C, byte])
      case 0x0A: raw(#"\n"#)
      case 0x0D: raw(#"\r"#)
      case 0x09: raw(#"\t"#)
      case 0..<0x20:
        raw(#"\u00"#)
        raw(byte < 16 ? "0" : "")
        raw(String(byte, radix: 16))
      default: bytes.append(byte)
      }
    }
    bytes.append(0x22)
  }

  mutating func split(at pattern: String) {
    raw(#"{"type":"Split","pattern":{"Regex":"#)
    string(Array(pattern.utf8))
    raw(#"},"behavior":"Isolated","invert":false}"#)
  }
}
