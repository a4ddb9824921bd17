import Checkpoints
import Corpus
import Evaluation
import Operators
import Settings
import Telemetry
import Tensors

/// Conversations: how well a model foretells what the assistant says in them.
extension EvaluateCommand {
  static func readConversations(_ invocation: Invocation) throws -> Int32 {
    let model = try SavedModel(invocation.text("run") ?? "", invocation)
    let other = try rival(
      of: model, invocation, because: "losses per token would not compare")
    let sheet = try ExampleSheet(
      invocation.text("conversations") ?? "", .conversations,
      limit: invocation.integer("limit"), for: model)
    for model in [model, other].compactMap({ $0 }) { try check(sheet, fits: model) }
    let losses = try losses(model, sheet)
    let others = try other.map { try Self.losses($0, sheet) }
    let tokenCount = losses.reduce(0) { $0 + $1.tokenCount }
    let loss = Mean(losses)
    var members: [(String, JSONNode)] = [
      ("checkpoint", .text(model.checkpoint.name)), ("conversations", .text(sheet.source)),
      ("count", .integer(sheet.count)), ("of", .integer(sheet.totalCount)),
      ("tokens", .integer(tokenCount)), ("loss", loss.node),
    ]
    var lines = [
      "\(model.checkpoint.name): \(sheet.count) of \(sheet.totalCount) conversations of "
        + "\(sheet.source), \(tokenCount) tokens of answers",
      "loss           \(loss.text(digits: 4)) nats per token",
    ]
    if let other, let others {
      let (loss, difference) = (Mean(others), Mean(losses, over: others))
      members += [
        ("against", .text(other.checkpoint.name)), ("loss_against", loss.node),
        ("difference", difference.node),
      ]
      lines += [
        "against        \(loss.text(digits: 4)): \(other.checkpoint.name)",
        "difference     \(difference.text(digits: 4))",
      ]
    }
    members.append(("precision", .text(model.engine.precision.rawValue)))
    Report(members, lines: lines).put(isJSON: invocation.has("json"))
    return 0
  }

  private static func check(_ sheet: ExampleSheet, fits model: SavedModel) throws {
    let length = model.checkpoint.layout.shape.sequenceLength
    if let longest = sheet.sequences.map(\.count).max(), longest > length {
      throw PlainError(
        "\(model.checkpoint.path) has a context of \(length) tokens; one of the conversations has "
          + "\(longest)", .badData)
    }
  }

  private static func losses(
    _ model: SavedModel, _ sheet: ExampleSheet
  ) throws -> [ConversationLoss] {
    var test = ConversationTest(model.weights, engine: model.engine)
    return try withProgress("\(model.checkpoint.name) reads") { progress in
      try test.losses(of: sheet.sequences, progress: progress.update)
    }
  }
}
