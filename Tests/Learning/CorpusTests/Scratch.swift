internal import Corpus
internal import Settings
internal import System
internal import Tensors
internal import Tokenization

/// A folder that goes away with the value.
final class Scratch {
  let path: String

  init() throws(SystemError) { path = try Files.createTemporaryDirectory(prefix: "corpus-tests") }

  deinit { try? Files.removeTree(path) }

  @discardableResult
  func write(_ text: String, to name: String) throws(SystemError) -> String {
    try write(Array(text.utf8), to: name)
  }

  @discardableResult
  func write(_ bytes: [UInt8], to name: String) throws(SystemError) -> String {
    try Files.createDirectory(Files.parent(of: "\(path)/\(name)"))
    try Files.write(bytes, to: "\(path)/\(name)")
    return "\(path)/\(name)"
  }
}

/// Real text that lies beside the repository, where there is any.
enum SampleData {
  static let directory: String = {
    if let given = environmentValue("COX_DATA") { return given }
    let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return parts.dropLast(4).joined(separator: "/") + "/../shared/data"
  }()

  static func path(_ name: String) -> String { "\(directory)/\(name)" }
  static func has(_ name: String) -> Bool { Files.exists(path(name)) }
}

typealias DataChoice = ResolvedPlan.DataChoice

/// A corpus of the generated world, as tests want it.
func worldCorpus(
  _ scratch: Scratch, documents: Int = 60, order: DataChoice.Order = .shuffled,
  attention: DataChoice.Attention = .window, shardTokenCount: Int = 1 << 25,
  events: (CorpusEvent) -> Void = { _ in }
) throws -> Corpus {
  try Corpus(
    data: DataChoice(
      source: .world(seed: 1, documents: documents), order: order, attention: attention),
    tokenizer: .bytes, cacheDirectories: ["\(scratch.path)/data"], sequenceLength: 32,
    shardTokenCount: shardTokenCount, event: events)
}

/// Every training token of the corpus in the order of the source.
func sourceTokens(documents: Int) throws -> [[UInt32]] {
  let world = World(seed: 1)
  return try (0..<documents).map { try Tokenizer.bytes.encode(world.document($0)) }
}

func batch(_ sequences: Int, slices: Int = 1) -> ResolvedPlan.Batch {
  ResolvedPlan.Batch(sequences: sequences, slices: slices, microbatch: 1)
}
