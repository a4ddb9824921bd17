public import Settings
public import Tensors

/// Where a run stands: everything a checkpoint holds besides the state's parts and the tokenizer.
///
/// Saved as `state.json`, keys in snake_case.
public struct CheckpointState: Codable, Equatable, Sendable {
  /// The run's name.
  public var run: String
  /// Index of the phase in the plan.
  public var phaseIndex: Int
  public var phaseName: String
  /// Steps of the phase that were taken; also the index of the next one.
  public var step: Int
  /// Operations of the plan's program (steps and validations, all phases) that were done.
  public var position: Int
  /// Steps of the learning-rate schedule that were taken: ``step``, as every phase has a schedule
  /// of its own. For programs that read the file and know no plan.
  public var schedulePosition: Int
  /// Real tokens trained on since the run began, all phases.
  public var tokensTotal: UInt64
  /// Sequences the phase has drawn from its data: where the next batch starts. It follows from
  /// ``step``, and is here for programs that read the file and know no plan.
  public var dataCursor: UInt64
  /// Name of the numeric profile; the run goes on only under the same one.
  public var profile: String
  public var model: ModelShape
  /// Models that the phase changes, and those that it only carries. Older releases wrote neither:
  /// the policy, in training.
  private var trained: Set<ModelRole>?
  private var frozen: Set<ModelRole>?
  /// What the phase trains in the policy's place, if that is adapters.
  private var adapter: AdapterChoice?
  private var rolloutCount: Int?
  /// SHA-256 of the text that each phase reads, by its index in the plan, as far as they were
  /// known: a run whose ledger is gone still notices a text that changed. Older releases wrote
  /// none.
  public var textDigests: [Int: String]?
  /// Steps that were taken in the phases that gates ended, by the phases' indices. Older releases
  /// wrote none.
  public var stepsTaken: [Int: Int]?
  /// Whether the model that the run started from had learned to chat. Older releases did not say.
  private var startsTuned: Bool?

  public init(
    run: String, phaseIndex: Int, phaseName: String, step: Int, position: Int,
    schedulePosition: Int, tokensTotal: UInt64, dataCursor: UInt64, profile: String,
    layout: StateLayout, textDigests: [Int: String]? = nil, stepsTaken: [Int: Int]? = nil,
    startsTuned: Bool = false
  ) {
    self.run = run
    self.phaseIndex = phaseIndex
    self.phaseName = phaseName
    self.step = step
    self.position = position
    self.schedulePosition = schedulePosition
    self.tokensTotal = tokensTotal
    self.dataCursor = dataCursor
    self.profile = profile
    model = layout.shape
    trained = Set(layout.models.filter(\.isTrained).map(\.role))
    frozen = Set(layout.models.filter { !$0.isTrained }.map(\.role))
    adapter = layout.adapter
    rolloutCount = layout.rolloutCount
    self.textDigests = textDigests
    self.stepsTaken = stepsTaken
    self.startsTuned = startsTuned
  }

  /// Whether the run began with a policy that had learned to chat.
  public var hasTunedStart: Bool { startsTuned ?? false }

  /// Whether the policy has learned to chat: before the run, or in a phase of `plan`, the run's, so
  /// far. A phase that has not taken a step has taught nothing.
  public func isTuned(by plan: ResolvedPlan) -> Bool {
    hasTunedStart
      || plan.phases.prefix(step > 0 ? phaseIndex + 1 : phaseIndex)
        .contains(where: \.kind.teachesChat)
  }

  /// What the checkpoint holds.
  public var layout: StateLayout {
    StateLayout(
      model, trained: trained ?? [.policy], frozen: frozen ?? [], adapter: adapter,
      rolloutCount: rolloutCount ?? 0)
  }

  /// The checkpoint's folder name: `<phase>-<step>`.
  public var name: String { "\(phaseName)-\(step)" }

  /// Reads the text of `state.json`.
  package init(reading bytes: [UInt8]) throws(CheckpointError) {
    self = try decoded(CheckpointState.self, bytes, file: CheckpointFile.state)
    guard isPlausible else { throw .malformed(file: CheckpointFile.state) }
  }

  /// Whether the numbers are ones that a writer could have written: a file may hold anything.
  /// Counts are bounded far out of any run's reach, so that what is computed from them cannot
  /// overflow.
  var isPlausible: Bool {
    let counts = [phaseIndex, step, position, schedulePosition, rolloutCount ?? 0]
      + (stepsTaken ?? [:]).flatMap { [$0.key, $0.value] }
    let (trained, frozen) = (trained ?? [.policy], frozen ?? [])
    return model.isPlausible && trained.isDisjoint(with: frozen)
      && trained.union(frozen).contains(.policy) && counts.allSatisfy { $0 >= 0 && $0 < 1 << 48 }
      && tokensTotal < 1 << 60 && !frozen.contains(.adapter)
      && trained.contains(.adapter) == (adapter != nil)
      && adapter?.isPlausible(in: model) != false
  }
}

extension AdapterChoice {
  /// Whether a plan could have it; its matrices are no larger than the model's then.
  fileprivate func isPlausible(in shape: ModelShape) -> Bool {
    guard let sides = narrowest(in: shape)?.sides else { return false }
    return rank > 0 && rank <= min(sides[0], sides[1]) && alpha.isFinite
      && Set(targets).count == targets.count
  }
}

extension ModelShape {
  /// Whether sizes that a file gives make a model: their products do not overflow, and its heads
  /// are ones that attention takes.
  package var isPlausible: Bool {
    let sizes = [
      layerCount, modelWidth, headCount, keyValueHeadCount, headWidth, feedForwardWidth,
      vocabularySize, sequenceLength,
    ]
    guard sizes.allSatisfy({ $0 > 0 && $0 < 1 << 31 }), layerCount < 1 << 12,
      headWidth % 2 == 0, headWidth <= Self.headWidthMax, headCount % keyValueHeadCount == 0
    else { return false }
    let width = Double(modelWidth)
    let heads = Double(headCount) + 2 * Double(keyValueHeadCount)
    let attention = 2 * heads * Double(headWidth) * width
    let feedForward = 3 * Double(feedForwardWidth) * width
    let elements = Double(layerCount) * (attention + feedForward + 2 * width)
      + 2 * Double(vocabularySize) * width
    return elements < 0x1p48
  }
}
