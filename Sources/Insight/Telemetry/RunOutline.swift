public import Settings

/// What reports need of a plan: its phases and their lengths.
public struct RunOutline: Equatable, Sendable {
  public struct Phase: Equatable, Sendable {
    public let name: String
    public let stepCount: Int
    public init(name: String, stepCount: Int) {
      self.name = name
      self.stepCount = stepCount
    }
  }

  public let run: String
  public let phases: [Phase]

  public init(run: String, phases: [Phase]) {
    self.run = run
    self.phases = phases
  }

  public init(_ plan: ResolvedPlan) {
    self.init(
      run: plan.name, phases: plan.phases.map { Phase(name: $0.name, stepCount: $0.steps) })
  }

  /// Reads a `plan.resolved.json`; nil if it is not one.
  public init?(json: [UInt8]) {
    // Foundation's JSON5, which takes comments too, traps on a key that is not UTF-8.
    guard let plan = try? JSONReader.read(json), let run = plan["name"]?.string,
      let entries = plan["phases"]?.elements
    else { return nil }
    let phases = entries.compactMap { entry in
      entry["name"]?.string.map {
        Phase(name: $0, stepCount: max(0, entry["steps"]?.int ?? 0))
      }
    }
    guard phases.count == entries.count else { return nil }
    self.init(run: run, phases: phases)
  }

  /// Steps of the phase of this name.
  public func stepCount(ofPhase name: String) -> Int? {
    phases.first { $0.name == name }?.stepCount
  }

  /// Steps of the whole plan that come after step `step` of the phase; nil for an unknown phase.
  public func remainingSteps(afterPhase name: String, step: Int) -> Int? {
    guard let index = phases.firstIndex(where: { $0.name == name }) else { return nil }
    let (left, overflows) = phases[index].stepCount.subtractingReportingOverflow(step)
    let inPhase = overflows ? Int.max : max(0, left)
    return saturatingSum([inPhase] + phases[(index + 1)...].map(\.stepCount))
  }
}

/// The sum, or the number nearest to it: records may hold anything.
func saturatingSum(_ numbers: [Int]) -> Int {
  numbers.reduce(0) { sum, number in
    let (next, overflows) = sum.addingReportingOverflow(number)
    return overflows ? (number > 0 ? Int.max : Int.min) : next
  }
}

/// The recent mean of seconds per step, from which the time left follows.
struct Pace: Equatable, Sendable {
  /// Long enough to smooth validations and stragglers, short enough to follow a lost worker.
  private static let stepCount = 50
  private var recent: [Double] = []
  private var next = 0

  mutating func append(_ seconds: Double) {
    guard seconds.isFinite else { return }
    if recent.count < Self.stepCount {
      recent.append(seconds)
    } else {
      recent[next] = seconds
      next = (next + 1) % Self.stepCount
    }
  }

  /// Seconds for this many more steps; nil before the first step or without a plan.
  func secondsLeft(steps: Int?) -> Double? {
    guard let steps, !recent.isEmpty else { return nil }
    return Double(steps) * recent.reduce(0, +) / Double(recent.count)
  }
}
