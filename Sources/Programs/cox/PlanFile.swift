import Corpus
import Operators
import Planning
import Settings
import System
import Tensors

/// A plan as a command line names it.
enum PlanFile {
  /// Options that every command with a plan has.
  static let options: [CommandOption] = [
    .data,
    .option(
      "set", "key=value", .assignment, repeats: true,
      help: "Overrides a key of the plan, such as batch.sequences=32."),
  ]

  static func resolve(_ path: String, _ invocation: Invocation) throws -> PlanResolution {
    let text: String
    do {
      text = String(decoding: try Files.read(path, byteCountMax: 16 << 20), as: UTF8.self)
    } catch {
      throw PlainError("the plan cannot be read: \(error)", .noInput)
    }
    return try PlanResolver.resolve(
      text: text, path: path, sets: invocation.assignments("set"),
      dataOverride: try invocation.dataSource())
  }

  /// The plan that the command line names, or the one that serves where it names none, beside the
  /// working folder or the programs: the whole story of the generated world, or, of the user's own
  /// text, pretraining.
  static func named(_ invocation: Invocation) throws -> String {
    if let plan = invocation.text("plan") { return plan }
    let name = invocation.has("data") ? "launch/plans/text.json" : "launch/plans/quickstart.json"
    if Files.exists(name) { return name }
    var folder = Files.parent(of: programPath())
    for _ in 0..<5 {
      if Files.exists("\(folder)/\(name)") { return "\(folder)/\(name)" }
      folder = Files.parent(of: folder)
    }
    throw PlainError(
      "no plan is named, and \(name) is neither here nor above \(programPath()): name a plan file",
      .noInput)
  }

  /// What this machine is expected to give each thread: a short measurement.
  static func assumptions(_ plan: ResolvedPlan) -> TimeEstimate.Assumptions {
    TimeEstimate.Assumptions(
      peakPerThread: Engine.peakGigaflops(variant: .best, precision: plan.precision))
  }

  /// What the plan costs by this many workers of this machine's kind.
  static func report(
    _ resolution: PlanResolution, workerCount: Int, threadCount: Int
  ) -> PlanReport {
    PlanReport(
      resolution,
      on: PlanReport.Cluster(
        workerCount: workerCount, threadCount: threadCount, memoryByteCount: Host.memoryByteCount,
        assumptions: assumptions(resolution.plan)),
      textByteCount: { (try? TextSource($0))?.estimatedByteCount })
  }
}
