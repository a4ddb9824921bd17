public import Settings
internal import System
public import Tensors

/// A coordinator and workers as processes of this machine.
public struct LocalClusterOptions: Sendable {
  /// The plan file.
  public var plan: String
  public var runDirectory: String
  public var workerCount: Int
  /// Of each worker.
  public var threadCount: Int
  /// Of each worker.
  public var matmul: MatmulChoice
  public var data: String?
  public var sets: [(key: String, value: String)]
  public var isAmending: Bool
  /// What to type to go on with a run that was stopped.
  public var resumeCommand: String
  /// Paths of the two programs.
  public var coordinatorProgram: String
  public var workerProgram: String

  /// - Parameter programFolder: Holds the two programs.
  /// - Throws: ``PlainError`` where one of them is missing.
  public init(
    plan: String, runDirectory: String, workerCount: Int, threadCount: Int,
    matmul: MatmulChoice = .builtin, data: String? = nil,
    sets: [(key: String, value: String)] = [], isAmending: Bool = false, resumeCommand: String,
    programFolder: String
  ) throws(PlainError) {
    self.plan = plan
    self.runDirectory = runDirectory
    self.workerCount = workerCount
    self.threadCount = threadCount
    self.matmul = matmul
    self.data = data
    self.sets = sets
    self.isAmending = isAmending
    self.resumeCommand = resumeCommand
    coordinatorProgram = "\(programFolder)/coordinator"
    workerProgram = "\(programFolder)/worker"
    for path in [coordinatorProgram, workerProgram] where !Files.exists(path) {
      throw PlainError(
        "\(path) is missing: coordinator, worker and cox belong into one folder", .noInput)
    }
  }

  /// The coordinator's command line. Values are attached to their options, since they may begin
  /// with a dash.
  var coordinatorArguments: [String] {
    var words = [
      coordinatorProgram, "--run=\(runDirectory)", "--listen=127.0.0.1:0",
      "--min-workers=\(workerCount)",
    ]
    if let data { words.append("--data=\(data)") }
    words += sets.map { "--set=\($0.key)=\($0.value)" }
    if isAmending { words.append("--amend") }
    return words + ["--", plan]
  }

  func workerArguments(coordinator: String) -> [String] {
    [
      workerProgram, "--coordinator", coordinator, "--threads", "\(threadCount)",
      "--matmul", matmul.rawValue,
    ]
  }
}
