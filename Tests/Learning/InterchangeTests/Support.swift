import Checkpoints
import Interchange
import Settings
import System
import Tensors
import Tokenization

/// Runs `body` in a new folder that is removed afterwards.
@discardableResult
func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-test")
  defer { try? Files.removeTree(folder) }
  return try body(folder)
}

/// A small model with values of its own in every element, and the checkpoint that holds it.
struct SampleModel {
  static let plan = """
    {
      "name": "sample",
      "model": {
        "layers": 2, "width": 20, "heads": 4, "key_value_heads": 2, "head_width": 6,
        "feed_forward": 10, "vocabulary": 263, "context": 16, "tied_head": TIED,
      },
      "tokenizer": { "kind": "bytes" },
    }
    """

  let plan: ResolvedPlan
  let layout: ParameterLayout
  let master: SharedRows<Float>

  init(isHeadTied: Bool = false) throws {
    plan = try PlanResolver.resolve(
      text: Self.plan.replacing("TIED", with: "\(isHeadTied)"), path: "sample.json"
    ).plan
    layout = ParameterLayout(plan.model)
    master = AlignedStorage(count: layout.count, filledWith: Float(0)).rows
    for parameter in layout.parameters {
      for index in parameter.range {
        // 24 bits each, so that rounding to bf16 changes nearly all of them.
        let mixed = UInt32(truncatingIfNeeded: index &* 2_654_435_761)
        master[index] = (Float(mixed >> 8) / 8_388_608 - 1) / 3
      }
    }
  }

  /// Writes a checkpoint at step 3 and opens it.
  func save(inRun run: String) throws -> CheckpointReader {
    let state = CheckpointState(
      run: plan.name, phaseIndex: 1, phaseName: "pretrain", step: 3, position: 3,
      schedulePosition: 3, tokensTotal: 1, dataCursor: 1, profile: "portable",
      layout: StateLayout(training: plan.model))
    let writer = try CheckpointWriter(
      runDirectory: run, state: state, tokenizer: Tokenizer.bytes.json(),
      plan: Array(plan.planJSON().utf8))
    for chunk in 0..<writer.chunks.chunkCount {
      let bytes = writer.chunks.bytes(of: chunk, in: [master, master, master])
      try writer.writeChunk(index: chunk, bytes: bytes)
    }
    try writer.commit()
    return try CheckpointReader(writer.path)
  }

  /// Exports the model into `folder`, and gives its weights file as bytes.
  @discardableResult
  func export(
    to folder: String, as type: SafetensorsHeader.ElementType = .f32, isReplacing: Bool = false
  ) throws -> [HuggingFaceExport.Written] {
    try withTemporaryDirectory { run in
      try HuggingFaceExport.write(
        save(inRun: run), as: type, to: folder, isReplacing: isReplacing)
    }
  }
}

/// Tensors as a safetensors file.
func safetensors(
  _ tensors: [(name: String, type: SafetensorsHeader.ElementType, shape: [Int], bytes: [UInt8])]
) -> [UInt8] {
  var offset = 0
  var members: [String] = []
  for tensor in tensors {
    let end = offset + tensor.bytes.count
    let shape = tensor.shape.map(String.init).joined(separator: ",")
    members.append(
      "\"\(tensor.name)\":{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],"
        + "\"data_offsets\":[\(offset),\(end)]}")
    offset = end
  }
  let json = Array("{\(members.joined(separator: ","))}".utf8)
  let prefix = (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) }
  return prefix + json + tensors.flatMap(\.bytes)
}

/// What a test wanted to change is not in the file.
struct NothingToEdit: Error {
  let path: String
  let text: String
}

/// Replaces one piece of a file's text, which must be there.
func edit(_ path: String, _ old: String, _ new: String) throws {
  let text = String(decoding: try Files.read(path), as: UTF8.self)
  guard text.contains(old) else { throw NothingToEdit(path: path, text: old) }
  try Files.write(text.replacing(old, with: new, maxReplacements: 1), to: path)
}
