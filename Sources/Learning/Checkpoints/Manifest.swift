internal import FoundationEssentials
internal import System
internal import Tensors

/// What a checkpoint consists of. Written last: a folder without it is not a checkpoint.
package struct Manifest: Codable, Equatable {
  static let fileName = "manifest.json"
  static let knownFormat = 1
  /// Far above any real one: 40 bytes per chunk of 4 MiB.
  static let byteCountMax = 64 << 20

  struct Entry: Codable, Equatable {
    var name: String
    var bytes: Int
    var sha256: String
  }

  /// One tensor of the policy and where it starts in the flat files of its moments, counted in
  /// elements.
  struct Place: Codable, Equatable {
    var name: String
    var shape: [Int]
    var offset: Int
  }

  var format: Int
  var files: [Entry]
  /// Elements of the policy's flat space, padding between tensors included.
  var elementCount: Int
  /// In flat order.
  var tensors: [Place]
  /// CRC-32C of every chunk of the state, see ``StateLayout``.
  var chunkChecksums: [UInt32]

  func entry(_ name: String) -> Entry? { files.first { $0.name == name } }
}

extension Manifest {
  /// Reads the text of a manifest.
  package init(reading bytes: [UInt8]) throws(CheckpointError) {
    self = try decoded(Manifest.self, bytes, file: Self.fileName)
    guard format == Self.knownFormat else { throw .unknownFormat(format) }
    let needed = [
      CheckpointFile.name(of: .master(.policy)), CheckpointFile.state, CheckpointFile.plan,
    ]
    guard needed.allSatisfy({ entry($0) != nil }),
      files.allSatisfy({ !$0.name.contains("/") && !$0.name.hasPrefix(".") })
    else { throw .malformed(file: Self.fileName) }
  }
}

/// The names of a checkpoint's files.
enum CheckpointFile {
  static let state = "state.json"
  static let tokenizer = "tokenizer.json"
  static let plan = "plan.resolved.json"

  /// The file of a part of the state; the policy's have the names that other programs look for.
  static func name(of part: StateLayout.Part) -> String {
    func prefix(_ role: ModelRole) -> String { role == .policy ? "" : "\(role.rawValue)." }
    return switch part {
    case .master(.policy): "model.safetensors"
    case .master(let role): "\(role.rawValue).safetensors"
    case .firstMoment(let role): "\(prefix(role))first_moment.f32"
    case .secondMoment(let role): "\(prefix(role))second_moment.f32"
    case .rollouts: "rollouts.f32"
    }
  }
}

/// JSON with sorted snake_case keys, so that equal values have equal bytes.
func encoded<Value: Encodable>(
  _ value: Value, file: String
) throws(CheckpointError) -> [UInt8] {
  let encoder = JSONEncoder()
  encoder.keyEncodingStrategy = .convertToSnakeCase
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  do {
    return Array(try encoder.encode(value)) + [0x0A]
  } catch {
    throw .malformed(file: file)
  }
}

func decoded<Value: Decodable>(
  _ type: Value.Type, _ bytes: [UInt8], file: String
) throws(CheckpointError) -> Value {
  let decoder = JSONDecoder()
  decoder.keyDecodingStrategy = .convertFromSnakeCase
  do {
    return try decoder.decode(type, from: Data(bytes))
  } catch {
    throw .malformed(file: file)
  }
}

/// SHA-256 of a file, read in pieces.
func hexDigest(of file: File) throws(CheckpointError) -> String {
  let byteCount = try wrapping { () throws(SystemError) in try file.byteCount() }
  var hash = SHA256()
  var offset = 0
  while offset < byteCount {
    let start = offset
    let piece = try wrapping { () throws(SystemError) in
      try file.read(at: start, byteCount: min(4 << 20, byteCount - start))
    }
    guard !piece.isEmpty else { break }
    hash.update(piece)
    offset += piece.count
  }
  return hash.hexDigest
}
