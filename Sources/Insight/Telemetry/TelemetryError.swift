public import System

/// Why records cannot be written or read.
public enum TelemetryError: Error, Equatable, Sendable {
  case system(SystemError)
  /// A value that JSON cannot hold.
  case notEncodable(key: String)
  /// The folder is not a run's: it has neither a plan nor metrics.
  case notARun(path: String)
}

extension TelemetryError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .system(let error): "\(error)"
    case .notEncodable(let key): "\(key) cannot be written as JSON"
    case .notARun(let path): "\(path) is not a run: it holds no metrics.jsonl and no plan"
    }
  }
}

func wrapping<R: ~Copyable>(_ body: () throws(SystemError) -> R) throws(TelemetryError) -> R {
  do {
    return try body()
  } catch {
    throw .system(error)
  }
}

/// The names of a run's records.
public enum RunFile {
  public static let metrics = "metrics.jsonl"
  public static let events = "events.jsonl"
  public static let mfuLog = "mfu.log"
  public static let plan = "plan.resolved.json"
  public static let tensorBoard = "tensorboard"
}
