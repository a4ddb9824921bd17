internal import Operators
internal import Optimization
internal import Phases
internal import Settings
internal import Tensors
internal import Transformer

/// The update of all of a shape's weights, beside a probe that reads and writes as much and
/// computes next to nothing.
struct OptimizerBench {
  let setup: BenchSetup

  func measure() -> [(String, JSONNode)] {
    let engine = setup.engine
    let weights = setup.weights { _ in 0.01 }
    let count = weights.layout.count
    func rows(_ value: Float) -> SharedRows<Float> {
      AlignedStorage(count: count, filledWith: value).rows
    }
    let state = OptimizerState(
      master: weights.master, firstMoment: rows(0), secondMoment: rows(0))
    let (gradient, packed) = (rows(0.001), rows(0))
    let optimizer = AdamW(
      settings: ResolvedPlan.Optimizer(), groups: ModelReplica.updateGroups(weights))
    let scale = AdamW.Scale(squareSum: 1, tokenCount: 1, limit: 1)
    var (updates, probes): ([Double], [Double]) = ([], [])
    // In turns, after one of each that is not timed.
    for round in 0...setup.rounds {
      let update = BenchSetup.seconds {
        optimizer.update(
          state, gradient: gradient, scale: scale, learningRate: 1e-6, count: round + 1,
          engine: engine)
      }
      let probe = BenchSetup.seconds {
        engine.probeUpdate(
          [state.master, state.firstMoment, state.secondMoment], gradient: gradient, packed: packed)
      }
      if round > 0 {
        updates.append(update)
        probes.append(probe)
      }
    }
    return figures(count, updates, probes)
  }

  private func figures(
    _ count: Int, _ updates: [Double], _ probes: [Double]
  ) -> [(String, JSONNode)] {
    // Weights and moments read and written, the gradient read, both packed forms written.
    let bytesPerParameter = 28 + 2 * setup.engine.precision.byteCount
    func bandwidth(_ seconds: Double, _ bytes: Int) -> JSONNode {
      BenchCommand.rounded(Double(bytes * count) / seconds * 1e-9, 2)
    }
    let shares = zip(updates, probes).map { update, probe in
      probe / update * Double(bytesPerParameter) / Double(Engine.probedBytesPerElement)
    }
    return setup.head + [
      ("parameters", .integer(count)), ("rounds", .integer(setup.rounds)),
      ("bytes_per_parameter", .integer(bytesPerParameter)),
      ("seconds_median", .decimal(BenchCommand.median(updates))),
      ("GBps", bandwidth(BenchCommand.median(updates), bytesPerParameter)),
      ("GBps_probe", bandwidth(BenchCommand.median(probes), Engine.probedBytesPerElement)),
      ("of_probe", BenchCommand.rounded(BenchCommand.median(shares), 4)),
      ("of_probe_best", BenchCommand.rounded(shares.max() ?? 0, 4)),
      ("of_probe_worst", BenchCommand.rounded(shares.min() ?? 0, 4)),
    ]
  }
}
