import Checkpoints
import Corpus
import Evaluation
import Operators
import Settings
import Telemetry
import Tensors

/// Pairs of answers: how well a reward model foretells which one was preferred.
extension EvaluateCommand {
  static func scorePairs(_ invocation: Invocation) throws -> Int32 {
    let model = try SavedModel(invocation.text("run") ?? "", role: .reward, invocation)
    let sheet = try ExampleSheet(
      invocation.text("pairs") ?? "", .pairs, agreement: invocation.number("agreement") ?? 1,
      limit: invocation.integer("limit"), for: model)
    var test = PairTest(model.weights, engine: model.engine, tokenizer: model.tokenizer)
    let scored = try withProgress("scoring pairs") { progress in
      try test.scores(of: sheet.sequences, progress: progress.update)
    }
    guard let summary = PairSummary(scored) else {
      throw PlainError("no pair has a preferred answer: \(scored.count) ties", .badData)
    }
    let title = "\(model.checkpoint.name): \(sheet.count) of \(sheet.totalCount) pairs of "
      + "\(sheet.source), \(summary.tieCount) of them ties"
    Report(
      [
        ("checkpoint", .text(model.checkpoint.name)), ("pairs", .text(sheet.source)),
        ("count", .integer(sheet.count)), ("of", .integer(sheet.totalCount)),
      ] + summary.members + [("precision", .text(model.engine.precision.rawValue))],
      lines: [title] + summary.lines
    ).put(isJSON: invocation.has("json"))
    return 0
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
