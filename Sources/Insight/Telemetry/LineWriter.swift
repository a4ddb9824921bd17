internal import FoundationEssentials
internal import System

/// Appends lines to a file, one write each, so that a reader never sees half a line for long and a
/// kill costs at most the line being written.
///
/// A torn last line that an earlier process left is cut off when the file is opened.
final class LineWriter {
  private let file: File
  private var byteCount: Int

  init(_ path: String) throws(TelemetryError) {
    let file = try wrapping { () throws(SystemError) in try File(path, .append) }
    self.file = file
    byteCount = try wrapping { () throws(SystemError) in
      let whole = try Self.wholeByteCount(file)
      if try file.byteCount() != whole { try file.truncate(to: whole) }
      return whole
    }
  }

  /// Bytes up to and including the last line feed.
  private static func wholeByteCount(_ file: File) throws(SystemError) -> Int {
    var end = try file.byteCount()
    while end > 0 {
      let start = max(0, end - 65_536)
      let block = try file.read(at: start, byteCount: end - start)
      if let last = block.lastIndex(of: 0x0A) { return start + last + 1 }
      end = start
    }
    return 0
  }

  /// Whether nothing was written yet, in this process or before.
  var isEmpty: Bool { byteCount == 0 }

  /// The newest lines, oldest first; fewer where they are longer than 4 KiB together.
  func lastLines(_ count: Int) throws(TelemetryError) -> [String] {
    let bytes = try wrapping { () throws(SystemError) in
      let start = max(0, byteCount - 4096)
      return try file.read(at: start, byteCount: byteCount - start)
    }
    return bytes.split(separator: 0x0A).suffix(count).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Appends `line` and a line feed. After a failure the file is as it was before.
  ///
  /// - Precondition: `line` has no line feed.
  func append(_ line: String) throws(TelemetryError) {
    let bytes = Array(line.utf8) + [0x0A]
    precondition(bytes.firstIndex(of: 0x0A) == bytes.count - 1, "a line has no line feed inside")
    do {
      try file.append(bytes)
      byteCount += bytes.count
    } catch {
      // If cutting fails as well, the next opening cuts.
      try? file.truncate(to: byteCount)
      throw .system(error)
    }
  }

  /// Returns when all lines are on the disk.
  func synchronize() throws(TelemetryError) {
    try wrapping { () throws(SystemError) in try file.synchronize() }
  }
}

/// One line of JSON, keys sorted.
func jsonLine<Value: Encodable>(_ value: Value) throws(TelemetryError) -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  do {
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  } catch let EncodingError.invalidValue(_, context) {
    throw .notEncodable(key: context.codingPath.map(\.stringValue).joined(separator: "."))
  } catch {
    throw .notEncodable(key: "\(Value.self)")
  }
}

/// The values of a file's whole lines, and how many lines did not hold one.
func jsonLines<Value: Decodable>(_ type: Value.Type, in bytes: ArraySlice<UInt8>) -> (
  values: [Value], unreadableCount: Int
) {
  let decoder = JSONDecoder()
  var values: [Value] = []
  var unreadableCount = 0
  for line in bytes.split(separator: 0x0A) {
    do {
      values.append(try decoder.decode(type, from: Data(line)))
    } catch {
      unreadableCount += 1
    }
  }
  return (values, unreadableCount)
}
