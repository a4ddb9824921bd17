import Operators
import Phases
import Planning
import Settings
import System
import Tensors

/// A plan with widths that are multiples of no tile.
func tinyPlan(
  sequences: Int = 8, slices: Int = 4, microbatch: Int = 2, isHeadTied: Bool = true,
  dropout: Double = 0.1, precision: Precision = .bf16, sequenceLength: Int = 13,
  peak: Double = 3e-3
) -> ResolvedPlan {
  ResolvedPlan(
    name: "tiny", seed: 7, precision: precision, dropout: dropout,
    model: ModelShape(
      layerCount: 3, modelWidth: 36, headCount: 4, keyValueHeadCount: 2, headWidth: 10,
      feedForwardWidth: 52, vocabularySize: 71, sequenceLength: sequenceLength,
      isHeadTied: isHeadTied),
    initialization: .init(),
    batch: .init(sequences: sequences, slices: slices, microbatch: microbatch),
    optimizer: .init(), tokenizer: .init(kind: .bytes, vocabularySize: 71),
    phases: [
      .init(
        kind: .pretrain, name: "pretrain", steps: 20,
        data: .init(source: .world(seed: 1, documents: 10)),
        schedule: .init(kind: .cosine, peak: peak, final: peak / 10, warmupSteps: 2),
        validation: .init(every: 0)),
      .init(
        kind: .anneal, name: "anneal", steps: 10,
        data: .init(source: .world(seed: 1, documents: 10)),
        schedule: .init(kind: .linear, peak: peak, final: 0, warmupSteps: 0),
        validation: .init(every: 0)),
    ],
    checkpoints: .init(every: 0))
}

extension ResolvedPlan {
  /// Phase 1 made SFT of adapters.
  func adapting(_ choice: AdapterChoice) -> ResolvedPlan {
    var plan = self
    plan.phases[1].kind = .sft
    plan.phases[1].lora = choice
    return plan
  }

  /// The sequences of a slice of a step: random tokens, some documents and some masked targets.
  func slice(_ slice: Int, step: Int) -> TokenSlice {
    let stream = RandomStream(seed: 11, step: step, slice: slice, purpose: 77)
    let sequences = (0..<batch.sequencesPerSlice).map { sequence in
      let length = sequence % 2 == 0 ? model.sequenceLength : model.sequenceLength - 2
      let tokens = (0...length).map {
        UInt32(stream.integer(below: model.vocabularySize, at: UInt64(sequence * 1000 + $0)))
      }
      return TokenSlice.Sequence(
        tokens: tokens, isTarget: (0..<length).map { $0 % 5 != 3 },
        segmentStarts: sequence % 2 == 0 ? [0] : [0, 4])
    }
    return TokenSlice(sequences: sequences)
  }

  /// The slices of a step.
  func slices(step: Int) -> [TokenSlice] {
    (0..<batch.slices).map { slice($0, step: step) }
  }

  /// Ids that a step touches, ascending.
  func touchedRows(step: Int) -> [UInt32] {
    var ids: Set<UInt32> = []
    for index in 0..<batch.slices {
      for sequence in slice(index, step: step).sequences {
        ids.formUnion(sequence.tokens.prefix(sequence.count))
      }
    }
    return ids.sorted()
  }
}

/// A replica with fresh weights, and its team, which is stopped when the body returns.
func withReplica<R>(
  _ plan: ResolvedPlan, threadCount: Int = 1, _ body: (Replica) throws -> R
) rethrows -> R {
  let team = ThreadTeam(memberCount: threadCount)
  defer { team.stop() }
  let replica = Replica(
    plan: plan, engine: Engine(team: team, precision: plan.precision), phaseIndex: 0)
  replica.initialize()
  return try body(replica)
}

/// A replica's gradients: the store, and the work behind it.
struct Gradients {
  let replica: Replica
  let work: GradientWork
  let store: NodeStore

  init(_ replica: Replica) {
    self.replica = replica
    work = GradientWork(replica)
    store = NodeStore(work, sliceCount: replica.plan.batch.slices)
  }

  /// The sum of all slices of a step.
  func whole(_ slices: [TokenSlice], step: Int) -> (NodeSum, SliceStatistics) {
    store.begin(step: step, slices: slices)
    let isDone = store.compute(
      slices.indices, tokens: { slices[$0] }, isCancelled: { false }, ready: { _ in })
    guard isDone, let root = store.nodes[store.tree.root],
      let sum = store.statistics[store.tree.root]
    else { preconditionFailure("the store does not hold the root") }
    return (root, sum)
  }

  /// The bits that the tests compare; an untied embedding has none in the flat part.
  func bits(_ sum: NodeSum) -> [UInt32] {
    let windows = work.windows(of: sum)
    return windows[0][0..<replica.trained[0].layout.denseCount].array.map(\.bitPattern)
      + windows[1].array.map(\.bitPattern)
  }
}
