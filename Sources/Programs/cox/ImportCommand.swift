import Interchange
import Settings
import System

/// `cox import`: a model from other programs.
enum ImportCommand {
  static let command = Command(
    "import",
    overview: "Takes a Llama-shaped Hugging Face model in, to go on from.",
    discussion: """
      Writes a folder with a verified checkpoint, which generate, evaluate and export take as they
      take a run, and a plan.json that trains from it. Weights may be f32, bf16 or f16, in one file
      or several. What would be another model than the one trained here is refused by name.
      """,
    arguments: [CommandArgument("folder", help: "Holds config.json and model.safetensors.")],
    options: [
      .option(
        "out", "folder", help: "What is written; new or empty. (default: runs/<folder's name>)"),
      .flag("json", help: "Print what was written as JSON."),
    ])

  static func run(_ invocation: Invocation) throws -> Int32 {
    let folder = invocation.text("folder") ?? ""
    guard Files.exists(folder) else { throw PlainError("there is no folder \(folder)", .noInput) }
    let out = invocation.text("out") ?? "runs/\(Files.name(of: folder))"
    let report = try HuggingFaceImport.write(folder, to: out)
    let text = """
      checkpoint  \(report.checkpoint)
      parameters  \(report.parameterCount)
      plan        \(report.plan)
        cox generate \(out) --prompt "Once"           text from the model
        cox up \(report.plan) --data PATH       train it further
      """
    try show(report, text, invocation)
    return 0
  }
}
