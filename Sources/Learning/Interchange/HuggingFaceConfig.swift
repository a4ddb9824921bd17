internal import Checkpoints
internal import Settings
internal import Tensors
internal import Tokenization

/// `config.json` of a Llama-shaped model, as Hugging Face transformers reads and writes it.
enum HuggingFaceConfig {
  static let fileName = "config.json"
  /// Real ones hold a few KiB.
  static let byteCountMax = 1 << 20

  // MARK: - Writing

  /// - Parameter type: Of the tensors in `model.safetensors`.
  static func json(
    _ layout: ParameterLayout, type: SafetensorsHeader.ElementType, tokenizer: Tokenizer
  ) -> String {
    let shape = layout.shape
    func id(_ token: SpecialToken) -> JSONNode {
      tokenizer.id(of: token).map { .integer($0) } ?? JSONNode(.null)
    }
    return JSONNode.object(kind(layout.head) + [
      ("model_type", .text("llama")),
      ("vocab_size", .integer(shape.vocabularySize)),
      ("hidden_size", .integer(shape.modelWidth)),
      ("intermediate_size", .integer(shape.feedForwardWidth)),
      ("num_hidden_layers", .integer(shape.layerCount)),
      ("num_attention_heads", .integer(shape.headCount)),
      ("num_key_value_heads", .integer(shape.keyValueHeadCount)),
      ("head_dim", .integer(shape.headWidth)),
      ("hidden_act", .text("silu")),
      ("max_position_embeddings", .integer(shape.sequenceLength)),
      ("rms_norm_eps", float(shape.normEpsilon)),
      ("rope_theta", float(shape.ropeTheta)),
      ("attention_bias", .flag(false)),
      ("attention_dropout", float(0)),
      ("mlp_bias", .flag(false)),
      ("tie_word_embeddings", .flag(shape.isHeadTied)),
      ("bos_token_id", id(.bos)),
      ("eos_token_id", id(.eos)),
      ("pad_token_id", id(.pad)),
      ("initializer_range", float(0.02)),
      ("torch_dtype", .text(type == .bf16 ? "bfloat16" : "float32")),
      ("use_cache", .flag(true)),
    ]).jsonText()
  }

  /// The class that opens the model; one that scores says how many numbers it gives by their names.
  private static func kind(_ head: HeadKind) -> [(String, JSONNode)] {
    switch head {
    case .language: [("architectures", .list([.text("LlamaForCausalLM")]))]
    case .score:
      [
        ("architectures", .list([.text("LlamaForSequenceClassification")])),
        ("id2label", .object([("0", .text("score"))])),
        ("label2id", .object([("score", .integer(0))])),
      ]
    }
  }

  /// A number that stays a float in Python: transformers refuses `1` where it wants `1.0`.
  private static func float(_ value: Double) -> JSONNode { JSONNode(.number("\(value)")) }

  /// `generation_config.json`: what `generate` does unless it is told otherwise, as `cox generate`
  /// does it. Every special token ends a text.
  static func generationJSON(_ tokenizer: Tokenizer) -> String {
    let stops = SpecialToken.allCases.filter { $0 != .pad }.compactMap { tokenizer.id(of: $0) }
    let ids: [(String, JSONNode)] =
      stops.isEmpty
      ? []
      : [
        ("bos_token_id", tokenizer.bos.map { .integer($0) } ?? JSONNode(.null)),
        ("eos_token_id", .list(stops.map { .integer($0) })),
        ("pad_token_id", tokenizer.id(of: .pad).map { .integer($0) } ?? JSONNode(.null)),
      ]
    return JSONNode.object(
      ids + [
        ("do_sample", .flag(true)), ("temperature", float(0.8)), ("top_p", float(0.95)),
      ]
    ).jsonText()
  }

  // MARK: - Reading

  /// The sizes that a `config.json` gives. What it leaves out has transformers' default.
  ///
  /// - Throws: ``InterchangeError/unsupported(file:key:found:supported:)`` for everything that
  ///   makes another model than the one this program trains.
  static func shape(reading bytes: [UInt8], file: String) throws(InterchangeError) -> ModelShape {
    let members = try Members(bytes, file: file)
    try members.require("model_type", "\"llama\"")
    if let architectures = members["architectures"] {
      let found = architectures.jsonText(isIndented: false)
      guard found == "[\"LlamaForCausalLM\"]" else {
        throw members.unsupported("architectures", found, "[\"LlamaForCausalLM\"]")
      }
    }
    for (key, value) in fixed { try members.allow(key, value) }
    let heads = try members.size("num_attention_heads")
    let width = try members.size("hidden_size")
    let shape = ModelShape(
      layerCount: try members.size("num_hidden_layers"), modelWidth: width, headCount: heads,
      keyValueHeadCount: try members.size("num_key_value_heads", or: heads),
      headWidth: try members.size("head_dim", or: width / heads),
      feedForwardWidth: try members.size("intermediate_size"),
      vocabularySize: try members.size("vocab_size"),
      sequenceLength: try members.size("max_position_embeddings", or: 2048),
      isHeadTied: try members.flag("tie_word_embeddings", or: false),
      ropeTheta: try ropeTheta(members),
      normEpsilon: try members.number("rms_norm_eps", or: 1e-6))
    guard shape.headWidth <= ModelShape.headWidthMax else {
      throw members.unsupported(
        "head_dim", "\(shape.headWidth)", "up to \(ModelShape.headWidthMax)")
    }
    guard shape.isPlausible else {
      throw .malformed(file: file, problem: "its sizes do not make a model")
    }
    return shape
  }

  /// Keys that must have this value where they are given; null is like leaving one out.
  private static let fixed = [
    ("hidden_act", "\"silu\""), ("attention_bias", "false"), ("mlp_bias", "false"),
    ("attention_dropout", "0"), ("pretraining_tp", "1"), ("sliding_window", "null"),
    ("partial_rotary_factor", "1"), ("quantization_config", "null"),
  ]

  /// Top-level `rope_theta`, or version 5's `rope_parameters`; any scaling is refused.
  private static func ropeTheta(_ members: Members) throws(InterchangeError) -> Double {
    var theta = try members.number("rope_theta", or: 10_000)
    for key in ["rope_scaling", "rope_parameters"] {
      guard let inner = try members.section(key) else { continue }
      try inner.allow("rope_type", "\"default\"")
      try inner.allow("type", "\"default\"")
      for name in inner.names where !["rope_type", "type", "rope_theta"].contains(name) {
        throw members.unsupported(key, "with \"\(name)\"", "rope_theta, no scaling")
      }
      theta = try inner.number("rope_theta", or: theta)
    }
    guard theta >= 1 else { throw members.unsupported("rope_theta", "\(theta)", "1 and more") }
    return theta
  }
}

/// The members of a JSON object that was read from `file`.
private struct Members {
  private let values: [JSONNode.Member]
  private let file: String
  /// Stands before keys in messages.
  private let prefix: String

  init(_ bytes: [UInt8], file: String) throws(InterchangeError) {
    let node = try readJSON(bytes, file: file)
    guard case .object(let members) = node.value else {
      throw .malformed(file: file, problem: "it holds \(node.inWords) instead of { }")
    }
    self.init(members, file: file, prefix: "")
  }

  private init(_ values: [JSONNode.Member], file: String, prefix: String) {
    self.values = values
    self.file = file
    self.prefix = prefix
  }

  var names: [String] { values.map(\.key) }

  /// nil where it is left out or null. The last of equal keys counts, as in Python.
  subscript(_ key: String) -> JSONNode? {
    values.last { $0.key == key && $0.node.value != .null }?.node
  }

  func unsupported(_ key: String, _ found: String, _ supported: String) -> InterchangeError {
    .unsupported(file: file, key: prefix + key, found: found, supported: supported)
  }

  func section(_ key: String) throws(InterchangeError) -> Members? {
    guard let node = self[key] else { return nil }
    guard case .object(let members) = node.value else {
      throw unsupported(key, node.inWords, "a section { }")
    }
    return Members(members, file: file, prefix: "\(prefix)\(key).")
  }

  func require(_ key: String, _ value: String) throws(InterchangeError) {
    guard self[key] != nil else { throw unsupported(key, "missing", value) }
    try allow(key, value)
  }

  func allow(_ key: String, _ value: String) throws(InterchangeError) {
    guard let node = self[key] else { return }
    let found = node.jsonText(isIndented: false)
    let isSame = found == value || (node.double != nil && node.double == Double(value))
    guard isSame else { throw unsupported(key, found, value) }
  }

  /// A count of something the model has.
  func size(_ key: String, or absent: Int? = nil) throws(InterchangeError) -> Int {
    guard let node = self[key] else {
      guard let absent else { throw unsupported(key, "missing", "a whole number") }
      return absent
    }
    guard let size = node.int, (1..<1 << 31).contains(size) else {
      throw unsupported(key, node.inWords, "a whole number from 1 to 2^31 - 1")
    }
    return size
  }

  func number(_ key: String, or absent: Double) throws(InterchangeError) -> Double {
    guard let node = self[key] else { return absent }
    guard let number = node.double, number.isFinite, number > 0 else {
      throw unsupported(key, node.inWords, "a number above 0")
    }
    return number
  }

  func flag(_ key: String, or absent: Bool) throws(InterchangeError) -> Bool {
    guard let node = self[key] else { return absent }
    guard let flag = node.bool else { throw unsupported(key, node.inWords, "true or false") }
    return flag
  }
}

/// JSON out of a file that may hold anything.
func readJSON(_ bytes: [UInt8], file: String) throws(InterchangeError) -> JSONNode {
  do {
    return try JSONReader.read(bytes)
  } catch {
    throw .malformed(
      file: file, problem: "line \(error.span.line), column \(error.span.column): \(error.reason)")
  }
}
