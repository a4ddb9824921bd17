internal import Checkpoints
internal import ControlProtocol
internal import Corpus
internal import Planning
internal import Settings
internal import System
internal import Tensors

/// Tokens and state for the feeders: any operation's slices, any chunk of the newest checkpoint.
final class TrainingSource: FeedSource {
  let plan: ResolvedPlan
  private let program: PhaseProgram
  /// By phase index.
  private let corpora: [Int: Corpus]
  private let runDirectory: String
  private let layout: StateChunks
  private let newest = Monitor<(reader: CheckpointReader, position: Int)?>(nil)

  init(
    plan: ResolvedPlan, program: PhaseProgram, corpora: [Int: Corpus], runDirectory: String,
    checkpoint: CheckpointReader?, checkpointPosition: Int?
  ) {
    self.plan = plan
    self.program = program
    self.corpora = corpora
    self.runDirectory = runDirectory
    layout = StateChunks(count: ParameterLayout(plan.model).count)
    guard let checkpoint, let checkpointPosition else { return }
    newest.update { $0 = (checkpoint, checkpointPosition) }
  }

  var chunkCount: Int { layout.chunkCount }

  func tokens(at position: Int) throws(CorpusError) -> [UInt8] {
    let slices = 0..<plan.batch.slices
    switch program.operation(at: position) {
    case .train(let phase, let step):
      guard let corpus = corpora[phase] else { return [] }
      return TokenSliceCoding.encode(
        try slices.map { (slice) throws(CorpusError) in
          try corpus.slice(
            step: step, slice: slice, batch: plan.batch,
            sequenceLength: plan.model.sequenceLength, seed: plan.seed, phase: phase)
        })
    case .validate(let phase, _, let isFull):
      guard let corpus = corpora[phase] else { return [] }
      return TokenSliceCoding.encode(
        slices.map {
          corpus.validationSlice(
            slice: $0, sliceCount: plan.batch.slices,
            sequenceLength: plan.model.sequenceLength, tokenLimit: tokenLimit(phase, isFull))
        })
    case .end: return []
    }
  }

  /// Predictions of a validation and the bytes of text they stand for.
  func coverage(phase: Int, isFull: Bool) -> (tokenCount: Int, byteCount: Int) {
    corpora[phase]?.validation.coverage(
      sequenceLength: plan.model.sequenceLength, tokenLimit: tokenLimit(phase, isFull)) ?? (0, 0)
  }

  private func tokenLimit(_ phase: Int, _ isFull: Bool) -> Int? {
    isFull ? nil : plan.phases[phase].validation.tokenLimit
  }

  func stateChunk(_ chunk: Int, at position: Int) -> [UInt8]? {
    guard let (reader, found) = newest.update({ $0 }), found == position else { return nil }
    return try? reader.readChunk(chunk)
  }

  /// From now on state comes from this checkpoint.
  func noteCheckpoint(_ name: String, at position: Int) {
    let path = "\(CheckpointFolder.path(inRun: runDirectory))/\(name)"
    if let reader = try? CheckpointReader(path) { newest.update { $0 = (reader, position) } }
  }
}
