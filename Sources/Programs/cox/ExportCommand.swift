import Checkpoints
import Interchange
import Settings
import System
import Tensors

/// `cox export`: a model for other programs.
enum ExportCommand {
  static let command = Command(
    "export",
    overview: "Writes a run's newest model for other programs to open.",
    discussion: """
      The folder opens in Hugging Face transformers and in what reads the same files: weights,
      sizes, tokenizer, and the chat template where the tokenizer has the tokens for it. A reward
      model opens as LlamaForSequenceClassification with one label: its logit at the token that ends
      an answer is the score.
      """,
    arguments: [CommandArgument("run", help: "A run, or one of its checkpoints.")],
    options: [
      .option(
        "hf", "folder", isRequired: true,
        help: "Where the Hugging Face folder is written; new or empty."),
      .option(
        "model", "role", .choice(["policy", "reward"]), default: "policy",
        help: "The model that speaks, or the checkpoint's reward model."),
      .option(
        "dtype", "type", .choice(["f32", "bf16"]), default: "f32",
        help: "Type of the weights: f32 keeps every bit, bf16 rounds."),
      .flag("force", help: "Write over files in a folder that is not empty."),
      .flag("json", help: "Print what was written as JSON."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let folder = invocation.text("hf") ?? ""
    let checkpoint = try openCheckpoint(invocation.text("run") ?? "")
    let role = ModelRole(rawValue: invocation.text("model") ?? "") ?? .policy
    _ = try checkpoint.layout(of: role)
    let written = try HuggingFaceExport.write(
      checkpoint, role: role, as: invocation.text("dtype") == "bf16" ? .bf16 : .f32, to: folder,
      isReplacing: invocation.has("force"))
    if role == .policy, checkpoint.stateLayout.model(.reward) != nil {
      note("this is the policy; --model reward exports the reward model")
    }
    if invocation.has("json") {
      let files = written.map { file in
        JSONNode.object([("name", .text(file.name)), ("bytes", .integer(file.byteCount))])
      }
      put(
        JSONNode.object([
          ("folder", .text(folder)), ("checkpoint", .text(checkpoint.path)),
          ("model", .text(role.rawValue)), ("files", .list(files)),
        ]).jsonText(isIndented: false))
      return 0
    }
    put("checkpoint \(checkpoint.path)")
    put("model      \(role.rawValue)")
    for file in written { put("wrote \(folder)/\(file.name)  \(file.byteCount) bytes") }
    return 0
  }
}
