import Checkpoints
import Interchange
import Settings
import System
import Tensors
import Testing

@Suite struct `A Hugging Face export` {
  static let names = [
    "model.safetensors", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "chat_template.jinja", "config.json",
  ]

  private func json(_ path: String) throws -> JSONNode { try JSONReader.read(try Files.read(path)) }

  @Test func `has the files that transformers reads, config last`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      let written = try model.export(to: "\(folder)/hf")
      #expect(written.map(\.name) == Self.names)
      #expect(try Files.list("\(folder)/hf") == Self.names.sorted())
      for file in written {
        #expect(try Files.info("\(folder)/hf/\(file.name)")?.byteCount == file.byteCount)
      }
    }
  }

  @Test func `says in the template that the model never learned it, so that it renders to nothing`()
    throws
  {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      let text = String(decoding: try Files.read("\(folder)/chat_template.jinja"), as: UTF8.self)
      #expect(text.hasPrefix("{#- This model was not tuned on conversations. -#}\n{{- bos_token"))
    }
  }

  @Test(arguments: [false, true])
  func `holds every tensor under its name, in byte order, after a padded header`(
    isHeadTied: Bool
  ) throws {
    let model = try SampleModel(isHeadTied: isHeadTied)
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      let path = "\(folder)/model.safetensors"
      let header = try SafetensorsHeader(readingFrom: path)
      #expect(header.metadata == ["format": "pt"])
      #expect(header.dataOffset % 8 == 0)
      let names = header.tensors.map(\.name)
      #expect(names == model.layout.parameters.map(\.name).sorted())
      #expect(names.contains("lm_head.weight") == !isHeadTied)
      let bytes = try Files.read(path)
      for parameter in model.layout.parameters {
        let tensor = try #require(header[parameter.name])
        var expected: [UInt8] = []
        model.master[parameter.range].appendBytes(to: &expected)
        let start = header.dataOffset + tensor.range.lowerBound
        #expect(Array(bytes[start..<start + tensor.range.count]) == expected, "\(parameter.name)")
      }
    }
  }

  @Test func `rounds to bf16 where it is asked to, ties to even`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try model.export(to: folder, as: .bf16)
      let header = try SafetensorsHeader(readingFrom: "\(folder)/model.safetensors")
      let bytes = try Files.read("\(folder)/model.safetensors")
      #expect(header.tensors.allSatisfy { $0.type == .bf16 })
      let norm = model.layout[.finalNorm]
      let start = header.dataOffset + (try #require(header[norm.name])).range.lowerBound
      for index in 0..<norm.count {
        let bits = UInt16(bytes[start + 2 * index]) | UInt16(bytes[start + 2 * index + 1]) << 8
        #expect(bits == BFloat16(model.master[norm.offset + index]).bitPattern)
      }
      #expect(try json("\(folder)/config.json")["torch_dtype"]?.string == "bfloat16")
    }
  }

  @Test func `keeps floats floats in config.json, and gives every size`() throws {
    let model = try SampleModel(isHeadTied: true)
    try withTemporaryDirectory { folder in
      try model.export(to: folder)
      let text = String(decoding: try Files.read("\(folder)/config.json"), as: UTF8.self)
      // An integer in these places is refused by transformers' strict config classes.
      for needle in [
        "\"rope_theta\": 10000.0,", "\"rms_norm_eps\": 1e-05,", "\"attention_dropout\": 0.0,",
        "\"initializer_range\": 0.02,",
      ] {
        #expect(text.contains(needle), "\(needle)")
      }
      let config = try JSONReader.read(text)
      let sizes = [
        "vocab_size": 263, "hidden_size": 20, "intermediate_size": 10, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "max_position_embeddings": 16, "bos_token_id": 256, "eos_token_id": 257,
        "pad_token_id": 258,
      ]
      for (key, size) in sizes { #expect(config[key]?.int == size, "\(key)") }
      #expect(config["tie_word_embeddings"]?.bool == true)
      let stops = try json("\(folder)/generation_config.json")["eos_token_id"]?.elements
      // All special tokens but the padding, 258.
      #expect(stops?.compactMap(\.int) == [256, 257, 259, 260, 261, 262])
      let tokenizer = try json("\(folder)/tokenizer_config.json")
      #expect(tokenizer["tokenizer_class"]?.string == "PreTrainedTokenizerFast")
      #expect(tokenizer["pad_token"]?.string == "<|pad|>")
    }
  }

  @Test func `writes over nothing unless it is told to, and then leaves no old index`() throws {
    let model = try SampleModel()
    try withTemporaryDirectory { folder in
      try Files.write("mine", to: "\(folder)/notes.txt")
      #expect(throws: InterchangeError.folderNotEmpty(path: folder)) {
        try model.export(to: folder)
      }
      #expect(try Files.list(folder) == ["notes.txt"])
      try Files.write("{}", to: "\(folder)/model.safetensors.index.json")
      try model.export(to: folder, isReplacing: true)
      #expect(try Files.list(folder) == (Self.names + ["notes.txt"]).sorted())
    }
  }
}
