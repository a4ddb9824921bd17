public import Checkpoints
internal import System
public import Tensors
internal import Tokenization

/// Writes a model as a folder that Hugging Face transformers, and what reads the same files, opens.
///
///     model.safetensors                            weights, one type for all
///     generation_config.json                       what ends a text, how tokens are drawn; of a
///                                                  model that speaks
///     tokenizer.json, tokenizer_config.json        the same ids in the same order
///     chat_template.jinja                          where the tokenizer has the tokens for it
///     config.json                                  sizes; written last
///
/// Each file is written aside and renamed. `config.json` is removed first and written last, so that
/// a folder that was left half written is not taken for a model.
public enum HuggingFaceExport {
  /// One file that was written.
  public struct Written: Codable, Equatable, Sendable {
    public let name: String
    public let byteCount: Int
  }

  static let generationName = "generation_config.json"
  /// Opens the template of a model that never learned to chat, so that nobody takes it for one that
  /// did. A comment in Jinja: it renders to nothing.
  static let untunedMark = "{#- This model was not tuned on conversations. -#}\n"

  /// - Parameters:
  ///   - role: Which of the checkpoint's models; one that scores opens as
  ///     `LlamaForSequenceClassification` with one label.
  ///   - type: `f32` keeps every bit; `bf16` rounds to nearest, ties to even.
  ///   - isReplacing: Whether files in the folder may be written over.
  /// - Returns: The files in the order in which they were written.
  /// - Precondition: The checkpoint has the model.
  public static func write(
    _ checkpoint: CheckpointReader, role: ModelRole = .policy,
    as type: SafetensorsHeader.ElementType, to folder: String, isReplacing: Bool
  ) throws(InterchangeError) -> [Written] {
    precondition(type == .f32 || type == .bf16, "weights are not exported as \(type)")
    let layout = checkpoint.stateLayout[role].layout
    let texts = try texts(of: checkpoint, layout, type)
    let master = AlignedStorage(count: layout.count, filledWith: Float(0)).rows
    try wrapping(checkpoint: { () throws(CheckpointError) in
      try checkpoint.loadWeights(of: role, into: master)
    })
    try prepare(folder, isReplacing: isReplacing)
    let weights = try writeWeights(master, layout, as: type, to: folder)
    for (name, text) in texts {
      try wrapping { () throws(SystemError) in try Files.write(text, to: "\(folder)/\(name)") }
    }
    return [weights] + texts.map { Written(name: $0.name, byteCount: $0.text.count) }
  }

  /// What is written beside the weights, in this order.
  private static func texts(
    of checkpoint: CheckpointReader, _ layout: ParameterLayout,
    _ type: SafetensorsHeader.ElementType
  ) throws(InterchangeError) -> [(name: String, text: [UInt8])] {
    let tokenizer = try tokenizer(of: checkpoint)
    var texts: [(name: String, text: [UInt8])] = []
    func add(_ name: String, _ text: String) { texts.append((name, Array(text.utf8))) }
    if layout.head == .language {
      add(generationName, HuggingFaceConfig.generationJSON(tokenizer))
    }
    texts.append((HuggingFaceFolder.tokenizerName, tokenizer.json()))
    add(
      HuggingFaceFolder.tokenizerConfigName,
      tokenizerConfig(tokenizer, sequenceLength: layout.shape.sequenceLength))
    if tokenizer.hasChatTokens {
      add(HuggingFaceFolder.templateName, try template(checkpoint, layout.head))
    }
    add(
      HuggingFaceConfig.fileName,
      HuggingFaceConfig.json(layout, type: type, tokenizer: tokenizer))
    return texts
  }

  /// The chat template, marked where the model never learned it.
  private static func template(
    _ checkpoint: CheckpointReader, _ head: HeadKind
  ) throws(InterchangeError) -> String {
    // What scores has learned from conversations and from nothing else.
    guard head == .language else { return ChatTemplate.jinja }
    let isTuned = try ModelSource.checkpoint(checkpoint).isTuned()
    return (isTuned ? "" : untunedMark) + ChatTemplate.jinja
  }

  private static func tokenizer(
    of checkpoint: CheckpointReader
  ) throws(InterchangeError) -> Tokenizer {
    let file = "\(checkpoint.path)/\(HuggingFaceFolder.tokenizerName)"
    let json = try wrapping(checkpoint: { () throws(CheckpointError) in
      try checkpoint.tokenizer()
    })
    guard let json else { throw .missing(file: file) }
    do { return try Tokenizer.load(json: json) } catch { throw .tokenizer(file: file, error) }
  }

  /// An empty folder, or one whose files of ours are gone that the next export may not write.
  private static func prepare(
    _ folder: String, isReplacing: Bool
  ) throws(InterchangeError) {
    let isEmpty = try wrapping { () throws(SystemError) in
      try Files.createDirectory(folder)
      return try Files.list(folder).isEmpty
    }
    guard isEmpty || isReplacing else { throw .folderNotEmpty(path: folder) }
    for name in [
      HuggingFaceConfig.fileName, HuggingFaceFolder.indexName, HuggingFaceFolder.templateName,
      generationName,
    ] {
      try wrapping { () throws(SystemError) in try Files.remove("\(folder)/\(name)") }
    }
  }

  private static func writeWeights(
    _ master: SharedRows<Float>, _ layout: ParameterLayout, as type: SafetensorsHeader.ElementType,
    to folder: String
  ) throws(InterchangeError) -> Written {
    let header = SafetensorsHeader(
      laying: layout.parameters.map { ($0.name, $0.shape) }, as: type)
    let path = "\(folder)/\(HuggingFaceFolder.weightsName)"
    let aside = "\(path).writing-\(currentProcessIdentifier)"
    do {
      try wrapping { () throws(SystemError) in
        let file = try File(aside, .replace)
        try file.reserve(byteCount: header.fileByteCount)
        try file.write(header.bytes, at: 0)
        for parameter in layout.parameters {
          guard let tensor = header[parameter.name] else { continue }
          try write(
            master[parameter.range], as: type, to: file,
            at: header.dataOffset + tensor.range.lowerBound)
        }
        try file.synchronize()
        try Files.rename(aside, to: path)
      }
    } catch {
      try? Files.remove(aside)
      throw error
    }
    return Written(name: HuggingFaceFolder.weightsName, byteCount: header.fileByteCount)
  }

  private static func write(
    _ values: SharedRows<Float>, as type: SafetensorsHeader.ElementType, to file: File,
    at offset: Int
  ) throws(SystemError) {
    guard type == .bf16 else {
      return try values.withBytes { (bytes) throws(SystemError) in
        try file.write(bytes, at: offset)
      }
    }
    let pieceCount = 1 << 20
    for first in stride(from: 0, to: values.count, by: pieceCount) {
      let piece = values[first..<min(first + pieceCount, values.count)]
      var bytes: [UInt8] = []
      bytes.reserveCapacity(2 * piece.count)
      piece.withSpan { span in
        for index in span.indices {
          let bits = BFloat16(span[index]).bitPattern
          bytes.append(UInt8(truncatingIfNeeded: bits))
          bytes.append(UInt8(truncatingIfNeeded: bits >> 8))
        }
      }
      try file.write(bytes, at: offset + 2 * first)
    }
  }
}
