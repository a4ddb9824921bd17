internal import Operators
internal import Tensors

/// What the forward pass of one layer leaves for its backward pass, windows of `tokenCount` rows.
struct LayerActivations {
  /// Residual stream before attention and after it, `[T, D]`.
  let input, middle: SharedRows<Float>
  /// Normed streams, operands of the fused products, `[T, D]`.
  let attentionNormed, feedForwardNormed: OperandRows
  /// `[T]`.
  let attentionInverseRMS, feedForwardInverseRMS: SharedRows<Float>
  /// `[T, (N + 2 G) H]`, rotated.
  let queryKeyValue: OperandRows
  /// `[T, N H]`.
  let attention: OperandRows
  /// `[N, T]`.
  let logSumExp: SharedRows<Float>
  /// `[T, 2 F]`, interleaved. Its gradient takes its place.
  let gateUp: OperandRows
  /// `[T, F]`.
  let hidden: OperandRows
}

/// Gradients that the layers of a backward pass hand on, windows of `tokenCount` rows.
struct BackwardActivations {
  /// d loss / d residual stream, and d loss / d norm output, f32, `[T, D]`.
  let stream, normed: SharedRows<Float>
  /// d loss / d branch before it joins the stream, `[T, D]`.
  let branch: OperandRows
  /// d loss / d attention output, `[T, N H]`.
  let attention: OperandRows
  /// `[T, (N + 2 G) H]`, rotation undone.
  let queryKeyValue: OperandRows
}

/// Memory of one micro-batch, allocated once.
///
/// In bytes per token and layer (bf16): residual stream 8 D, norms 4 D, q|k|v 2 (N + 2 G) H,
/// attention 2 N H + 4 N, gate|up and hidden 6 F; with N H = D and G = N that is 20 D + 6 F + 4 N.
/// What the backward pass needs besides is there once, not per layer: 30 D + 6 F.
final class Activations {
  let tokenCapacity: Int
  private let shape: ModelShape
  /// Element `l` is the stream before layer `l`; the last one the stream after all layers.
  private let streams: [AlignedStorage<Float>]
  private let layers: [LayerStorage]
  let final: FinalStorage
  private let backward: BackwardStorage?

  /// Storage of one layer at full capacity.
  private struct LayerStorage {
    let middle, attentionInverseRMS, feedForwardInverseRMS, logSumExp: AlignedStorage<Float>
    let attentionNormed, feedForwardNormed, queryKeyValue: OperandStorage
    let attention, gateUp, hidden: OperandStorage
  }

  /// The last norm: its output and statistics.
  struct FinalStorage {
    let normed: OperandStorage
    let inverseRMS: AlignedStorage<Float>
  }

  /// Storage of ``BackwardActivations``, and the packed operands of dW.
  private struct BackwardStorage {
    let stream, normed: AlignedStorage<Float>
    let branch, attention, queryKeyValue: OperandStorage
    /// By width.
    let outputSide: [Int: PackedPairs]
    let inputSide: [Int: PackedPairs]
  }

  /// - Parameter isForwardOnly: Makes one layer and one stream, for whoever keeps nothing for a
  ///   backward pass.
  init(shape: ModelShape, tokenCapacity: Int, form: OperandForm, isForwardOnly: Bool = false) {
    let (width, forward) = (shape.modelWidth, shape.feedForwardWidth)
    func floats(_ perToken: Int) -> AlignedStorage<Float> {
      AlignedStorage(count: perToken * tokenCapacity, filledWith: 0)
    }
    func operands(_ columns: Int) -> OperandStorage {
      OperandStorage(rowCount: tokenCapacity, columnCount: columns, precision: form.precision)
    }
    func pairs(_ widths: [Int]) -> [Int: PackedPairs] {
      var found: [Int: PackedPairs] = [:]
      for columns in Set(widths) {
        found[columns] = PackedPairs(
          rowCapacity: tokenCapacity, columnCount: columns, form: form)
      }
      return found
    }
    self.shape = shape
    self.tokenCapacity = tokenCapacity
    streams = (0...(isForwardOnly ? 0 : shape.layerCount)).map { _ in floats(width) }
    layers = (0..<(isForwardOnly ? 1 : shape.layerCount)).map { _ in
      LayerStorage(
        middle: floats(width), attentionInverseRMS: floats(1), feedForwardInverseRMS: floats(1),
        logSumExp: floats(shape.headCount), attentionNormed: operands(width),
        feedForwardNormed: operands(width), queryKeyValue: operands(shape.queryKeyValueWidth),
        attention: operands(shape.attentionWidth), gateUp: operands(2 * forward),
        hidden: operands(forward))
    }
    final = FinalStorage(normed: operands(width), inverseRMS: floats(1))
    guard !isForwardOnly else {
      backward = nil
      return
    }
    backward = BackwardStorage(
      stream: floats(width), normed: floats(width), branch: operands(width),
      attention: operands(shape.attentionWidth), queryKeyValue: operands(shape.queryKeyValueWidth),
      outputSide: pairs([width, shape.queryKeyValueWidth, 2 * forward]),
      inputSide: pairs([width, shape.attentionWidth, forward]))
  }

  /// The residual stream before layer `index`, or after all for `index == layerCount`.
  func stream(_ index: Int, _ tokenCount: Int) -> SharedRows<Float> {
    streams[index].rows[0..<tokenCount * shape.modelWidth]
  }

  /// The windows of the first `tokenCount` rows of a layer.
  func layer(_ index: Int, _ tokenCount: Int) -> LayerActivations {
    let storage = layers[index]
    let rows = 0..<tokenCount
    return LayerActivations(
      input: stream(index, tokenCount),
      middle: storage.middle.rows[0..<tokenCount * shape.modelWidth],
      attentionNormed: storage.attentionNormed.rows.rows(rows),
      feedForwardNormed: storage.feedForwardNormed.rows.rows(rows),
      attentionInverseRMS: storage.attentionInverseRMS.rows[rows],
      feedForwardInverseRMS: storage.feedForwardInverseRMS.rows[rows],
      queryKeyValue: storage.queryKeyValue.rows.rows(rows),
      attention: storage.attention.rows.rows(rows),
      logSumExp: storage.logSumExp.rows[0..<tokenCount * shape.headCount],
      gateUp: storage.gateUp.rows.rows(rows), hidden: storage.hidden.rows.rows(rows))
  }

  /// The windows that every layer of the backward pass uses anew.
  func backward(_ tokenCount: Int) -> BackwardActivations {
    guard let backward else { preconditionFailure("this memory is for forward passes only") }
    let rows = 0..<tokenCount
    return BackwardActivations(
      stream: backward.stream.rows[0..<tokenCount * shape.modelWidth],
      normed: backward.normed.rows[0..<tokenCount * shape.modelWidth],
      branch: backward.branch.rows.rows(rows), attention: backward.attention.rows.rows(rows),
      queryKeyValue: backward.queryKeyValue.rows.rows(rows))
  }

  /// Room for both operands of a dW of these widths.
  func pairs(_ outputWidth: Int, _ inputWidth: Int) -> (PackedPairs, PackedPairs) {
    guard let output = backward?.outputSide[outputWidth],
      let input = backward?.inputSide[inputWidth]
    else { preconditionFailure("no product of the model is \(outputWidth) by \(inputWidth)") }
    return (output, input)
  }
}
