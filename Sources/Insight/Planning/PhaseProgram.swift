public import Settings

/// One thing that all workers do together.
public enum Operation: Equatable, Sendable {
  /// Step `step` (0-based) of the plan's phase `phase`.
  case train(phase: Int, step: Int)
  /// Mean loss of the held-back text with the weights after `afterStep` steps.
  case validate(phase: Int, afterStep: Int, isFull: Bool)
  /// Behind the last operation.
  case end
}

/// The operations of a plan's phases, one after the other, by position.
///
/// Both sides evaluate it: what comes next never travels. A position is the number of operations
/// whose effect a state holds.
public struct PhaseProgram: Equatable, Sendable {
  private struct Section: Equatable, Sendable {
    var phase: Int
    var start: Int
    var steps: Int
    /// Steps between validations; 0: only at the end.
    var every: Int
    var isFullAtEnd: Bool
    /// Validations before the last step.
    var innerCount: Int { every > 0 && steps > 0 ? (steps - 1) / every : 0 }
    /// Steps, validations between them, and the one at the end.
    var count: Int { steps + innerCount + 1 }
  }

  private let sections: [Section]
  private let checkpointEvery: Int
  public let operationCount: Int

  public init(_ plan: ResolvedPlan) {
    var sections: [Section] = []
    var start = 0
    for (index, phase) in plan.phases.enumerated() where phase.kind != .tokenizer {
      let section = Section(
        phase: index, start: start, steps: phase.kind == .evaluate ? 0 : phase.steps,
        every: phase.validation.every, isFullAtEnd: phase.validation.isFullAtEnd)
      sections.append(section)
      start += section.count
    }
    self.sections = sections
    checkpointEvery = plan.checkpoints.every
    operationCount = start
  }

  /// Index in the plan of the first phase that workers take part in.
  public var firstPhaseIndex: Int { sections.first?.phase ?? 0 }

  public func operation(at position: Int) -> Operation {
    guard let section = section(at: position) else { return .end }
    let index = position - section.start
    let inner = section.innerCount * (section.every + 1)
    if index < inner {
      let (round, rest) = index.quotientAndRemainder(dividingBy: section.every + 1)
      if rest < section.every {
        return .train(phase: section.phase, step: round * section.every + rest)
      }
      return .validate(
        phase: section.phase, afterStep: (round + 1) * section.every, isFull: false)
    }
    let step = section.innerCount * section.every + index - inner
    if step < section.steps { return .train(phase: section.phase, step: step) }
    return .validate(phase: section.phase, afterStep: section.steps, isFull: section.isFullAtEnd)
  }

  /// The position right after step `step` (0-based) of a phase.
  public func position(afterStep step: Int, ofPhase phase: Int) -> Int? {
    guard let section = sections.first(where: { $0.phase == phase }), step < section.steps else {
      return nil
    }
    let rounds = section.every > 0 ? min(step / section.every, section.innerCount) : 0
    return section.start + step + rounds + 1
  }

  /// Phase index and steps done in it for a state at `position`.
  public func progress(at position: Int) -> (phase: Int, steps: Int) {
    guard position < operationCount, let section = section(at: position) else {
      return (sections.last?.phase ?? 0, sections.last?.steps ?? 0)
    }
    switch operation(at: position) {
    case .train(let phase, let step): return (phase, step)
    case .validate(let phase, let afterStep, _): return (phase, afterStep)
    case .end: return (section.phase, section.steps)
    }
  }

  /// Index in the plan of the phase that the operation at `position` belongs to, if there is one.
  public func phase(at position: Int) -> Int? { section(at: position)?.phase }

  /// Steps among the operations at `start` and behind it, before `end`.
  public func stepCount(from start: Int, to end: Int) -> Int {
    guard start < end else { return 0 }
    return (start..<end).count { if case .train = operation(at: $0) { true } else { false } }
  }

  /// Where checkpoints are due, ascending: every so many steps, and at the end of each phase.
  public var checkpointPositions: [Int] {
    var found: [Int] = []
    for section in sections {
      if checkpointEvery > 0 {
        for step in stride(from: checkpointEvery, to: section.steps, by: checkpointEvery) {
          if let position = position(afterStep: step - 1, ofPhase: section.phase) {
            found.append(position)
          }
        }
      }
      found.append(section.start + section.count)
    }
    return found
  }

  private func section(at position: Int) -> Section? {
    sections.last { $0.start <= position && position < $0.start + $0.count }
  }
}
