/// How the plan of a run differs from the plan it is resumed with, and what may be amended.
///
/// A run goes on with a changed plan only where the change cannot alter steps already taken: more
/// steps, and cadences. What merely follows from more steps (a derived warm-up) stays as it was.
public struct PlanDifference: Equatable, Sendable {
  public struct Change: Equatable, Sendable {
    /// `phases[1].steps`.
    public let key: String
    /// As JSON, or `unset`.
    public let old: String
    public let new: String
    /// Whether `--amend` may make this change.
    public let isAmendable: Bool
  }

  /// In the order of the keys.
  public let changes: [Change]

  /// - Parameters:
  ///   - old: The plan the run was started with.
  ///   - new: The plan it is to go on with.
  ///   - derivations: Where the new plan's values come from. With them, values that it derives
  ///     from the number of steps do not count as changed: they stay as they were.
  ///   - currentPhase: Where the run is; phases before it are over and take no more steps.
  public init(
    from old: ResolvedPlan, to new: ResolvedPlan, derivations: [Derivation] = [],
    currentPhase: Int = 0
  ) {
    let derived = Set(derivations.filter(\.isDerived).map(\.key))
    let before = old.jsonNode.leaves, after = new.jsonNode.leaves
    let afterByKey = Dictionary(uniqueKeysWithValues: after)
    let beforeByKey = Dictionary(uniqueKeysWithValues: before)
    let keys = before.map(\.0) + after.map(\.0).filter { beforeByKey[$0] == nil }
    changes = keys.compactMap { key in
      let (was, now) = (beforeByKey[key], afterByKey[key])
      guard was != now else { return nil }
      // The tokenizer decides these while the run goes on; a plan that leaves them out agrees.
      if now == nil, ["model.vocabulary", "tokenizer.vocabulary"].contains(key) { return nil }
      let pattern = PlanEntries.pattern(key)
      if derived.contains(key), Self.followsFromSteps(pattern) || Self.isSetByRun(pattern) {
        return nil
      }
      let isAmendable =
        switch pattern {
        case "phases[].steps":
          Self.isLonger(key, was, now, currentPhase)
        default: Self.isCadence(pattern)
        }
      return Change(
        key: key, old: was ?? "unset", new: now ?? "unset", isAmendable: isAmendable)
    }
  }

  public var isEmpty: Bool { changes.isEmpty }
  /// Changes that would alter steps already taken.
  public var refused: [Change] { changes.filter { !$0.isAmendable } }
  /// Whether `--amend` may make every change.
  public var canAmend: Bool { refused.isEmpty }

  /// The plan to go on with: the old one with the amendable changes.
  public func amended(_ old: ResolvedPlan) -> ResolvedPlan {
    var plan = old
    for change in changes where change.isAmendable {
      // A gate that was removed has no value.
      plan.amend(change.key, (try? JSONReader.read(change.new)) ?? JSONNode(.null))
    }
    return plan
  }

  /// One line per change: `phases[1].steps: 300 -> 400`.
  public var lines: [String] {
    changes.map { change in
      let mark = change.isAmendable ? "" : "  (alters steps already taken)"
      return "\(change.key): \(change.old) -> \(change.new)\(mark)"
    }
  }

  private static func isCadence(_ pattern: String) -> Bool {
    switch pattern {
    case "phases[].validation.every", "phases[].validation.tokens",
      "phases[].validation.full_at_end", "phases[].gates.validation_loss",
      "phases[].gates.divergence", "phases[].gates.reward", "phases[].gates.length",
      "phases[].gates.entropy", "checkpoints.every", "checkpoints.keep":
      true
    default: false
    }
  }

  /// Derived from the number of steps: kept when the number grows.
  private static func followsFromSteps(_ pattern: String) -> Bool {
    switch pattern {
    case "phases[].schedule.warmup", "phases[].schedule.decay", "phases[].validation.every": true
    default: false
    }
  }

  private static func isSetByRun(_ pattern: String) -> Bool { pattern == "model.vocabulary" }

  /// More steps for a phase that may still take them.
  private static func isLonger(
    _ key: String, _ old: String?, _ new: String?, _ currentPhase: Int
  ) -> Bool {
    guard let old = old.flatMap({ Int($0) }), let new = new.flatMap({ Int($0) }) else {
      return false
    }
    let phase = Int(key.dropFirst("phases[".count).prefix { $0 != "]" }) ?? 0
    return new > old && phase >= currentPhase
  }
}

extension ResolvedPlan {
  /// Sets one amendable key.
  fileprivate mutating func amend(_ key: String, _ value: JSONNode) {
    switch key {
    case "checkpoints.every": checkpoints.every = value.int ?? checkpoints.every
    case "checkpoints.keep": checkpoints.keep = value.int ?? checkpoints.keep
    default:
      let parts = key.dropFirst("phases[".count).split(separator: "]", maxSplits: 1)
      guard parts.count == 2, let index = Int(parts[0]), phases.indices.contains(index) else {
        return
      }
      phases[index].amend(String(parts[1].dropFirst()), value)
    }
  }
}

extension ResolvedPlan.Phase {
  fileprivate mutating func amend(_ key: String, _ value: JSONNode) {
    switch key {
    case "steps": steps = value.int ?? steps
    case "validation.every": validation.every = value.int ?? validation.every
    case "validation.tokens": validation.tokenLimit = value.int
    case "validation.full_at_end": validation.isFullAtEnd = value.bool ?? validation.isFullAtEnd
    default:
      guard let gate = ResolvedPlan.Gates.keys.first(where: { key == "gates.\($0.0)" }) else {
        preconditionFailure("'\(key)' is not amendable")
      }
      gates[keyPath: gate.1] = value.double
    }
  }
}

extension JSONNode {
  /// Every value that holds no others, with its full key, in order.
  var leaves: [(String, String)] {
    func collect(_ node: JSONNode, _ key: String) -> [(String, String)] {
      switch node.value {
      case .object(let members):
        members.flatMap { collect($0.node, key.isEmpty ? $0.key : "\(key).\($0.key)") }
      case .array(let nodes):
        nodes.enumerated().flatMap { collect($0.element, "\(key)[\($0.offset)]") }
      default: [(key, node.jsonText(isIndented: false))]
      }
    }
    return collect(self, "")
  }
}
