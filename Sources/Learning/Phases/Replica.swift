public import Operators
internal import Optimization
internal import Planning
public import Settings
public import Tensors
internal import Transformer

/// What an update did.
public struct UpdateOutcome: Equatable, Sendable {
  /// Norm of the mean gradient of the first trained model, before clipping.
  public let gradNorm: Double
  public let learningRate: Double
  /// No token counted, or a norm was not finite: nothing was changed.
  public let skipped: Bool
  /// Mean loss per valid token, nats; 0 when no token counted.
  public let loss: Double
}

/// Everything a worker holds of a run's state: its models, and the answers that the policy learns
/// from.
///
/// Not reentrant: one caller, whose thread is member 0 of the engine's team.
public final class Replica {
  public let plan: ResolvedPlan
  public let engine: Engine
  /// Index in the plan of the phase whose state it holds.
  public private(set) var phaseIndex: Int
  public private(set) var stateLayout: StateLayout
  /// In the order of the state's layout.
  public private(set) var models: [ModelReplica] = []
  /// The answers of an iteration; nil in a phase without.
  public private(set) var rollouts: SharedRows<Float>?
  /// Steps that were taken in the phases before that gates ended, by the phases' indices.
  public var stepsTaken: [Int: Int] = [:]
  var lookupRows: LookupRows
  var batch: Microbatch
  var batchCapacity: Int { plan.batch.microbatch * plan.model.sequenceLength }
  /// The reference's log-probabilities of answers that were met.
  var known: [ReferenceKey: Double] = [:]

  /// Allocates the state of a phase; all of it is zero until ``initialize()``, or until something
  /// is loaded into ``parts`` and ``repack()`` is called.
  public init(plan: ResolvedPlan, engine: Engine, phaseIndex: Int) {
    precondition(
      plan.precision == engine.precision, "a \(plan.precision) plan, a \(engine.precision) engine")
    self.plan = plan
    self.engine = engine
    self.phaseIndex = phaseIndex
    stateLayout = StateLayout(plan.model, trained: [])
    lookupRows = LookupRows(
      vocabularySize: plan.model.vocabularySize, capacity: plan.lookupRowCountMax)
    batch = Microbatch(tokenCapacity: plan.batch.microbatch * plan.model.sequenceLength)
    arrange(phaseIndex)
  }

  /// Makes room for the state of phase `index`, unless that is what it holds; contents are zero.
  public func arrange(_ index: Int) {
    phaseIndex = index
    let layout = plan.stateLayout(inPhase: index)
    guard layout != stateLayout else { return }
    models = []
    models = makeModels(layout) { _ in nil }
    set(layout)
  }

  /// - Parameter master: The weights that a model takes over; nil: zeros.
  private func makeModels(
    _ layout: StateLayout, master: (StateLayout.Model) -> SharedRows<Float>?
  ) -> [ModelReplica] {
    let memory = ModelReplica.SharedMemory()
    var made: [ModelRole: ModelReplica] = [:]
    return layout.models.map { model in
      let new =
        if model.role == .adapter, let choice = layout.adapter, let policy = made[.policy],
          let base = made[.reference]
        {
          AdapterReplica(
            model, plan: plan, engine: engine, memory: memory, choice: choice, policy: policy,
            base: base)
        } else {
          ModelReplica(model, plan: plan, engine: engine, memory: memory, master: master(model))
        }
      made[model.role] = new
      return new
    }
  }

  private func set(_ layout: StateLayout) {
    stateLayout = layout
    known = [:]
    rollouts =
      layout.rolloutCount > 0
      ? AlignedStorage(count: layout.rolloutCount, filledWith: Float(0)).rows : nil
  }

  /// Turns the state at the end of the phase before into that at the start of phase `index`.
  ///
  /// A model that stays keeps its weights; its moments only where the phase carries them on
  /// (``ResolvedPlan/carriesMoments(intoPhase:)``), otherwise they are zero. A new one is made of
  /// one that is there. The policy may go back to what it was
  /// (``ResolvedPlan/Start/reference``).
  public func enter(_ index: Int) {
    let layout = plan.stateLayout(inPhase: index)
    let isCarried = plan.phases[index].kind == .evaluate || plan.carriesMoments(intoPhase: index)
    phaseIndex = index
    guard !isCarried else { return }
    let old = phase.startsFrom == .reference ? models.filter { $0.role != .policy } : models
    func kept(_ model: StateLayout.Model) -> ModelReplica? {
      old.first { $0.role == model.role && !model.isRemade(in: phase) }
    }
    models = makeModels(layout) { kept($0)?.master }
    for (new, model) in zip(models, layout.models) where kept(model) == nil {
      fill(new, from: old)
    }
    set(layout)
  }

  /// Makes a model of those that were there.
  private func fill(_ model: ModelReplica, from old: [ModelReplica]) {
    let roles: [ModelRole] = (model.role == .value ? [.reward] : []) + [.policy, .reference]
    guard let source = roles.lazy.compactMap({ role in old.first { $0.role == role } }).first else {
      preconditionFailure("there is no model to make \(model.role) of")
    }
    for (index, parameter) in model.layout.parameters.enumerated() {
      let found = source.layout.parameters.first { $0.name == parameter.name }
      if let found {
        model.master[parameter.range].copy(from: source.master[found.range])
      } else {
        drawNew(parameter, index, of: model)
      }
    }
  }

  public var phase: ResolvedPlan.Phase { plan.phases[phaseIndex] }

  /// A window for each part of the state.
  public var parts: [SharedRows<Float>] {
    models.flatMap(\.parts) + (rollouts.map { [$0] } ?? [])
  }

  /// - Precondition: The state has the model.
  public subscript(_ role: ModelRole) -> ModelReplica {
    guard let found = model(role) else { preconditionFailure("the state has no \(role)") }
    return found
  }

  public func model(_ role: ModelRole) -> ModelReplica? { models.first { $0.role == role } }

  public var policy: ModelReplica { self[.policy] }

  /// The models that the phase changes, in the order in which a slice computes their gradients.
  public var trained: [ModelReplica] { models.filter { $0.moments != nil } }

  /// Packs all weights anew, after state was loaded into ``parts``: nothing that was found out
  /// about an older state holds any more.
  public func repack() {
    known = [:]
    for model in models { model.repack() }
  }

  /// Seconds spent in forward passes since the last call.
  public func takeForwardSeconds() -> Double {
    models.reduce(0) { $0 + $1.takeForwardSeconds() }
  }

  /// Scales, measures and clips the summed gradient, updates weights and moments, packs.
  ///
  /// The look-up parts join the gradient here, so it is changed, and good for one update. Either
  /// every trained model is updated or none.
  ///
  /// - Parameters:
  ///   - windows: Sum over all slices: for each trained model its flat space and look-up part.
  ///   - statistics: Sum over all slices.
  ///   - step: Counted from 0 at the start of the phase.
  public func update(
    _ windows: [SharedRows<Float>], statistics: SliceStatistics, step: Int
  ) -> UpdateOutcome {
    let trained = trained
    let scales = trained.enumerated().map { index, model in
      model.scale(
        windows[2 * index], lookup: windows[2 * index + 1], rows: lookupRows.rows,
        tokenCount: statistics.tokenCount)
    }
    let rates = plan.learningRates(ofPhase: phaseIndex, stepsTaken: stepsTaken)
    let rate = rates.rate(at: step) * brakeFactor
    let isSkipped = scales.contains(where: \.isSkipped)
    if !isSkipped {
      let count =
        plan.updatesBefore(phase: phaseIndex, stepsTaken: stepsTaken) + step + 1
      for (index, model) in trained.enumerated() {
        model.update(
          windows[2 * index], scale: scales[index], learningRate: rate, count: count, step: step)
      }
    }
    return UpdateOutcome(
      gradNorm: scales[0].norm, learningRate: rate, skipped: isSkipped,
      loss: statistics.lossSum * scales[0].mean)
  }
}

extension StateLayout.Model {
  /// Whether a phase begins with a new model of the role, though there may be one.
  fileprivate func isRemade(in phase: ResolvedPlan.Phase) -> Bool {
    switch role {
    case .policy: false
    case .reference, .value, .adapter: true
    case .reward: phase.kind == .reward && !phase.continuesReward
    }
  }
}
