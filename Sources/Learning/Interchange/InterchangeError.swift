public import Checkpoints
public import Settings
public import System
public import Tokenization

/// Why a model cannot be taken from, or given to, another program.
public enum InterchangeError: Error, Equatable, Sendable {
  case system(SystemError)
  case checkpoint(CheckpointError)
  case tokenizer(file: String, TokenizerError)
  /// The folder holds neither a checkpoint nor a Hugging Face model.
  case noModel(path: String)
  case missing(file: String)
  case malformed(file: String, problem: String)
  /// The model is of a kind that this program does not train.
  case unsupported(file: String, key: String, found: String, supported: String)
  case weights(file: String, SafetensorsError)
  case tensorMissing(name: String, path: String)
  /// A tensor that the model has no place for: a bias, say.
  case tensorUnknown(name: String, file: String)
  case tensorShape(name: String, found: [Int], expected: [Int])
  case tensorType(name: String, found: String)
  /// NaN or infinity.
  case notFinite(name: String)
  /// `tie_word_embeddings`, but the file's head is another matrix than its embedding.
  case tiedHeadDiffers(file: String)
  /// A checkpoint whose reward model cannot score what the run's model says.
  case rewardModel(path: String, problem: String)
  /// There is something in the folder that was to be written.
  case folderNotEmpty(path: String)
}

extension InterchangeError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .system(let error): "\(error)"
    case .checkpoint(let error): "\(error)"
    case .tokenizer(let file, let error): "\(file): \(error)"
    case .noModel(let path):
      "\(path) holds no model: neither a checkpoint (manifest.json), nor a run (checkpoints), nor "
        + "a Hugging Face model (config.json)"
    case .missing(let file): "\(file) is missing"
    case .malformed(let file, let problem): "\(file): \(problem)"
    case .unsupported(let file, let key, let found, let supported):
      "\(file): \"\(key)\" is \(found); supported: \(supported)"
    case .weights(let file, let error): "\(file): \(error)"
    case .tensorMissing(let name, let path): "\(path): tensor \(name) is missing"
    case .tensorUnknown(let name, let file):
      "\(file): tensor \(name) has no place in the model that config.json describes"
    case .tensorShape(let name, let found, let expected):
      "tensor \(name) has the shape \(found); config.json asks for \(expected)"
    case .tensorType(let name, let found):
      "tensor \(name) is of type \(found); supported: F32, BF16, F16"
    case .notFinite(let name): "tensor \(name) holds a number that is not finite"
    case .tiedHeadDiffers(let file):
      "\(file): \"tie_word_embeddings\" is true, but lm_head.weight differs from "
        + "model.embed_tokens.weight; set it to false if the head is its own matrix"
    case .rewardModel(let path, let problem): "\(path) \(problem)"
    case .folderNotEmpty(let path):
      "\(path) is not empty; name another folder, or add --force to write over the files in it"
    }
  }
}

/// Runs calls to the file system and wraps their error.
func wrapping<R: ~Copyable>(
  _ body: () throws(SystemError) -> R
) throws(InterchangeError) -> R {
  do {
    return try body()
  } catch {
    throw .system(error)
  }
}

/// Runs calls to a checkpoint and wraps their error.
func wrapping<R: ~Copyable>(
  checkpoint body: () throws(CheckpointError) -> R
) throws(InterchangeError) -> R {
  do {
    return try body()
  } catch {
    throw .checkpoint(error)
  }
}

extension InterchangeError {
  /// What a program ends with.
  public var exitCode: ExitCode {
    switch self {
    case .system(let error), .checkpoint(.system(let error)):
      error.isNotFound ? .noInput : .inputOutput
    case .missing, .noModel, .checkpoint(.noneUsable): .noInput
    case .folderNotEmpty: .usage
    case .rewardModel: .badPlan
    default: .badData
    }
  }
}
