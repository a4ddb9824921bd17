public import Operators
public import Tensors

/// One matrix of the model as the products read it: packed, and where each of its columns lies in
/// the flat space, which `dW` follows back.
public struct ProductMatrix: Sendable {
  public let packed: PackedWeights
  /// `rowOffsets[n]`: flat offset of the master row that is column `n` of the product.
  public let rowOffsets: [Int]
  /// The flat elements it packs, tensor by tensor; padding between tensors is not part of it.
  public let ranges: [Range<Int>]

  init(rowOffsets: [Int], columnCount: Int, ranges: [Range<Int>], form: OperandForm) {
    packed = PackedWeights(rowOffsets: rowOffsets, columnCount: columnCount, form: form)
    self.rowOffsets = rowOffsets
    self.ranges = ranges
  }
}

/// The weights of one decoder layer.
public struct LayerWeights: Sendable {
  /// Columns q | k | v, `[(N + 2 G) H, D]`; the two elements of a rotary pair stand side by side.
  public let queryKeyValue: ProductMatrix
  /// `[D, N H]`.
  public let attentionOutput: ProductMatrix
  /// Columns gate 0, up 0, gate 1, up 1, ..., `[2 F, D]`.
  public let gateUp: ProductMatrix
  /// `[D, F]`.
  public let down: ProductMatrix
  /// Flat ranges of the gains, `[D]`.
  public let attentionNorm: Range<Int>
  public let feedForwardNorm: Range<Int>
  /// Flat range that the backward pass finishes together.
  public let flatRange: Range<Int>
}

/// A model's weights: the f32 master in the flat space, and its packed copies.
///
/// It owns the packed copies (in the form that its engine's products take) and borrows the master.
public final class ModelWeights: Sendable {
  public let layout: ParameterLayout
  /// `[layout.count]`.
  public let master: SharedRows<Float>
  public let form: OperandForm
  public let layers: [LayerWeights]
  public let finalNorm: Range<Int>
  /// `[V, D]`: the embedding matrix when tied. `[1, D]` for a model that scores.
  public let head: ProductMatrix
  /// Flat range of the look-up table `[V, D]`.
  public let embedding: Range<Int>
  public let rotary: RotaryTable

  /// - Parameter form: That of the engine which will use them.
  public init(layout: ParameterLayout, master: SharedRows<Float>, form: OperandForm) {
    precondition(
      master.count == layout.count, "a master of \(master.count), a layout of \(layout.count)")
    let shape = layout.shape
    let matrices = MatrixPlan(layout: layout, form: form)
    self.layout = layout
    self.master = master
    self.form = form
    layers = (0..<shape.layerCount).map(matrices.layer)
    finalNorm = layout[.finalNorm].range
    head = matrices.plain(layout.isHeadTied ? .embedding : .head)
    embedding = layout[.embedding].range
    rotary = RotaryTable(
      headWidth: shape.headWidth, positionCount: shape.sequenceLength, theta: shape.ropeTheta)
  }

  var shape: ModelShape { layout.shape }

  /// Every packed matrix, in the order in which a forward pass needs them.
  public var matrices: [ProductMatrix] {
    layers.flatMap { [$0.queryKeyValue, $0.attentionOutput, $0.gateUp, $0.down] } + [head]
  }

  /// Packs every matrix anew from the master.
  public func pack(_ engine: Engine) {
    for matrix in matrices { engine.pack(matrix.packed, from: master) }
  }
}

/// Says which master row becomes which column of a product.
private struct MatrixPlan {
  let layout: ParameterLayout
  let form: OperandForm

  func layer(_ layer: Int) -> LayerWeights {
    LayerWeights(
      queryKeyValue: queryKeyValue(layer),
      attentionOutput: plain(.attentionOutput(layer: layer)),
      gateUp: gateUp(layer),
      down: plain(.down(layer: layer)),
      attentionNorm: layout[.attentionNorm(layer: layer)].range,
      feedForwardNorm: layout[.feedForwardNorm(layer: layer)].range,
      flatRange: layout.range(ofLayer: layer))
  }

  func plain(_ role: ParameterRole) -> ProductMatrix {
    matrix(layout[role].shape[0], [role]) { rows(of: role)($0) }
  }

  private func gateUp(_ layer: Int) -> ProductMatrix {
    let (gate, up) = (ParameterRole.gate(layer: layer), ParameterRole.up(layer: layer))
    return matrix(2 * layout.shape.feedForwardWidth, [gate, up]) { column in
      rows(of: column & 1 == 0 ? gate : up)(column / 2)
    }
  }

  /// Queries and keys turn in pairs (i, i + H/2) of a head. Packing puts such a pair into the
  /// columns 2 i and 2 i + 1, so that the epilogue turns neighbours; dot products of q and k do not
  /// mind the order. Values keep theirs.
  private func queryKeyValue(_ layer: Int) -> ProductMatrix {
    let shape = layout.shape
    let (query, key) = (ParameterRole.query(layer: layer), ParameterRole.key(layer: layer))
    let value = ParameterRole.value(layer: layer)
    let keyStart = shape.attentionWidth
    let valueStart = keyStart + shape.keyValueHeadCount * shape.headWidth
    func pairAdjacent(_ column: Int) -> Int {
      let (head, inHead) = column.quotientAndRemainder(dividingBy: shape.headWidth)
      return head * shape.headWidth + inHead / 2 + (inHead & 1) * (shape.headWidth / 2)
    }
    return matrix(shape.queryKeyValueWidth, [query, key, value]) { column in
      if column < keyStart { return rows(of: query)(pairAdjacent(column)) }
      if column < valueStart { return rows(of: key)(pairAdjacent(column - keyStart)) }
      return rows(of: value)(column - valueStart)
    }
  }

  private func matrix(
    _ columnCount: Int, _ roles: [ParameterRole], row: (Int) -> Int
  ) -> ProductMatrix {
    ProductMatrix(
      rowOffsets: (0..<columnCount).map(row), columnCount: layout[roles[0]].shape[1],
      ranges: roles.map { layout[$0].range }, form: form)
  }

  /// The flat offset of each row of a matrix.
  private func rows(of role: ParameterRole) -> (Int) -> Int {
    let parameter = layout[role]
    return { parameter.offset + $0 * parameter.shape[1] }
  }
}
