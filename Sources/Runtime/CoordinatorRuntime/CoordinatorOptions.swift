public import Transport

/// What a person says when starting a coordinator.
public struct CoordinatorOptions: Sendable {
  /// The plan file.
  public var plan: String
  /// The run folder; nil: `runs/<name of the plan>`.
  public var runDirectory: String?
  public var listen: Address
  public var workerCountMin: Int
  /// Replaces the source of every phase.
  public var data: String?
  public var sets: [(key: String, value: String)]
  /// Whether a plan that differs in what cannot alter steps already taken is accepted on resume.
  public var isAmending: Bool
  /// Whether to serve other machines without encryption.
  public var isPlaintext: Bool
  public var congestion: String
  /// What to type to go on with a run that was stopped.
  public var resumeCommand: String

  public init(
    plan: String, runDirectory: String? = nil, listen: Address, workerCountMin: Int = 1,
    data: String? = nil, sets: [(key: String, value: String)] = [], isAmending: Bool = false,
    isPlaintext: Bool = false, congestion: String = Connection.defaultCongestion,
    resumeCommand: String = ""
  ) {
    self.plan = plan
    self.runDirectory = runDirectory
    self.listen = listen
    self.workerCountMin = workerCountMin
    self.data = data
    self.sets = sets
    self.isAmending = isAmending
    self.isPlaintext = isPlaintext
    self.congestion = congestion
    self.resumeCommand = resumeCommand
  }
}

/// How a coordinator's run ended.
public struct CoordinatorEnd: Error, Equatable, Sendable {
  public enum Kind: Equatable, Sendable { case completed, stopped, failed }
  public let kind: Kind
  public let message: String
  /// The exit code.
  public let code: Int32

  public init(kind: Kind, message: String, code: Int32? = nil) {
    self.kind = kind
    self.message = message
    self.code = code ?? (kind == .completed ? 0 : kind == .stopped ? 75 : 1)
  }
}
