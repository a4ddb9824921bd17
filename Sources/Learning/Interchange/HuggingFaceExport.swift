public import Checkpoints
internal import System
internal import Tensors
internal import Tokenization

/// Writes a model as a folder that Hugging Face transformers, and what reads the same files, opens.
///
///     model.safetensors                            weights, one type for all
///     generation_config.json                       what ends a text, how tokens are drawn
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
  ///   - type: `f32` keeps every bit; `bf16` rounds to nearest, ties to even.
  ///   - isReplacing: Whether files in the folder may be written over.
  /// - Returns: The files in the order in which they were written.
  public static func write(
    _ checkpoint: CheckpointReader, as type: SafetensorsHeader.ElementType, to folder: String,
    isReplacing: Bool
  ) throws(InterchangeError) -> [Written] {
    precondition(type == .f32 || type == .bf16, "weights are not exported as \(type)")
    let tokenizer = try tokenizer(of: checkpoint)
    let master = AlignedStorage(count: checkpoint.layout.count, filledWith: Float(0)).rows
    try wrapping(checkpoint: { () throws(CheckpointError) in
      try checkpoint.loadWeights(into: master)
    })
    try prepare(folder, isReplacing: isReplacing)
    let weights = try writeWeights(master, checkpoint.layout, as: type, to: folder)
    let shape = checkpoint.layout.shape
    var texts: [(String, [UInt8])] = [
      (generationName, Array(HuggingFaceConfig.generationJSON(tokenizer).utf8)),
      (HuggingFaceFolder.tokenizerName, tokenizer.json()),
      (
        HuggingFaceFolder.tokenizerConfigName,
        Array(tokenizerConfig(tokenizer, sequenceLength: shape.sequenceLength).utf8)
      ),
    ]
    if tokenizer.hasChatTokens {
      let mark = try ModelSource.checkpoint(checkpoint).isTuned() ? "" : untunedMark
      texts.append((HuggingFaceFolder.templateName, Array((mark + ChatTemplate.jinja).utf8)))
    }
    let config = HuggingFaceConfig.json(shape, type: type, tokenizer: tokenizer)
    texts.append((HuggingFaceConfig.fileName, Array(config.utf8)))
    for (name, bytes) in texts {
      try wrapping { () throws(SystemError) in try Files.write(bytes, to: "\(folder)/\(name)") }
    }
    return [weights] + texts.map { Written(name: $0.0, byteCount: $0.1.count) }
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
