package import Settings
internal import System
internal import Tokenization

/// A row that was read, and where it stood.
public struct Example: Equatable, Sendable {
  public let row: ExampleRow
  /// `FILE, line N`, or `FILE, row N` of a list or of the world.
  public let place: String
}

/// Rows that were passed over, counted by reason.
public struct RowsPassedOver: Equatable, Sendable {
  public private(set) var counts: [String: Int] = [:]
  /// `PLACE: REASON` of the first ones.
  public private(set) var first: [String] = []
  public var count: Int { counts.values.reduce(0, +) }

  public init() {}

  mutating func add(_ place: String, _ reason: String) {
    counts[reason, default: 0] += 1
    if first.count < 3 { first.append("\(place): \(reason)") }
  }
}

extension RowsPassedOver: CustomStringConvertible {
  /// The commonest reasons with their counts, then the first rows.
  public var description: String {
    guard count > 0 else { return "there are no rows" }
    return "\(count) rows passed over (\(reasons)); the first: " + first.joined(separator: "; ")
  }

  /// The commonest reasons with their counts.
  public var reasons: String {
    let ranked = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    var reasons = ranked.prefix(5).map { "\($0.value) times \"\($0.key)\"" }
    let rest = ranked.count - reasons.count
    if rest > 0 { reasons.append("\(rest) more reasons") }
    return reasons.joined(separator: ", ")
  }
}

extension TextSource {
  /// Every row of its files: the lines of .jsonl files, the elements of .json lists.
  ///
  /// - Parameter isStrict: Whether a row that is no example ends the reading; otherwise it is
  ///   counted in `passedOver`.
  /// - Throws: ``CorpusError``, with file, line and reason.
  public func examples(
    isStrict: Bool, passedOver: inout RowsPassedOver
  ) throws(CorpusError) -> [Example] {
    guard case .files(let files) = origin else {
      preconditionFailure("the world makes its examples itself")
    }
    var found: [Example] = []
    for file in files {
      let bytes: [UInt8]
      do { bytes = try Files.read(file.path) } catch { throw .system(error) }
      let plain = try Self.decompress(bytes, path: file.path)
      try Self.forEachRow(of: plain, path: file.path) { (place, node) throws(CorpusError) in
        do throws(RowProblem) {
          switch node {
          case .success(let node):
            found.append(Example(row: try RowReader.read(node), place: place))
          case .failure(let error): throw error
          }
        } catch {
          guard !isStrict else { throw .badRow(place: place, reason: error.reason) }
          passedOver.add(place, error.reason)
        }
      }
    }
    return found
  }

  /// Calls `body` with every row of a file's plain bytes.
  package static func forEachRow(
    of bytes: [UInt8], path: String,
    _ body: (String, Result<JSONNode, RowProblem>) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    if let bad = firstInvalidUTF8(in: bytes, range: 0..<bytes.count) {
      throw .invalidUTF8(path: path, byteOffset: bad)
    }
    let first = bytes.first { !isBlank($0) }
    if first == UInt8(ascii: "[") { return try forEachElement(of: bytes, path, body) }
    for (number, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
      .enumerated() where !line.allSatisfy(isBlank)
    {
      let node: Result<JSONNode, RowProblem>
      do { node = .success(try JSONReader.read(Array(line))) } catch {
        node = .failure(RowProblem("column \(error.span.column): \(error.reason)"))
      }
      try body("\(path), line \(number + 1)", node)
    }
  }

  private static func forEachElement(
    of bytes: [UInt8], _ path: String,
    _ body: (String, Result<JSONNode, RowProblem>) throws(CorpusError) -> Void
  ) throws(CorpusError) {
    let list: JSONNode
    do { list = try JSONReader.read(bytes) } catch {
      throw .badRow(
        place: "\(path), line \(error.span.line), column \(error.span.column)",
        reason: "\(error.reason). A list is read whole; a file with a row on each line is not")
    }
    for (index, node) in (list.elements ?? []).enumerated() {
      try body("\(path), row \(index + 1)", .success(node))
    }
  }

  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }
}
