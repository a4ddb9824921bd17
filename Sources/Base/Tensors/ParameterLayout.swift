/// What a model makes of its last normed stream.
public enum HeadKind: String, Codable, Equatable, Sendable {
  /// Logits of the next token.
  case language
  /// One number for each position: a reward or a value.
  case score
}

/// What a tensor is for; decides weight decay, initial values and who reads it.
public enum ParameterRole: Equatable, Sendable {
  /// `model.embed_tokens.weight`, `[V, D]`; with a tied head also the head matrix.
  case embedding
  /// `lm_head.weight`, `[V, D]`, when the head is not tied; `score.weight`, `[1, D]`, of a model
  /// that scores.
  case head
  case finalNorm
  case attentionNorm(layer: Int)
  /// Query, key and value projections follow one another; padding may lie between them.
  case query(layer: Int)
  case key(layer: Int)
  case value(layer: Int)
  case attentionOutput(layer: Int)
  case feedForwardNorm(layer: Int)
  /// Gate and up projections follow one another; padding may lie between them.
  case gate(layer: Int)
  case up(layer: Int)
  case down(layer: Int)
  /// `A`, `[r, K]`, and `B`, `[N, r]`, of an adapter beside one of a layer's matrices.
  case adapterA(AdapterTarget, layer: Int)
  case adapterB(AdapterTarget, layer: Int)

  /// Norm gains: one-dimensional, start at 1, no weight decay.
  public var isGain: Bool {
    switch self {
    case .finalNorm, .attentionNorm, .feedForwardNorm: true
    default: false
    }
  }

  /// The layer it belongs to, if it is of one.
  public var layer: Int? {
    switch self {
    case .embedding, .head, .finalNorm: nil
    case .attentionNorm(let layer), .query(let layer), .key(let layer), .value(let layer),
      .attentionOutput(let layer), .feedForwardNorm(let layer), .gate(let layer), .up(let layer),
      .down(let layer), .adapterA(_, let layer), .adapterB(_, let layer):
      layer
    }
  }
}

/// One tensor of the model and where it lies in the flat parameter space.
public struct Parameter: Equatable, Sendable {
  /// Its Hugging Face name.
  public let name: String
  public let role: ParameterRole
  /// `[rows, columns]`, or `[D]` for a gain. Row-major.
  public let shape: [Int]
  /// Its first element in the flat space.
  public let offset: Int
  public var count: Int { shape.reduce(1, *) }
  public var range: Range<Int> { offset..<offset + count }
}

/// The flat space in which master weights, moments and gradients lie, tensor after tensor.
///
/// Tensors stand in the order in which the backward pass finishes their gradients: head (a tied
/// embedding stands here), final norm, layers from last to first, and last an untied embedding.
/// So a gradient bucket is one range, and buckets are ready in ascending order. Names and shapes
/// are those of Hugging Face, rows in its order; kernels that want another order of rows permute
/// while packing. Tensors start at multiples of 16 elements; the padding between them is zero.
public struct ParameterLayout: Equatable, Sendable {
  public let shape: ModelShape
  public let head: HeadKind
  /// In flat order.
  public let parameters: [Parameter]
  /// Elements of the flat space, padding included.
  public let count: Int

  private init(_ shape: ModelShape, head: HeadKind, _ order: FlatOrder) {
    self.shape = shape
    self.head = head
    parameters = order.parameters
    count = order.count
  }

  /// The adapters of a model of this shape: `A` and `B` of each target, in the place that the
  /// target has in the model's order.
  public init(_ shape: ModelShape, adapter: AdapterChoice) {
    var order = FlatOrder()
    for matrix in ParameterLayout(shape).parameters {
      guard let layer = matrix.role.layer,
        let target = adapter.targets.first(where: { $0.role(inLayer: layer) == matrix.role })
      else { continue }
      let name = matrix.name.dropLast(".weight".count)
      order.add(
        "\(name).lora_A.weight", .adapterA(target, layer: layer), [adapter.rank, matrix.shape[1]])
      order.add(
        "\(name).lora_B.weight", .adapterB(target, layer: layer), [matrix.shape[0], adapter.rank])
    }
    self.init(shape, head: .language, order)
  }

  /// - Parameter head: A model that scores has an untied embedding, whatever `shape` says.
  public init(_ shape: ModelShape, head: HeadKind = .language) {
    var order = FlatOrder()
    func add(_ name: String, _ role: ParameterRole, _ dimensions: [Int]) {
      order.add(name, role, dimensions)
    }
    let width = shape.modelWidth
    let embedding = [shape.vocabularySize, width]
    let isHeadTied = shape.isHeadTied && head == .language
    if isHeadTied {
      add("model.embed_tokens.weight", .embedding, embedding)
    } else if head == .language {
      add("lm_head.weight", .head, embedding)
    } else {
      add("score.weight", .head, [1, width])
    }
    add("model.norm.weight", .finalNorm, [width])
    for layer in (0..<shape.layerCount).reversed() {
      let prefix = "model.layers.\(layer)"
      let forward = shape.feedForwardWidth
      let keyValueWidth = shape.keyValueHeadCount * shape.headWidth
      add("\(prefix).mlp.down_proj.weight", .down(layer: layer), [width, forward])
      add("\(prefix).mlp.gate_proj.weight", .gate(layer: layer), [forward, width])
      add("\(prefix).mlp.up_proj.weight", .up(layer: layer), [forward, width])
      add("\(prefix).post_attention_layernorm.weight", .feedForwardNorm(layer: layer), [width])
      add(
        "\(prefix).self_attn.o_proj.weight", .attentionOutput(layer: layer),
        [width, shape.attentionWidth])
      add("\(prefix).self_attn.q_proj.weight", .query(layer: layer), [shape.attentionWidth, width])
      add("\(prefix).self_attn.k_proj.weight", .key(layer: layer), [keyValueWidth, width])
      add("\(prefix).self_attn.v_proj.weight", .value(layer: layer), [keyValueWidth, width])
      add("\(prefix).input_layernorm.weight", .attentionNorm(layer: layer), [width])
    }
    if !isHeadTied { add("model.embed_tokens.weight", .embedding, embedding) }
    self.init(shape, head: head, order)
  }

  /// Whether the head is the embedding matrix.
  public var isHeadTied: Bool { shape.isHeadTied && head == .language }

  /// Rows of the head: V, or 1.
  public var headRowCount: Int { head == .language ? shape.vocabularySize : 1 }

  /// Parameters of the model, padding not counted.
  public var parameterCount: Int { parameters.reduce(0) { $0 + $1.count } }

  /// Elements whose gradient the backward pass writes where they lie: all but an untied embedding,
  /// which stands last and gets its rows from the look-up part.
  public var denseCount: Int {
    parameters.last.map { $0.role == .embedding && !isHeadTied ? $0.offset : count } ?? 0
  }

  /// The tensor with this role.
  /// - Precondition: The model has one.
  public subscript(_ role: ParameterRole) -> Parameter {
    guard let found = parameters.first(where: { $0.role == role }) else {
      preconditionFailure("the model has no tensor \(role)")
    }
    return found
  }

  /// The flat range of gradients that the backward pass finishes together with `layer`.
  public func range(ofLayer layer: Int) -> Range<Int> {
    let own = parameters.filter { $0.role.layer == layer }
    guard let first = own.first, let last = own.last else {
      preconditionFailure("the model has no layer \(layer)")
    }
    return first.offset..<(last.range.upperBound + 15) / 16 * 16
  }
}

/// Tensors one after the other, each at a multiple of 16 elements.
private struct FlatOrder {
  var parameters: [Parameter] = []
  /// Padding included.
  var count = 0

  mutating func add(_ name: String, _ role: ParameterRole, _ shape: [Int]) {
    let parameter = Parameter(name: name, role: role, shape: shape, offset: count)
    parameters.append(parameter)
    count = (count + parameter.count + 15) / 16 * 16
  }
}
