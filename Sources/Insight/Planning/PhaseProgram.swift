public import Settings

/// One thing that all workers do together.
public enum Operation: Equatable, Sendable {
  /// The state becomes that of phase `phase`: models are made of those there are.
  case enter(phase: Int)
  /// Answers of iteration `iteration` (0-based), drawn from the policy and scored.
  case rollout(phase: Int, iteration: Int)
  /// Step `step` (0-based) of the plan's phase `phase`.
  case train(phase: Int, step: Int)
  /// How good the weights after `afterStep` steps are on what was held back.
  case validate(phase: Int, afterStep: Int, isFull: Bool)
  /// Behind the last operation.
  case end
}

/// The operations of a plan's phases, one after the other, by position.
///
/// Both sides evaluate it: what comes next never travels. A position is the number of operations
/// whose effect a state holds, so the state at a position is that of the operation before it. A
/// phase is
///
///     [enter]  [rollout] step step ... [validate]  [rollout] step step ...  validate
///
/// with an `enter` except in the first phase, which starts with the state that a run starts with,
/// and a rollout before every iteration of a phase that learns from the policy's own answers. A
/// gate leaves out what is between it and the phase's last operation: a gap.
public struct PhaseProgram: Equatable, Sendable {
  private struct Section: Equatable, Sendable {
    var phase: Int
    /// Position of its first operation.
    var start: Int
    /// 1 if it begins with an `enter`.
    var entryCount: Int
    var steps: Int
    /// Steps between validations; 0: only at the end.
    var every: Int
    /// Steps of an iteration; 0: no rollouts.
    var stepsPerIteration: Int
    var isFullAtEnd: Bool

    /// Operations of the section before step `step`, its own rollout included.
    func offset(ofStep step: Int) -> Int {
      let validations = every > 0 ? step / every : 0
      let rollouts = stepsPerIteration > 0 ? step / stepsPerIteration + 1 : 0
      return entryCount + step + validations + rollouts
    }

    /// The last operation: the validation at the end.
    var last: Int { steps == 0 ? entryCount : offset(ofStep: steps - 1) + 1 }
    var count: Int { last + 1 }

    /// The last step that does not come after the section's operation `index`; nil before step 0.
    func step(atOrBefore index: Int) -> Int? {
      guard steps > 0, index >= offset(ofStep: 0) else { return nil }
      var (low, high) = (0, steps)
      while high - low > 1 {
        let middle = (low + high) / 2
        if offset(ofStep: middle) <= index { low = middle } else { high = middle }
      }
      return low
    }

    func operation(at index: Int) -> Operation {
      if index < entryCount { return .enter(phase: phase) }
      if index == last { return .validate(phase: phase, afterStep: steps, isFull: isFullAtEnd) }
      guard let step = step(atOrBefore: index) else { return .rollout(phase: phase, iteration: 0) }
      if offset(ofStep: step) == index { return .train(phase: phase, step: step) }
      let done = step + 1
      // Behind a step come a validation, if one is due, and the next iteration's rollout.
      if every > 0, done % every == 0, offset(ofStep: step) + 1 == index {
        return .validate(phase: phase, afterStep: done, isFull: false)
      }
      return .rollout(phase: phase, iteration: done / stepsPerIteration)
    }
  }

  private let sections: [Section]
  private let checkpointEvery: Int
  public let operationCount: Int
  /// Operations that gates left out: the position behind each gap, and the one before it.
  public var gaps: [Int: Int] = [:]

  public init(_ plan: ResolvedPlan) {
    var sections: [Section] = []
    var start = 0
    for (index, phase) in plan.phases.enumerated() where phase.kind != .tokenizer {
      let section = Section(
        phase: index, start: start, entryCount: sections.isEmpty ? 0 : 1,
        steps: phase.kind.takesSteps ? phase.steps : 0, every: phase.validation.every,
        stepsPerIteration: phase.reinforcement?.stepsPerIteration(plan.batch) ?? 0,
        isFullAtEnd: phase.validation.isFullAtEnd)
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
    let operation = section.operation(at: position - section.start)
    guard case .validate(let phase, _, let isFull) = operation, let start = gaps[position] else {
      return operation
    }
    return .validate(phase: phase, afterStep: progress(at: start).steps, isFull: isFull)
  }

  /// The position right after step `step` (0-based) of a phase; -1: where its steps begin.
  public func position(afterStep step: Int, ofPhase phase: Int) -> Int? {
    guard let section = sections.first(where: { $0.phase == phase }), step < section.steps else {
      return nil
    }
    return section.start
      + (step < 0 ? section.entryCount : section.offset(ofStep: step) + 1)
  }

  /// The phase whose models a state at `position` consists of, and the steps done in it.
  public func progress(at position: Int) -> (phase: Int, steps: Int) {
    if let start = gaps[position] { return progress(at: start) }
    return switch operation(at: position - 1) {
    case .enter(let phase): (phase, 0)
    case .rollout(let phase, let iteration):
      (phase, iteration * (sections.first { $0.phase == phase }?.stepsPerIteration ?? 0))
    case .train(let phase, let step): (phase, step + 1)
    case .validate(let phase, let afterStep, _): (phase, afterStep)
    case .end: (firstPhaseIndex, 0)
    }
  }

  /// Index in the plan of the phase that the operation at `position` belongs to, if there is one.
  public func phase(at position: Int) -> Int? { section(at: position)?.phase }

  /// The position of the validation that ends the phase of the operation at `position`.
  public func lastPosition(ofPhaseAt position: Int) -> Int {
    section(at: position).map { $0.start + $0.last } ?? operationCount
  }

  /// Steps among the operations at `start` and behind it, before `end`.
  public func stepCount(from start: Int, to end: Int) -> Int {
    guard start < end else { return 0 }
    return (start..<end).count { position in
      if case .train = operation(at: position) { endOfGap(at: position) == nil } else { false }
    }
  }

  // MARK: Gaps

  /// The position behind the gap that leaves out the operation at `position`, if one does.
  public func endOfGap(at position: Int) -> Int? {
    gaps.first { $0.value <= position && position < $0.key }?.key
  }

  /// Steps that were taken in the phases that gates ended, by the phases' indices.
  public var stepsTaken: [Int: Int] {
    gaps.reduce(into: [:]) { taken, gap in
      if let phase = phase(at: gap.key) { taken[phase] = progress(at: gap.value).steps }
    }
  }

  /// Leaves out what comes behind step `steps` (counted from 1) of a phase, but for its last
  /// operation; does nothing for a phase that has fewer.
  public mutating func end(phase: Int, afterSteps steps: Int) {
    guard let start = position(afterStep: steps - 1, ofPhase: phase) else { return }
    let end = lastPosition(ofPhaseAt: start)
    if start < end { gaps[end] = start }
  }

  /// Forgets gaps that a state at `position` does not have behind it.
  public mutating func forgetGaps(after position: Int) {
    gaps = gaps.filter { $0.key <= position }
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

  /// Behind the last operation of each phase, ascending.
  public var phaseEnds: [Int] { sections.map { $0.start + $0.count } }

  private func section(at position: Int) -> Section? {
    sections.last { $0.start <= position && position < $0.start + $0.count }
  }
}
