internal import Operators
package import Optimization
internal import Planning
internal import Settings
internal import System
public import Tensors
public import Transformer

/// One model of a state, and the memory to compute with it.
public class ModelReplica {
  public let role: ModelRole
  public let layout: ParameterLayout
  /// `[layout.count]`, f32.
  public let master: SharedRows<Float>
  /// First and second moment, `[layout.count]`; nil for a model that its phase does not train.
  public let moments: (first: SharedRows<Float>, second: SharedRows<Float>)?
  let engine: Engine
  /// What is trained in place of its weights, if that is adapters.
  var adapters: (layout: ParameterLayout, master: SharedRows<Float>)?
  private let plan: ResolvedPlan
  private let memory: SharedMemory
  private var made: Transformer?
  private var optimizer: AdamW?
  /// Of the blocks of the flat space.
  private lazy var squareSums = AlignedStorage(
    count: Engine.squaresBlockCount(layout.count), filledWith: Double(0)
  ).rows

  /// Activations that the models of a replica share: one computes at a time.
  final class SharedMemory {
    var donor: Transformer?
  }

  /// - Parameter master: The weights that it takes over; nil: zeros.
  init(
    _ model: StateLayout.Model, plan: ResolvedPlan, engine: Engine, memory: SharedMemory,
    master: SharedRows<Float>? = nil
  ) {
    func flat() -> SharedRows<Float> {
      AlignedStorage(count: model.layout.count, filledWith: Float(0)).rows
    }
    role = model.role
    layout = model.layout
    self.plan = plan
    self.engine = engine
    self.memory = memory
    self.master = master ?? flat()
    moments = model.isTrained ? (flat(), flat()) : nil
  }

  /// The windows of its parts of the state.
  var parts: [SharedRows<Float>] { [master] + (moments.map { [$0.first, $0.second] } ?? []) }

  /// The model's graph over ``master``. Made, and its weights packed, when it is first asked: a
  /// model that a phase only carries needs none.
  public var transformer: Transformer {
    if let made { return made }
    let weights = ModelWeights(layout: layout, master: master, form: engine.form)
    let adapters = adapters.map {
      AdapterWeights(layout: $0.layout, master: $0.master, of: weights)
    }
    let graph = Transformer(
      weights: weights, engine: engine,
      tokenCapacity: plan.batch.microbatch * plan.model.sequenceLength,
      lookupRowCapacity: adapters == nil ? plan.lookupRowCountMax : 0, adapters: adapters,
      sharing: memory.donor)
    if memory.donor == nil { memory.donor = graph }
    weights.pack(engine)
    adapters?.pack(engine)
    made = graph
    if moments != nil {
      optimizer = AdamW(settings: plan.optimizer, groups: Self.updateGroups(weights))
    }
    return graph
  }

  func takeForwardSeconds() -> Double { made?.takeForwardSeconds() ?? 0 }

  /// Packs the master anew, after it was changed from outside.
  func repack() {
    made?.weights.pack(engine)
    made?.adapterWeights?.pack(engine)
  }

  /// The gradient's scale, once the look-up part has joined it: a tied matrix gets its rows added,
  /// an untied embedding's gradient is made of them.
  func scale(
    _ flat: SharedRows<Float>, lookup: SharedRows<Float>, rows: [Int], tokenCount: Int64
  ) -> AdamW.Scale {
    let embedding = flat[transformer.weights.embedding]
    if !layout.isHeadTied { embedding.fill(with: 0) }
    engine.embeddingBackward(
      rows: rows, dOutput: lookup, lookupGradient: embedding, dropout: nil)
    return scale(flat, tokenCount: tokenCount)
  }

  /// - Parameter factor: What the gradient still lacks.
  final func scale(
    _ flat: SharedRows<Float>, tokenCount: Int64, factor: Double = 1
  ) -> AdamW.Scale {
    AdamW.Scale(
      squareSum: engine.sumOfSquares(flat, blockSums: squareSums), tokenCount: tokenCount,
      factor: factor, limit: plan.optimizer.gradientClip)
  }

  /// One update of weights and moments.
  ///
  /// - Parameters:
  ///   - count: Updates that the moments have seen, this one included.
  ///   - step: For failpoints.
  func update(
    _ flat: SharedRows<Float>, scale: AdamW.Scale, learningRate: Double, count: Int, step: Int
  ) {
    guard let optimizer else { preconditionFailure("\(role) is not trained") }
    update(flat, by: optimizer, scale: scale, learningRate: learningRate, count: count, step: step)
  }

  final func update(
    _ flat: SharedRows<Float>, by optimizer: AdamW, scale: AdamW.Scale, learningRate: Double,
    count: Int, step: Int
  ) {
    guard let moments else { preconditionFailure("\(role) has no moments") }
    optimizer.update(
      OptimizerState(master: master, firstMoment: moments.first, secondMoment: moments.second),
      gradient: flat, scale: scale, learningRate: learningRate, count: count, engine: engine,
      betweenGroups: { if $0 == 1 { Failpoint.inUpdate.pass(step: step) } })
  }

  /// Every tensor once, in the order in which the next forward pass needs it.
  package static func updateGroups(_ weights: ModelWeights) -> [UpdateGroup] {
    func matrix(_ matrix: ProductMatrix) -> UpdateGroup {
      UpdateGroup(ranges: matrix.ranges, isDecayed: true, packed: matrix.packed)
    }
    func gain(_ range: Range<Int>) -> UpdateGroup {
      UpdateGroup(ranges: [range], isDecayed: false)
    }
    let isTied = weights.layout.isHeadTied
    var groups = [
      isTied ? matrix(weights.head) : UpdateGroup(ranges: [weights.embedding], isDecayed: true)
    ]
    for layer in weights.layers {
      groups += [
        gain(layer.attentionNorm), matrix(layer.queryKeyValue), matrix(layer.attentionOutput),
        gain(layer.feedForwardNorm), matrix(layer.gateUp), matrix(layer.down),
      ]
    }
    return groups + [gain(weights.finalNorm)] + (isTied ? [] : [matrix(weights.head)])
  }
}
