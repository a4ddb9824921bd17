public import Settings
public import Tensors

/// Memory of a worker, item by item, before anything is allocated.
///
/// It counts what the worker allocates for the models of the phase that has most of them; each item
/// names its rule. `launch/soak
/// memory` compares it with what a run really takes.
public struct MemoryPlan: Equatable, Sendable {
  public struct Item: Equatable, Sendable {
    public let name: String
    public let byteCount: Int
    /// How the bytes come about.
    public let rule: String
  }

  /// Slices of the worker; none on standby, where it keeps the state and gets the sums as well.
  public let slices: Range<Int>
  public let items: [Item]

  public var byteCount: Int { items.reduce(0) { $0 + $1.byteCount } }

  /// Program, libraries, tokens of the granted window, sockets.
  public static let processByteCount = 24 << 20
  /// Pieces of other ranks' gradients that wait to be added.
  public static let slotByteCount = 8 << 20
  /// Texts that a rollout continues at once.
  public static let streamCount = 32
  /// Tokens whose share of the head's gradient is one product.
  public static let headChunkTokenCount = 512
  /// Tokens whose logits exist at the same time.
  public static let headBlockTokenCount = 128

  /// The plans of all workers, those on standby included.
  public static func workers(
    plan: ResolvedPlan, workerCount: Int, threadCount: Int
  ) -> [MemoryPlan] {
    SliceTree(sliceCount: plan.batch.slices).deal(workerCount: workerCount).map {
      MemoryPlan(plan: plan, slices: $0, workerCount: workerCount, threadCount: threadCount)
    }
  }

  /// - Parameters:
  ///   - state: Of the phase in question; nil: of the one that needs most.
  ///   - slices: The contiguous run of one worker.
  public init(
    plan: ResolvedPlan, state: StateLayout? = nil, slices: Range<Int>, workerCount: Int,
    threadCount: Int
  ) {
    let state = state ?? plan.largestState
    // What an adapter's product is added to is never asked, and the adapter is no model of its own.
    let models = state.models.count - (state.adapter == nil ? 0 : 2)
    let trained = state.models.filter(\.isTrained)
    let lookups = state.adapter == nil ? trained.count : 0
    let gradientCount = trained.reduce(0) { $0 + $1.layout.count }
    let sizes = Sizes(plan: plan, layout: state[.policy].layout)
    let joins = plan.batch.microbatchesPerSlice == 1 && slices.count > 1
    var buffers = Self.bufferCount(
      slices: slices, sliceCount: plan.batch.slices, joinsLeaves: joins)
    let held = SliceTree(sliceCount: plan.batch.slices).nodes(covering: slices).count
    // Sums arrive while the last slice is computed, so they have a buffer of their own.
    if workerCount > 1 { buffers += 1 }
    let tokens = plan.batch.microbatch * plan.model.sequenceLength
    var items = [
      Item(
        name: "weights and moments", byteCount: state.byteCount,
        rule: state.models.count == 1
          ? "12 per parameter"
          : "12 per parameter of \(trained.count), 4 of \(state.models.count - trained.count) "
            + "frozen models"
      ),
      Item(
        name: "packed weights", byteCount: sizes.packed * models,
        rule: "\(2 * plan.precision.byteCount) per matmul parameter, both orientations"
          + (models == 1 ? "" : " x \(models) models")),
      Item(
        name: "gradients", byteCount: 4 * gradientCount * buffers,
        rule: "4 per parameter x \(buffers) (\(held) held)"),
    ]
    if lookups > 0 {
      let count = lookups * (buffers + (joins ? 1 : 0))
      items.append(
        Item(
          name: "look-up rows", byteCount: 4 * sizes.lookup * count,
          rule: "\(plan.lookupRowCountMax) rows x \(count)"))
    }
    if let adapter = state.adapter {
      items.append(
        Item(
          name: "adapter operands", byteCount: sizes.operands(of: adapter, plan),
          rule: "A and B packed, their products with a micro-batch"))
    }
    if state.rolloutCount > 0 {
      items.append(
        Item(
          name: "answers", byteCount: 4 * state.rolloutCount * (buffers + 1) + sizes.caches,
          rule: "rows x \(buffers + 1), keys and values of \(Self.streamCount) texts"))
    }
    if joins, lookups > 0, tokens > Self.headChunkTokenCount {
      items.append(
        Item(
          name: "head gradient apart", byteCount: 4 * sizes.head, rule: "4 per head parameter"))
    }
    items += [
      Item(
        name: "activations", byteCount: tokens * sizes.activationsPerToken,
        rule: "\(Figures.grouped(sizes.activationsPerToken)) per token"
          + " x \(Figures.grouped(tokens)) tokens of a micro-batch"),
      Item(
        name: "output head", byteCount: sizes.headWorkspace,
        rule: "logits of \(min(tokens, Self.headBlockTokenCount)) tokens, their gradient of "
          + "\(min(tokens, Self.headChunkTokenCount))"),
      Item(
        name: "attention", byteCount: sizes.attentionPerThread * threadCount,
        rule: "tiles of one head x \(threadCount) thread\(threadCount == 1 ? "" : "s")"),
    ]
    if workerCount > 1 {
      items.append(
        Item(name: "exchange", byteCount: Self.slotByteCount, rule: "slots for incoming pieces"))
    }
    items.append(
      Item(name: "program", byteCount: Self.processByteCount, rule: "code, tokens, sockets"))
    self.slices = slices
    self.items = items
  }

  /// Most gradient buffers in use while a run of slices is computed in ascending order and
  /// siblings are added as soon as both are there.
  ///
  /// - Parameter joinsLeaves: A right leaf of a single micro-batch is added to its sibling while
  ///   it is computed and needs no buffer.
  public static func bufferCount(
    slices: Range<Int>, sliceCount: Int, joinsLeaves: Bool
  ) -> Int {
    let root = SliceTree(sliceCount: sliceCount).root
    var held: Set<SliceNode> = [], most = 0
    for slice in slices {
      var node = SliceNode.leaf(slice)
      let joins = joinsLeaves && held.contains(node.sibling)
      most = max(most, held.count + (joins ? 0 : 1))
      while node != root, held.remove(node.sibling) != nil { node = node.parent }
      held.insert(node)
    }
    return most
  }
}

/// Bytes and elements of the parts, from the shapes alone.
private struct Sizes {
  /// Both packed copies of every matrix.
  let packed: Int
  /// Elements of the look-up part.
  let lookup: Int
  /// Elements of the output head.
  let head: Int
  let activationsPerToken: Int
  let headWorkspace: Int
  let attentionPerThread: Int
  /// Keys and values of texts that are continued.
  let caches: Int

  init(plan: ResolvedPlan, layout: ParameterLayout) {
    let shape = plan.model
    let element = plan.precision.byteCount
    let (width, forward) = (shape.modelWidth, shape.feedForwardWidth)
    let (attention, fused) = (shape.attentionWidth, shape.queryKeyValueWidth)
    func both(_ rows: Int, _ columns: Int) -> Int { Self.both(rows, columns, element) }
    let layer =
      both(fused, width) + both(width, attention) + both(2 * forward, width)
      + both(width, forward)
    packed = shape.layerCount * layer + both(shape.vocabularySize, width)
    lookup = plan.lookupRowCountMax * width
    head = shape.vocabularySize * width
    // What a layer keeps for its backward pass, then what exists once, then the packed operands of
    // weight gradients, one for each width on either side.
    let perLayer =
      4 * (2 * width + 2 + shape.headCount)
      + element * (2 * width + fused + attention + 3 * forward)
    let once = 4 * (3 * width + 1) + element * (2 * width + attention + fused)
    let sides = [Set([width, fused, 2 * forward]), Set([width, attention, forward])]
    let pairs = sides.joined().reduce(0) { $0 + element * Self.panels($1) }
    activationsPerToken = shape.layerCount * perLayer + once + pairs
    let tokens = plan.batch.microbatch * shape.sequenceLength
    let (chunk, block) = (
      min(tokens, MemoryPlan.headChunkTokenCount), min(tokens, MemoryPlan.headBlockTokenCount)
    )
    headWorkspace =
      (4 * block + element * chunk) * (Self.panels(shape.vocabularySize) + Self.panels(width))
    attentionPerThread = Self.attention(shape, element)
    let keyValueWidth = 2 * shape.keyValueHeadCount * shape.headWidth
    caches = MemoryPlan.streamCount * shape.layerCount * shape.sequenceLength * keyValueWidth
      * element
  }

  /// Columns rounded up to whole panels of 64.
  static func panels(_ columns: Int) -> Int { (columns + 63) / 64 * 64 }

  /// One packed operand: panels of 64 columns, `k` in pairs for bf16.
  static func packed(_ columns: Int, depth: Int, _ element: Int) -> Int {
    panels(columns) * (element == 2 ? (depth + 1) / 2 * 2 : depth) * element
  }

  /// A matrix in both orientations.
  static func both(_ rows: Int, _ columns: Int, _ element: Int) -> Int {
    packed(rows, depth: columns, element) + packed(columns, depth: rows, element)
  }

  /// What the products of adapters read and write.
  func operands(of adapter: AdapterChoice, _ plan: ResolvedPlan) -> Int {
    let (shape, element) = (plan.model, plan.precision.byteCount)
    let products: [(targets: Set<AdapterTarget>, rows: Int, columns: Int)] = [
      ([.query, .key, .value], shape.queryKeyValueWidth, shape.modelWidth),
      ([.output], shape.modelWidth, shape.attentionWidth),
      ([.gate, .up], 2 * shape.feedForwardWidth, shape.modelWidth),
      ([.down], shape.modelWidth, shape.feedForwardWidth),
    ]
    let ranks = products.map { adapter.rank * $0.targets.intersection(adapter.targets).count }
    let layer = zip(products, ranks).reduce(0) { sum, found in
      let ((_, rows, columns), rank) = found
      return rank == 0 ? sum
        : sum + Self.both(rank, columns, element) + Self.both(rows, rank, element) + 4 * rows * rank
    }
    let tokens = plan.batch.microbatch * shape.sequenceLength
    let perToken = Set(ranks).reduce(0) { $0 + ($1 + Self.panels($1)) * element }
    let apart = zip(products, ranks).map { 4 * $0.rows * $1 }.max() ?? 0
    return shape.layerCount * layer + tokens * perToken + apart
  }

  /// Key and value tiles of a window in packed form and, in the backward pass, their gradients.
  static func attention(_ shape: ModelShape, _ element: Int) -> Int {
    let tiles = (shape.sequenceLength + 63) / 64
    let operand = 64 * panels(shape.headWidth) * element
    let block = 64 * panels(shape.headWidth) * 4
    let forward = tiles * 2 * operand + block
    let backward = tiles * (operand + 2 * block) + 4 * operand + block + 64 * 64 * 4
    return max(forward, backward)
  }
}
