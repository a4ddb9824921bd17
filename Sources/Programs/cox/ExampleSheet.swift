import Checkpoints
import Corpus
import Evaluation
import Settings
import Telemetry
import Tensors

/// Conversations or pairs that a model is measured on, and where they come from.
struct ExampleSheet {
  /// A file, or one of the words held-back and world.
  let source: String
  /// Each a window of its own; of a pair two, chosen then rejected.
  let sequences: [TokenSlice.Sequence]
  let count: Int
  /// How many the source has.
  let totalCount: Int

  /// - Parameters:
  ///   - agreement: How often the labels of the world's pairs follow the rule.
  ///   - limit: At most so many, evenly spaced; all if nil.
  ///   - model: Whose run and world are meant where the source is a word.
  /// - Throws: ``PlainError`` if that has neither, `CorpusError` for a bad file.
  init(
    _ source: String, _ form: ExampleCorpus.Form, agreement: Double = 1, limit: Int?,
    for model: SavedModel
  ) throws {
    let all = try withProgress("reading \(source)") { progress in
      let reader = Reader(form: form, agreement: agreement, model: model, progress: progress)
      return switch source {
      case "held-back": try reader.heldBack()
      case "world": try reader.world()
      default: try reader.all(ExampleChoice(source: .path(source)))
      }
    }
    let places = Array(stride(from: 0, to: all.count, by: form.width))
    self.source = source
    totalCount = places.count
    let chosen = places.evenly(limit)
    count = chosen.count
    sequences = chosen.flatMap { all[$0..<$0 + form.width] }
  }
}

private struct Reader {
  let form: ExampleCorpus.Form
  let agreement: Double
  let model: SavedModel
  let progress: ProgressLine

  private func tell(_ event: CorpusEvent) {
    progress.end()
    note("\(event)")
  }

  /// Every example of a file or a world.
  func all(_ choice: ExampleChoice) throws -> [TokenSlice.Sequence] {
    // As in training: a position more than a scored answer has tokens reads its end.
    let room = form == .pairs ? 1 : 0
    return try ExampleCorpus.all(
      form, choice, tokenizer: model.tokenizer,
      sequenceLength: model.plan.model.sequenceLength - room, event: tell,
      progress: progress.update
    ).sequences
  }

  /// Those about questions that training never asks.
  func world() throws -> [TokenSlice.Sequence] {
    let choice = ExampleChoice(
      source: .world(seed: try EvaluateCommand.world(of: model).seed, documents: 0),
      exampleCount: 1, agreement: agreement)
    // Row 0 is one that training may read.
    return try all(choice).filter { $0.row >= choice.exampleCount }
  }

  /// What the newest phase on such examples held back; where none came yet, the first to come does.
  func heldBack() throws -> [TokenSlice.Sequence] {
    let state = model.checkpoint.state
    let kind: ResolvedPlan.Phase.Kind = form == .pairs ? .reward : .sft
    let phases = model.plan.phases.indices.filter {
      model.plan.phases[$0].kind == kind && !model.plan.phases[$0].samples
    }
    guard let phase = phases.last(where: { $0 <= state.phaseIndex }) ?? phases.first else {
      throw PlainError(
        "the plan of \(model.checkpoint.path) has no \(kind.rawValue) phase on given "
          + "\(form.rawValue): name a file", .badData)
    }
    return try ExampleCorpus(
      model.plan, phase: phase, tokenizer: model.tokenizer,
      expectedTextDigest: state.textDigests?[phase], event: tell, progress: progress.update
    ).validationSlice(slice: 0, sliceCount: 1, rowLimit: nil).sequences
  }
}
