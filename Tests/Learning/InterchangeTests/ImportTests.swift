import Checkpoints
import Interchange
import Settings
import System
import Tensors
import Testing
import Tokenization

@Suite struct `A Hugging Face folder` {
  private func weights(_ folder: HuggingFaceFolder) throws -> SharedRows<Float> {
    let rows = AlignedStorage(count: folder.layout.count, filledWith: Float(9)).rows
    try folder.loadWeights(into: rows)
    return rows
  }

  /// A tensor's bytes in another type, of `values`.
  private func bytes(
    _ values: SharedRows<Float>, _ type: SafetensorsHeader.ElementType
  ) -> [UInt8] {
    values.array.flatMap { value -> [UInt8] in
      let bits: UInt32 =
        switch type {
        case .bf16: UInt32(BFloat16(value).bitPattern)
        case .f16: UInt32(Float16(value).bitPattern)
        default: value.bitPattern
        }
      return (0..<type.byteCount).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
    }
  }

  @Test(arguments: [false, true])
  func `gives back every bit of an export, in f32 and in bf16`(isHeadTied: Bool) throws {
    let model = try SampleModel(isHeadTied: isHeadTied)
    for type in [SafetensorsHeader.ElementType.f32, .bf16] {
      try withTemporaryDirectory { folder in
        try model.export(to: folder, as: type)
        let opened = try HuggingFaceFolder(folder)
        #expect(opened.shape == model.plan.model)
        let expected = model.master.array.map { type == .f32 ? $0 : BFloat16($0).float }
        #expect(try weights(opened).array == expected)
      }
    }
  }

  @Test func `reads f16, mixed types, and weights in several files`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      try Files.remove("\(folder)/model.safetensors")
      let types: [SafetensorsHeader.ElementType] = [.f16, .bf16, .f32]
      var map: [String] = []
      for (part, type) in types.enumerated() {
        let name = "model-0000\(part + 1)-of-00003.safetensors"
        let chosen = model.layout.parameters.enumerated().filter { $0.offset % 3 == part }
        try Files.write(
          safetensors(
            chosen.map {
              let parameter = $0.element
              return (
                parameter.name, type, parameter.shape, bytes(model.master[parameter.range], type)
              )
            }), to: "\(folder)/\(name)")
        map += chosen.map { "\"\($0.element.name)\": \"\(name)\"" }
      }
      try Files.write(
        "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {\(map.joined(separator: ","))}}",
        to: "\(folder)/model.safetensors.index.json")
      let found = try weights(HuggingFaceFolder(folder))
      for (index, parameter) in model.layout.parameters.enumerated() {
        for place in parameter.range {
          let value = model.master[place]
          let expected =
            switch types[index % 3] {
            case .f16: Float(Float16(value))
            case .bf16: BFloat16(value).float
            default: value
            }
          #expect(found[place] == expected, "\(parameter.name)")
        }
      }
      // The index is believed only where the files agree with it.
      try edit(
        "\(folder)/model.safetensors.index.json", "model-00002-of-00003", "model-00001-of-00003")
      #expect(throws: InterchangeError.self) { try HuggingFaceFolder(folder) }
      try edit(
        "\(folder)/model.safetensors.index.json", "model-00001-of-00003", "a/../../elsewhere")
      let error = #expect(throws: InterchangeError.self) { try HuggingFaceFolder(folder) }
      #expect("\(try #require(error))".contains("no file name"))
    }
  }

  @Test func `may store the head of a tied model, if it is the embedding`() throws {
    let model = try SampleModel(isHeadTied: true)
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      let path = "\(folder)/model.safetensors"
      var tensors = model.layout.parameters.map { parameter in
        (
          name: parameter.name, type: SafetensorsHeader.ElementType.f32, shape: parameter.shape,
          bytes: bytes(model.master[parameter.range], .f32)
        )
      }
      var head = try #require(tensors.first { $0.name == "model.embed_tokens.weight" })
      head.name = "lm_head.weight"
      try Files.write(safetensors(tensors + [head]), to: path)
      #expect(try weights(HuggingFaceFolder(folder)).array == model.master.array)
      head.bytes[5] ^= 1
      tensors.append(head)
      try Files.write(safetensors(tensors), to: path)
      #expect(throws: InterchangeError.tiedHeadDiffers(file: path)) {
        try weights(HuggingFaceFolder(folder))
      }
    }
  }

  /// An edit of config.json that makes another model, and what the refusal must name.
  static let changes = [
    ("\"llama\"", "\"mistral\"", "model_type"),
    ("\"LlamaForCausalLM\"", "\"LlamaForSequenceClassification\"", "architectures"),
    ("\"silu\"", "\"gelu\"", "hidden_act"),
    ("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"),
    ("\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias"),
    ("\"use_cache\": true", "\"rope_scaling\": {\"type\": \"linear\"}", "rope_scaling.type"),
    ("\"use_cache\": true", "\"rope_parameters\": {\"factor\": 2}", "factor"),
    ("\"use_cache\": true", "\"rope_scaling\": 3", "rope_scaling"),
    ("\"use_cache\": true", "\"quantization_config\": {}", "quantization_config"),
    ("\"use_cache\": true", "\"sliding_window\": 8", "sliding_window"),
    ("\"use_cache\": true", "\"pretraining_tp\": 2", "pretraining_tp"),
    ("\"hidden_size\": 20", "\"hidden_size\": -20", "hidden_size"),
    ("\"hidden_size\": 20", "\"hidden_size\": 20.5", "hidden_size"),
    ("\"hidden_size\": 20,", "", "hidden_size"),
    ("\"hidden_size\": 20", "\"hidden_size\": 2147483647", "lm_head.weight"),
    ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4000", "4000 layers"),
    ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "model.layers.1."),
    ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "few for 3 layers"),
    ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "sizes"),
    ("\"head_dim\": 6", "\"head_dim\": 5", "sizes"),
    ("\"head_dim\": 6", "\"head_dim\": 258", "\"head_dim\" is 258; supported: up to 256"),
    ("\"vocab_size\": 263", "\"vocab_size\": 262", "[263, 20]"),
    ("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": \"small\"", "rms_norm_eps"),
    ("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": 0", "tie_word_embeddings"),
    ("{", "[", "line 2"),
  ]

  @Test(arguments: changes)
  func `is refused by name where it is another model`(
    old: String, new: String, needle: String
  ) throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      try edit("\(folder)/config.json", old, new)
      let error = #expect(throws: InterchangeError.self) { try HuggingFaceFolder(folder) }
      let found = try #require(error)
      #expect("\(found)".contains(needle), "\(found)")
      #expect(found.exitCode == .badData)
    }
  }

  @Test func `takes transformers 5's spelling of the rotary base, and its defaults`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      let path = "\(folder)/config.json"
      try edit(
        path, "\"rope_theta\": 10000.0",
        "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500000.0}")
      try edit(path, "\"rms_norm_eps\": 1e-05,", "\"rope_scaling\": null,")
      let shape = try HuggingFaceFolder(folder).shape
      #expect(shape.ropeTheta == 500_000)
      #expect(shape.normEpsilon == 1e-6)
    }
  }

  @Test func `with a file cut short, a hole or a number that is not finite is refused`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      let path = "\(folder)/model.safetensors"
      let bytes = try Files.read(path)
      for count in [0, 7, 8, 100, bytes.count - 1] {
        try Files.write(Array(bytes.prefix(count)), to: path)
        #expect(throws: InterchangeError.self, "\(count) bytes") { try HuggingFaceFolder(folder) }
      }
      try Files.write(bytes + [0], to: path)
      #expect(throws: InterchangeError.self) { try HuggingFaceFolder(folder) }
      // The last four bytes are the last element of the tensor that is last in byte order.
      try Files.write(Array(bytes.dropLast(4)) + [0, 0, 0x80, 0x7F], to: path)
      #expect(throws: InterchangeError.notFinite(name: "model.norm.weight")) {
        try weights(HuggingFaceFolder(folder))
      }
      try Files.remove(path)
      #expect(throws: InterchangeError.missing(file: path)) { try HuggingFaceFolder(folder) }
    }
  }

  @Test(arguments: ["config.json", "model.safetensors", "model.safetensors.index.json"])
  func `never traps, whatever bytes are changed`(name: String) throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      if name.hasSuffix("index.json") {
        try Files.rename("\(folder)/model.safetensors", to: "\(folder)/a.safetensors")
        let map = model.layout.parameters.map { "\"\($0.name)\":\"a.safetensors\"" }
        try Files.write(
          "{\"weight_map\":{\(map.joined(separator: ","))}}", to: "\(folder)/\(name)")
      }
      let good = try Files.read("\(folder)/\(name)")
      _ = try HuggingFaceFolder(folder)
      let header = min(good.count, 3000)
      let digits = Array("0123456789{}[]\",:\\-.e ntf\u{7F}".utf8)
      var state: UInt64 = 5
      func draw(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(bound))
      }
      var refused = 0
      for _ in 0..<1500 {
        var bytes = good
        for _ in 0...draw(3) { bytes[draw(header)] = digits[draw(digits.count)] }
        // In place, without waiting for the disk.
        try File("\(folder)/\(name)", .update).write(bytes, at: 0)
        do { _ = try weights(HuggingFaceFolder(folder)) } catch { refused += 1 }
      }
      #expect(refused > 700)
    }
  }
}

@Suite struct `A start from another model` {
  @Test func `is a checkpoint at position 0 with the model's weights and zero moments`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: "\(folder)/hf")
      let saved = try model.save(inRun: "\(folder)/old")
      for path in ["\(folder)/hf", saved.path, "\(folder)/old"] {
        let source = try ModelSource(opening: path)
        #expect(source.shape == model.plan.model)
        #expect(try source.tokenizer().vocabularySize == 263)
        let written = try StartCheckpoint.write(
          source, for: model.plan, phaseIndex: 1, tokenizer: try source.tokenizer().json(),
          inRun: "\(folder)/new")
        #expect(Files.name(of: written) == "pretrain-0")
        let reader = try CheckpointReader.open("\(folder)/new")
        #expect(reader.state.position == 0 && reader.state.step == 0)
        #expect(reader.state.profile.isEmpty)
        let rows = (0..<3).map { _ in
          AlignedStorage(count: model.layout.count, filledWith: Float(1)).rows
        }
        try reader.loadAll(into: rows)
        #expect(rows[0].array == model.master.array)
        #expect(rows[1].array.allSatisfy { $0 == 0 } && rows[2].array.allSatisfy { $0 == 0 })
      }
      #expect(throws: InterchangeError.noModel(path: folder)) { try ModelSource(opening: folder) }
    }
  }

  @Test func `knows a chat template wherever it stands, and one the model never learned`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      func isTuned() throws -> Bool { try ModelSource(opening: folder).isTuned() }
      // The sample stands in its pretraining.
      #expect(try !isTuned())
      try Files.write("{{ bos_token }}", to: "\(folder)/chat_template.jinja")
      #expect(try isTuned())
      try Files.remove("\(folder)/chat_template.jinja")
      #expect(try !isTuned())
      let settings = "\(folder)/tokenizer_config.json"
      try edit(settings, "{", "{\"chat_template\": null,")
      #expect(try !isTuned())
      try edit(settings, "null", "\"{{ bos_token }}\"")
      #expect(try isTuned())
      try Files.remove(settings)
      #expect(try !isTuned())
    }
  }

  @Test(arguments: [false, true])
  func `starts a run that knows whether its model learned to chat, and tells the next`(
    isTuned: Bool
  ) throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: "\(folder)/hf")
      if isTuned { try Files.write("{{ bos_token }}", to: "\(folder)/hf/chat_template.jinja") }
      _ = try HuggingFaceImport.write("\(folder)/hf", to: "\(folder)/in")
      let state = try CheckpointReader.open("\(folder)/in").state
      #expect(state.isTuned(by: model.plan) == isTuned)
      try StartCheckpoint.write(
        ModelSource(opening: "\(folder)/in"), for: model.plan, phaseIndex: 1,
        tokenizer: Files.read("\(folder)/hf/tokenizer.json"), inRun: "\(folder)/run")
      #expect(try CheckpointReader.open("\(folder)/run").state.isTuned(by: model.plan) == isTuned)
    }
  }

  @Test func `is imported with a plan that resolves to the model's sizes`() throws {
    let model = try SampleModel(isHeadTied: true)
    try withTemporaryDirectory { folder in
      try model.export(to: "\(folder)/hf")
      let report = try HuggingFaceImport.write("\(folder)/hf", to: "\(folder)/in")
      #expect(report.parameterCount == model.layout.parameterCount)
      let text = String(decoding: try Files.read(report.plan), as: UTF8.self)
      let plan = try PlanResolver.resolve(text: text, path: report.plan).plan
      #expect(plan.model == model.plan.model)
      #expect(plan.initialization.from == "\(folder)/in")
      #expect(plan.tokenizer.kind == .bytes)
      // Out again: the same bytes in every file.
      let written = try HuggingFaceExport.write(
        CheckpointReader.open("\(folder)/in"), as: .f32, to: "\(folder)/again",
        isReplacing: false)
      for file in written {
        #expect(
          try Files.read("\(folder)/again/\(file.name)") == Files.read("\(folder)/hf/\(file.name)"),
          "\(file.name)")
      }
      #expect(throws: InterchangeError.folderNotEmpty(path: "\(folder)/in")) {
        try HuggingFaceImport.write("\(folder)/hf", to: "\(folder)/in")
      }
    }
  }
}
