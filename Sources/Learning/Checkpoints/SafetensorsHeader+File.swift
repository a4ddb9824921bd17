public import System

/// Why a safetensors file cannot be opened.
public enum SafetensorsFileError: Error, Equatable, Sendable {
  case system(SystemError)
  case format(SafetensorsError)
}

extension SafetensorsHeader {
  /// Reads the header of the file at `path`.
  public init(readingFrom path: String) throws(SafetensorsFileError) {
    let file = try wrapping { () throws(SystemError) in try File(path, .read) }
    let fileByteCount = try wrapping { () throws(SystemError) in try file.byteCount() }
    let prefix = try wrapping { () throws(SystemError) in
      try file.read(at: 0, byteCount: min(8, fileByteCount))
    }
    let count: Int
    do {
      count = try Self.jsonByteCount(prefix: prefix, fileByteCount: fileByteCount)
    } catch {
      throw .format(error)
    }
    let json = try wrapping { () throws(SystemError) in try file.read(at: 8, byteCount: count) }
    guard json.count == count else { throw .format(.tooShort(byteCount: fileByteCount)) }
    do {
      try self.init(json: json, fileByteCount: fileByteCount)
    } catch {
      throw .format(error)
    }
  }
}

private func wrapping<R>(
  _ body: () throws(SystemError) -> R
) throws(SafetensorsFileError) -> R {
  do {
    return try body()
  } catch {
    throw .system(error)
  }
}
