/// Something that happened in a run besides steps: one line of `events.jsonl`.
public struct RunEvent: Codable, Equatable, Sendable {
  public enum Kind: String, Codable, CaseIterable, Sendable {
    case started, resumed, finished, stopped
    case workerJoined = "worker_joined"
    /// It asked to go, and went.
    case workerLeft = "worker_left"
    /// It died, fell silent or was cut off.
    case workerLost = "worker_lost"
    case viewChanged = "view_changed"
    /// Steps were taken back: ``RunEvent/fromStep`` was reached, ``RunEvent/step`` is next.
    case rewound
    case phaseBegan = "phase_began"
    case phaseEnded = "phase_ended"
    /// A long validation is under way: its step is recorded, its loss is not.
    case validating
    /// An iteration of the policy's own answers is there.
    case answered
    case stepSkipped = "step_skipped"
    case checkpointSaved = "checkpoint_saved"
    case checkpointFailed = "checkpoint_failed"
    case checkpointPassedOver = "checkpoint_passed_over"
    /// Rows of examples that a phase cannot use.
    case rowsPassedOver = "rows_passed_over"
    case settingChanged = "setting_changed"
    case settingIgnored = "setting_ignored"
    /// Steps became smaller, or whole again.
    case brake
    case gate, warning
  }

  /// RFC 3339 UTC with milliseconds, see ``Timestamp``.
  public var time: String
  public var run: String
  public var event: Kind
  public var phase: String?
  public var step: Int?
  public var fromStep: Int?
  /// The worker it is about.
  public var node: String?
  public var view: Int?
  /// One sentence for people.
  public var text: String

  public init(
    _ event: Kind, run: String, time: String, phase: String? = nil, step: Int? = nil,
    fromStep: Int? = nil, node: String? = nil, view: Int? = nil, text: String
  ) {
    self.time = time
    self.run = run
    self.event = event
    self.phase = phase
    self.step = step
    self.fromStep = fromStep
    self.node = node
    self.view = view
    self.text = text
  }

  private enum CodingKeys: String, CodingKey {
    case time, run, event, phase, step
    case fromStep = "from_step"
    case node, view, text
  }
}
