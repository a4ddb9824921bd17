import Checkpoints
import System
import Tensors

/// Runs `body` in a new folder that is removed afterwards.
@discardableResult
func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-test")
  defer { try? Files.removeTree(folder) }
  return try body(folder)
}

/// A run's state in memory, small enough for a test: widths that are multiples of nothing, so that
/// the layout has padding between tensors.
struct SampleState {
  let layout: ParameterLayout
  let master: SharedRows<Float>
  let firstMoment: SharedRows<Float>
  let secondMoment: SharedRows<Float>
  var state: CheckpointState

  /// - Parameter vocabularySize: 4600 and more make every part larger than one chunk.
  init(vocabularySize: Int = 37, step: Int = 40, phaseIndex: Int = 1, salt: Int = 0) {
    let shape = ModelShape(
      layerCount: 2, modelWidth: 234, headCount: 6, keyValueHeadCount: 2, headWidth: 10,
      feedForwardWidth: 51, vocabularySize: vocabularySize, sequenceLength: 16, isHeadTied: true)
    let layout = ParameterLayout(shape)
    self.layout = layout
    func part(_ number: Int) -> SharedRows<Float> {
      let rows = AlignedStorage<Float>(count: layout.count, filledWith: 0).rows
      for parameter in layout.parameters {
        rows[parameter.range].withMutableSpan { span in
          for index in span.indices {
            let mixed = UInt32(truncatingIfNeeded: index &* 2_654_435_761 &+ number &+ salt &* 7)
            span[index] = Float(mixed % 65_521) / 1024 - 30
          }
        }
      }
      return rows
    }
    master = part(1)
    firstMoment = part(2)
    secondMoment = part(3)
    state = CheckpointState(
      run: "sample", phaseIndex: phaseIndex, phaseName: "pretrain", step: step,
      position: step, schedulePosition: step, tokensTotal: 12_345 + UInt64(step),
      dataCursor: UInt64(8 * step),
      profile: "portable", layout: StateLayout(training: shape))
  }

  var windows: [SharedRows<Float>] { [master, firstMoment, secondMoment] }

  func bytes(_ writer: CheckpointWriter, _ index: Int) -> [UInt8] {
    writer.chunks.bytes(of: index, in: windows)
  }

  var digest: String {
    Digest.hex(
      layout: state.layout, parts: windows, phaseIndex: state.phaseIndex,
      step: state.step, tokensTotal: state.tokensTotal)
  }

  func writer(in run: String) throws(CheckpointError) -> CheckpointWriter {
    try CheckpointWriter(
      runDirectory: run, state: state, tokenizer: Array("{}".utf8),
      plan: Array("{\"name\": \"sample\"}".utf8))
  }

  /// Writes the whole checkpoint and returns its folder.
  @discardableResult
  func save(in run: String) throws(CheckpointError) -> String {
    let writer = try writer(in: run)
    for index in (0..<writer.chunks.chunkCount).reversed() {
      try writer.writeChunk(index: index, bytes: bytes(writer, index))
    }
    try writer.commit()
    return writer.path
  }
}

/// Turns one bit of a file around.
func flipBit(at offset: Int, of path: String) throws {
  let file = try File(path, .update)
  let byte = try file.read(at: offset, byteCount: 1)[0]
  try file.write([byte ^ 0x10], at: offset)
}
