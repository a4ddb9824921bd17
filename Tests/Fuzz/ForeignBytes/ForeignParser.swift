/// A reader of bytes that came from elsewhere, with input that it takes.
///
/// Fuzzer and tests drive the same list: whatever the bytes are, reading ends with a value or with
/// an error, never with a trap. A reader that can write checks itself, too: what it writes reads
/// back as the same, else it stops the process.
public struct ForeignParser: Sendable {
  public let name: String
  private let makeSeeds: @Sendable () -> [[UInt8]]
  private let read: @Sendable ([UInt8]) -> Void

  init(
    _ name: String, seeds: @escaping @Sendable () -> [[UInt8]],
    read: @escaping @Sendable ([UInt8]) -> Void
  ) {
    self.name = name
    makeSeeds = seeds
    self.read = read
  }

  /// Small valid inputs, written by the code under test where it can write.
  public var seeds: [[UInt8]] { makeSeeds() }

  public func parse(_ bytes: [UInt8]) { read(bytes) }

  public static let all: [ForeignParser] =
    wireParsers + controlParsers + settingsParsers + checkpointParsers + textParsers
    + recordParsers

  public static func named(_ name: String) -> ForeignParser? { all.first { $0.name == name } }
}

/// Stops the process unless the two are equal; the fuzzer keeps the input then.
func requireSame<Value: Equatable>(
  _ value: Value, _ expected: Value, _ what: @autoclosure () -> String
) {
  precondition(value == expected, "\(what()): \(value) instead of \(expected)")
}

/// The little-endian bytes of a number.
func littleEndianBytes(_ number: some FixedWidthInteger) -> [UInt8] {
  (0..<number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
}

extension [UInt8] {
  /// Whole little-endian words; bytes behind the last one are left out.
  var words: [UInt64] {
    stride(from: 0, to: count / 8 * 8, by: 8).map { start in
      self[start..<start + 8].reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    }
  }
}
