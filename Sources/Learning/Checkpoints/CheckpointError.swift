public import System

/// Why a checkpoint cannot be written or read.
public enum CheckpointError: Error, Equatable, Sendable {
  /// The file system refused, for example because the disk is full.
  case system(SystemError)
  case noSuchChunk(index: Int, count: Int)
  case chunkSize(index: Int, byteCount: Int, expected: Int)
  /// Two workers sent different bytes for one chunk: their states are not the same.
  case chunkDiffers(index: Int)
  case missingChunks(count: Int, first: Int)
  /// The writer has committed or aborted already.
  case closed
  /// A file that the manifest lists is not there.
  case missing(file: String)
  case sizeDiffers(file: String, byteCount: Int, expected: Int)
  case checksumDiffers(file: String)
  case chunkDamaged(index: Int)
  /// A JSON file of the checkpoint lacks something or holds something else.
  case malformed(file: String)
  /// Written in a format that this program does not know.
  case unknownFormat(Int)
  case weights(SafetensorsError)
  /// The weights lack a tensor, or it has another shape than the model says.
  case tensorDiffers(name: String)
  /// The checkpoint's model is not the caller's.
  case layoutDiffers(elementCount: Int, expected: Int)
  /// No checkpoint of the run verifies.
  case noneUsable(run: String)
}

extension CheckpointError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .system(let error): "\(error)"
    case .noSuchChunk(let index, let count): "there is no chunk \(index), only \(count)"
    case .chunkSize(let index, let byteCount, let expected):
      "chunk \(index) came with \(byteCount) bytes instead of \(expected)"
    case .chunkDiffers(let index): "two workers sent different bytes for chunk \(index)"
    case .missingChunks(let count, let first):
      "\(count) chunks are missing, the first is \(first)"
    case .closed: "the checkpoint is committed or aborted already"
    case .missing(let file): "\(file) is missing"
    case .sizeDiffers(let file, let byteCount, let expected):
      "\(file) holds \(byteCount) bytes instead of \(expected)"
    case .checksumDiffers(let file): "\(file) is damaged (checksum differs)"
    case .chunkDamaged(let index): "chunk \(index) is damaged (checksum differs)"
    case .malformed(let file): "\(file) cannot be read"
    case .unknownFormat(let format): "format \(format) is unknown to this program"
    case .weights(let error): "model.safetensors: \(error)"
    case .tensorDiffers(let name): "tensor \(name) is missing or has another shape"
    case .layoutDiffers(let elementCount, let expected):
      "the checkpoint holds \(elementCount) elements per part, the model \(expected)"
    case .noneUsable(let run): "no checkpoint of \(run) is usable"
    }
  }
}

/// Runs calls to the file system and wraps their error.
func wrapping<R: ~Copyable>(
  _ body: () throws(SystemError) -> R
) throws(CheckpointError) -> R {
  do {
    return try body()
  } catch {
    throw .system(error)
  }
}
