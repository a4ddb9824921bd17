public import Operators
public import Tensors

/// A model's adapters: the f32 master of all `A` and `B` in their flat space, and packed copies.
///
///     W = W0 + s B A
///
/// The model's own weights hold `W`, so a forward pass knows of no adapter. Only the backward pass
/// does: gradients go to `A` and `B`, and everything else is frozen.
///
/// - Source: Hu et al. 2021, arXiv:2106.09685, eq. 3; `s` is its `alpha / r`.
public final class AdapterWeights: Sendable {
  public let layout: ParameterLayout
  /// `[layout.count]`.
  public let master: SharedRows<Float>
  let layers: [LayerAdapters]
  private let weights: ModelWeights

  /// - Parameters:
  ///   - layout: Of the adapters.
  ///   - weights: The model that they change.
  public init(layout: ParameterLayout, master: SharedRows<Float>, of weights: ModelWeights) {
    precondition(
      master.count == layout.count, "a master of \(master.count), a layout of \(layout.count)")
    self.layout = layout
    self.master = master
    self.weights = weights
    layers = weights.layers.indices.map { layer in
      func adapter(_ matrix: ProductMatrix) -> MatrixAdapter? {
        MatrixAdapter(of: matrix, in: weights, layer: layer, layout)
      }
      let own = weights.layers[layer]
      return LayerAdapters(
        queryKeyValue: adapter(own.queryKeyValue),
        attentionOutput: adapter(own.attentionOutput), gateUp: adapter(own.gateUp),
        down: adapter(own.down), flatRange: layout.range(ofLayer: layer))
    }
  }

  /// In the order in which a forward pass needs their matrices.
  var matrices: [MatrixAdapter] {
    layers.flatMap { [$0.queryKeyValue, $0.attentionOutput, $0.gateUp, $0.down] }.compactMap(\.self)
  }

  /// Packs `A` and `B` anew from the master.
  public func pack(_ engine: Engine) {
    for matrix in matrices { matrix.pack(from: master, engine) }
  }

  /// Makes the model's matrices anew, master and packed copies: `W = W0 + s B A`. Others stay.
  ///
  /// - Parameters:
  ///   - base: `W0`, in the model's flat space.
  ///   - scale: `s`.
  public func merge(base: SharedRows<Float>, scale: Float, _ engine: Engine) {
    for matrix in matrices {
      for tensor in matrix.tensors {
        engine.addLowRank(
          base: base[tensor.range], left: master[tensor.b], right: master[tensor.a],
          rank: matrix.rank, scale: scale, output: weights.master[tensor.range])
      }
      engine.pack(matrix.packed, from: weights.master)
    }
  }
}

/// The adapters of a layer's matrices; nil for a frozen one.
struct LayerAdapters: Sendable {
  let queryKeyValue, attentionOutput, gateUp, down: MatrixAdapter?
  /// Flat range that the backward pass finishes together.
  let flatRange: Range<Int>
}

/// The adapters of one packed matrix, whose tensors read the same input: their `A` one below the
/// other, `[S, K]`, and their `B` side by side, `[N, S]`, with S = tensors x rank. A row of `B` has
/// numbers in the columns of its own tensor alone; the others are zero.
struct MatrixAdapter: Sendable {
  /// One adapted tensor: its range in the model's flat space, and those of `A` and `B` in theirs.
  struct Tensor: Sendable {
    let range, a, b: Range<Int>
  }

  let rank: Int
  let tensors: [Tensor]
  /// The matrix itself.
  let packed: PackedWeights
  /// `A`, `[S, K]`, and where its rows lie in the adapters' flat space.
  let a: PackedWeights
  let aOffsets: [Int]
  /// `B`, `[N, S]`.
  let b: PackedWeights
  /// Rows of `[N, S]` as products write them.
  let bOffsets: [Int]
  private let bMaster: SharedRows<Float>
  /// The numbers of `B`: where each run of `rank` lies in `[N, S]`, and where in the flat space.
  private let runs: [(wide: Int, flat: Int)]

  /// Nil where `adapters` has nothing for the tensors of `matrix`.
  init?(
    of matrix: ProductMatrix, in weights: ModelWeights, layer: Int, _ adapters: ParameterLayout
  ) {
    func found(_ role: ParameterRole) -> Parameter? {
      adapters.parameters.first { $0.role == role }
    }
    let pairs = AdapterTarget.allCases.compactMap { target -> (Range<Int>, Parameter, Parameter)? in
      let range = weights.layout[target.role(inLayer: layer)].range
      guard matrix.ranges.contains(range), let a = found(.adapterA(target, layer: layer)),
        let b = found(.adapterB(target, layer: layer))
      else { return nil }
      return (range, a, b)
    }
    guard let first = pairs.first?.1 else { return nil }
    let (rank, inputWidth) = (first.shape[0], first.shape[1])
    let width = rank * pairs.count
    self.rank = rank
    tensors = pairs.map { Tensor(range: $0.0, a: $0.1.range, b: $0.2.range) }
    packed = matrix.packed
    aOffsets = pairs.flatMap { pair in (0..<rank).map { pair.1.offset + $0 * inputWidth } }
    a = PackedWeights(rowOffsets: aOffsets, columnCount: inputWidth, form: weights.form)
    bOffsets = matrix.rowOffsets.indices.map { $0 * width }
    b = PackedWeights(rowOffsets: bOffsets, columnCount: width, form: weights.form)
    bMaster = AlignedStorage(count: matrix.rowOffsets.count * width, filledWith: 0).rows
    runs = matrix.rowOffsets.enumerated().compactMap { row, offset in
      guard let index = pairs.firstIndex(where: { $0.0.contains(offset) }) else { return nil }
      let (range, _, b) = pairs[index]
      let rowInTensor = (offset - range.lowerBound) / inputWidth
      return (row * width + index * rank, b.offset + rowInTensor * rank)
    }
  }

  func pack(from master: SharedRows<Float>, _ engine: Engine) {
    master.withSpan { flat in
      bMaster.withMutableSpan { wide in
        for run in runs {
          for j in 0..<rank { wide[run.wide + j] = flat[run.flat + j] }
        }
      }
    }
    engine.pack(a, from: master)
    engine.pack(b, from: bMaster)
  }

  /// Takes the numbers of `dB` out of a product of all N rows and S columns.
  ///
  /// - Parameter accumulate: Adds them to what the flat gradient holds.
  func gather(_ product: SharedRows<Float>, into gradient: SharedRows<Float>, accumulate: Bool) {
    product.withSpan { wide in
      gradient.withMutableSpan { flat in
        for run in runs {
          for j in 0..<rank {
            let value = wide[run.wide + j]
            flat[run.flat + j] = accumulate ? flat[run.flat + j] + value : value
          }
        }
      }
    }
  }
}

/// What the gradients of adapters are computed in.
final class AdapterWorkspace {
  /// By S: a product with `A` or `B`, `[T, S]`, and the same packed.
  private let products: [Int: (rows: OperandStorage, pairs: PackedPairs)]
  /// `dB` of a whole matrix, `[N, S]`.
  let wide: SharedRows<Float>
  /// Gains are frozen, and their gradient is a by-product.
  let gain: SharedRows<Float>

  init(_ adapters: AdapterWeights, engine: Engine, tokenCapacity: Int) {
    let matrices = adapters.matrices
    var products: [Int: (rows: OperandStorage, pairs: PackedPairs)] = [:]
    for width in Set(matrices.map { $0.aOffsets.count }) {
      products[width] = (
        OperandStorage(
          rowCount: tokenCapacity, columnCount: width, precision: engine.precision),
        PackedPairs(rowCapacity: tokenCapacity, columnCount: width, form: engine.form)
      )
    }
    self.products = products
    let most = matrices.map { $0.bOffsets.count * $0.aOffsets.count }.max() ?? 1
    wide = AlignedStorage(count: most, filledWith: 0).rows
    gain = AlignedStorage(count: adapters.layout.shape.modelWidth, filledWith: 0).rows
  }

  /// Room for the products of one matrix's adapters.
  func product(_ adapter: MatrixAdapter, _ tokenCount: Int) -> (OperandRows, PackedPairs) {
    guard let found = products[adapter.aOffsets.count] else {
      preconditionFailure("no adapter has \(adapter.aOffsets.count) columns")
    }
    return (found.rows.rows.rows(0..<tokenCount), found.pairs)
  }
}
