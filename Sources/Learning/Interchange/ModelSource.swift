public import Checkpoints
internal import Settings
internal import System
public import Tensors
public import Tokenization

/// A model to start from: a checkpoint of this program, or a Hugging Face folder.
public enum ModelSource: Sendable {
  case checkpoint(CheckpointReader)
  case huggingFace(HuggingFaceFolder)

  /// - Parameter path: A run, a checkpoint, or a Hugging Face folder.
  public init(opening path: String) throws(InterchangeError) {
    if Files.exists("\(path)/manifest.json") || Files.exists("\(path)/checkpoints") {
      self = .checkpoint(
        try wrapping(checkpoint: { () throws(CheckpointError) in
          try CheckpointReader.open(path)
        }))
    } else if Files.exists("\(path)/\(HuggingFaceConfig.fileName)") {
      self = .huggingFace(try HuggingFaceFolder(path))
    } else {
      throw .noModel(path: path)
    }
  }

  public var path: String {
    switch self {
    case .checkpoint(let reader): reader.path
    case .huggingFace(let folder): folder.path
    }
  }

  public var shape: ModelShape {
    switch self {
    case .checkpoint(let reader): reader.layout.shape
    case .huggingFace(let folder): folder.shape
    }
  }

  /// The tokenizer that the model reads with.
  ///
  /// - Throws: also ``InterchangeError/missing(file:)``; a model without its tokenizer is no start.
  public func tokenizer() throws(InterchangeError) -> Tokenizer {
    let file = "\(path)/\(HuggingFaceFolder.tokenizerName)"
    let json: [UInt8]?
    switch self {
    case .checkpoint(let reader):
      json = try wrapping(checkpoint: { () throws(CheckpointError) in try reader.tokenizer() })
    case .huggingFace(let folder): json = try folder.tokenizer()
    }
    guard let json else { throw .missing(file: file) }
    let tokenizer: Tokenizer
    do { tokenizer = try Tokenizer.load(json: json) } catch { throw .tokenizer(file: file, error) }
    guard tokenizer.vocabularySize <= shape.vocabularySize else {
      throw .malformed(
        file: file,
        problem: "it has \(tokenizer.vocabularySize) ids, the model only \(shape.vocabularySize)")
    }
    return tokenizer
  }

  /// Whether the model has learned to chat in the way that this program chats.
  public func isTuned() throws(InterchangeError) -> Bool {
    switch self {
    case .checkpoint(let reader):
      let json = try wrapping(checkpoint: { () throws(CheckpointError) in try reader.plan() })
      let plan: ResolvedPlan
      do {
        plan = try ResolvedPlan(planJSON: String(decoding: json, as: UTF8.self))
      } catch {
        throw .malformed(file: "\(path)/plan.resolved.json", problem: error.message)
      }
      return reader.state.isTuned(by: plan)
    case .huggingFace(let folder):
      guard try folder.hasChatTemplate() else { return false }
      return try tokenizer().hasChatTokens
    }
  }

  /// Reads the weights into their flat space, `[ParameterLayout(shape).count]`.
  public func loadWeights(into master: SharedRows<Float>) throws(InterchangeError) {
    switch self {
    case .checkpoint(let reader):
      try wrapping(checkpoint: { () throws(CheckpointError) in
        try reader.loadWeights(into: master)
      })
    case .huggingFace(let folder): try folder.loadWeights(into: master)
    }
  }
}
