internal import Checkpoints
internal import Settings
internal import System
public import Tensors
internal import Tokenization

/// Takes a Hugging Face model in: a folder with a verified checkpoint, and a plan to start from it.
///
///     checkpoints/pretrain-0/   weights as f32, zero moments
///     tokenizer.json
///     plan.json                 its sizes, and `initialization.from`; written last
///
/// The commands that take a run take the folder: generate, evaluate, export, digest.
public enum HuggingFaceImport {
  public struct Report: Codable, Equatable, Sendable {
    public let checkpoint: String
    public let plan: String
    public let parameterCount: Int
    public let model: ModelShape
  }

  /// - Parameter out: A new or empty folder.
  public static func write(_ path: String, to out: String) throws(InterchangeError) -> Report {
    let folder = try HuggingFaceFolder(path)
    let source = ModelSource.huggingFace(folder)
    let tokenizer = try source.tokenizer()
    let isEmpty = try wrapping { () throws(SystemError) in
      guard try Files.info(out) != nil else { return true }
      return try Files.list(out).isEmpty
    }
    guard isEmpty else { throw .folderNotEmpty(path: out) }
    let text = plan(of: folder.shape, tokenizer, importedFrom: path, to: out)
    let resolved: ResolvedPlan
    do {
      resolved = try PlanResolver.resolve(text: text, path: "\(out)/plan.json").plan
    } catch {
      throw .malformed(
        file: "\(path)/\(HuggingFaceConfig.fileName)",
        problem: error.issues.map(\.summary).joined(separator: "; "))
    }
    let json = tokenizer.json()
    let phase = resolved.phases.firstIndex { $0.kind != .tokenizer } ?? 0
    let checkpoint = try StartCheckpoint.write(
      source, for: resolved, phaseIndex: phase, tokenizer: json, inRun: out)
    try wrapping { () throws(SystemError) in
      try Files.write(json, to: "\(out)/\(HuggingFaceFolder.tokenizerName)")
      try Files.write(text, to: "\(out)/plan.json")
    }
    return Report(
      checkpoint: checkpoint, plan: "\(out)/plan.json",
      parameterCount: folder.layout.parameterCount, model: folder.shape)
  }

  /// A plan with everything that follows from the model; data, steps and rate are the user's.
  private static func plan(
    of shape: ModelShape, _ tokenizer: Tokenizer, importedFrom path: String, to out: String
  ) -> String {
    let plan = JSONNode.object([
      ("name", .text(name(Files.name(of: out)))),
      (
        "model",
        .object([
          ("layers", .integer(shape.layerCount)),
          ("width", .integer(shape.modelWidth)),
          ("heads", .integer(shape.headCount)),
          ("key_value_heads", .integer(shape.keyValueHeadCount)),
          ("head_width", .integer(shape.headWidth)),
          ("feed_forward", .integer(shape.feedForwardWidth)),
          ("vocabulary", .integer(shape.vocabularySize)),
          ("context", .integer(shape.sequenceLength)),
          ("tied_head", .flag(shape.isHeadTied)),
          ("rope_theta", .decimal(shape.ropeTheta)),
          ("norm_epsilon", .decimal(shape.normEpsilon)),
        ])
      ),
      ("initialization", .object([("from", .text(out))])),
      (
        "tokenizer",
        .object([
          ("kind", .text(tokenizer.kind.rawValue)),
          ("vocabulary", .integer(tokenizer.vocabularySize)),
          ("splitter", .text(tokenizer.splitter.rawValue)),
        ])
      ),
    ])
    let shown = path.filter { !$0.isNewline }
    return """
      // Made by cox import from \(shown): a model to go on from.
      // Give the text with --data PATH or a "data" section; set phases[].steps and
      // phases[].schedule.peak for what you mean to do. A shorter model.context is fine.
      \(plan.jsonText())
      """
  }

  /// `text` as the name of a run.
  private static func name(_ text: String) -> String {
    let plain = text.unicodeScalars.map { scalar -> Character in
      let isPlain = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9") ~= scalar)
      return isPlain || scalar == "_" || scalar == "-" ? Character(scalar) : "-"
    }
    return plain.isEmpty ? "imported" : String(plain.prefix(64))
  }
}
