import Checkpoints
import Corpus
import Evaluation
import Operators
import Settings
import System
import Telemetry
import Tensors

/// Pairs of answers: how well a reward model foretells which one was preferred.
extension EvaluateCommand {
  static func scorePairs(_ invocation: Invocation) throws -> Int32 {
    let model = try SavedModel(invocation.text("run") ?? "", role: .reward, invocation)
    let all = try pairs(invocation, model)
    let places = Array(stride(from: 0, to: all.count, by: 2)).evenly(invocation.integer("limit"))
    var test = PairTest(model.weights, engine: model.engine, tokenizer: model.tokenizer)
    let scored = try withProgress("scoring pairs") { progress in
      try test.scores(of: places.flatMap { all[$0..<$0 + 2] }, progress: progress.update)
    }
    guard let summary = PairSummary(scored) else {
      throw PlainError("no pair has a preferred answer: \(scored.count) ties", .badData)
    }
    let source = invocation.text("pairs") ?? ""
    let title = "\(model.checkpoint.name): \(scored.count) of \(all.count / 2) pairs of \(source), "
      + "\(summary.tieCount) of them ties"
    Report(
      [
        ("checkpoint", .text(model.checkpoint.name)), ("pairs", .text(source)),
        ("count", .integer(scored.count)), ("of", .integer(all.count / 2)),
      ] + summary.members + [("precision", .text(model.engine.precision.rawValue))],
      lines: [title] + summary.lines
    ).put(isJSON: invocation.has("json"))
    return 0
  }

  /// The sequences of the pairs that `--pairs` names.
  private static func pairs(
    _ invocation: Invocation, _ model: SavedModel
  ) throws -> [TokenSlice.Sequence] {
    let source = invocation.text("pairs") ?? ""
    // As in training: a position more than the answer has tokens reads its end.
    let length = model.plan.model.sequenceLength - 1
    return try withProgress("reading \(source)") { progress in
      func tell(_ event: CorpusEvent) {
        progress.end()
        note("\(event)")
      }
      func all(_ choice: ExampleChoice) throws -> [TokenSlice.Sequence] {
        try ExampleCorpus.all(
          .pairs, choice, tokenizer: model.tokenizer, sequenceLength: length, event: tell,
          progress: progress.update
        ).sequences
      }
      switch source {
      case "held-back": return try heldBack(model, event: tell, progress: progress.update)
      case "world":
        let choice = ExampleChoice(
          source: .world(seed: try world(of: model).seed, documents: 0), exampleCount: 1,
          agreement: invocation.number("agreement") ?? 1)
        // Row 0 is one that training may read.
        return try all(choice).filter { $0.row >= choice.exampleCount }
      default: return try all(ExampleChoice(source: .path(source)))
      }
    }
  }

  /// What the newest reward phase on given pairs so far held back.
  private static func heldBack(
    _ model: SavedModel, event: (CorpusEvent) -> Void, progress: (Double) -> Void
  ) throws -> [TokenSlice.Sequence] {
    let state = model.checkpoint.state
    let phases = model.plan.phases.prefix(state.phaseIndex + 1)
    guard let phase = phases.lastIndex(where: { $0.kind == .reward && !$0.samples }) else {
      throw PlainError(
        "\(model.checkpoint.path) comes before any reward phase on given pairs", .badData)
    }
    return try ExampleCorpus(
      model.plan, phase: phase, tokenizer: model.tokenizer,
      expectedTextDigest: state.textDigests?[phase], event: event, progress: progress
    ).validationSlice(slice: 0, sliceCount: 1, rowLimit: nil).sequences
  }
}

extension PairSummary {
  fileprivate var members: [(String, JSONNode)] {
    let bins = calibration.bins.enumerated().map { index, bin in
      let count = Double(max(bin.count, 1))
      return JSONNode.object([
        ("from", .decimal(Double(index) / Double(Calibration.binCount))),
        ("to", .decimal(Double(index + 1) / Double(Calibration.binCount))),
        ("count", .integer(bin.count)), ("foretold", .decimal(bin.foretold / count)),
        ("won", .decimal(Double(bin.won) / count)),
      ])
    }
    return [
      ("ties", .integer(tieCount)), ("accuracy", accuracy.node),
      ("equal_scores", .integer(equalScoreCount)), ("margin", margin.node), ("loss", loss.node),
      ("longer_preferred", longerChosen.node), ("shorter_preferred", shorterChosen.node),
      ("longer_wins", longerWins.node), ("equal_lengths", .integer(equalLengthCount)),
      ("calibration_error", .decimal(calibration.error)), ("calibration", .list(bins)),
    ]
  }

  fileprivate var lines: [String] {
    [
      "accuracy         \(accuracy.text)",
      "  longer chosen  \(longerChosen.text), by the labels",
      "  shorter chosen \(shorterChosen.text)",
      "longer wins      \(longerWins.text), by the scores",
      "margin           \(margin.text(digits: 3))",
      "loss             \(loss.text(digits: 4)) nats; even odds 0.6931",
      "calibration      off by \(percent(calibration.error)) on average; foretold and won:",
    ]
      + calibration.bins.filter { $0.count > 0 }.map { bin in
        let count = Double(bin.count)
        return "  \(percent(bin.foretold / count)) \(percent(Double(bin.won) / count))  "
          + "of \(bin.count) answers"
      }
  }
}
