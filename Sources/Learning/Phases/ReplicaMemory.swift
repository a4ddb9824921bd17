internal import Operators
internal import Planning
public import Settings
internal import Tensors
internal import Transformer

/// Bytes that a worker allocates for a plan, before anything is allocated.
///
/// Packing pads widths to 64 columns and tensors to 16 elements; operators' scratch and the
/// program itself come on top.
public struct ReplicaMemory: Equatable, Sendable {
  /// Master and both moments.
  public let state: Int
  /// Both packed copies of every matrix.
  public let packed: Int
  /// One node gradient, flat and look-up part.
  public let gradient: Int
  /// Buffers of nodes held or under way, without the sum of all.
  public let gradientCount: Int
  /// Head and look-up gradients that a right leaf keeps apart before it joins its sibling.
  public let apart: Int
  /// One micro-batch.
  public let activations: Int

  public var total: Int { state + packed + gradient * gradientCount + apart + activations }

  /// - Parameter slices: Those of one worker, a contiguous run.
  public init(plan: ResolvedPlan, slices: Range<Int>) {
    let shape = plan.model
    let layout = ParameterLayout(shape)
    let matrixCount = layout.parameters.reduce(0) { sum, parameter in
      let isPacked = !parameter.role.isGain && (parameter.role != .embedding || shape.isHeadTied)
      return sum + (isPacked ? parameter.count : 0)
    }
    let lookupCount = plan.lookupRowCapacity * shape.modelWidth
    let joins = plan.batch.microbatchesPerSlice == 1 && slices.count > 1
    let tokenCapacity = plan.batch.microbatch * shape.sequenceLength
    state = 12 * layout.count
    packed = 2 * plan.precision.byteCount * matrixCount
    gradient = 4 * (layout.count + lookupCount)
    gradientCount = GradientStore.bufferCount(
      slices: slices, sliceCount: plan.batch.slices, joinsLeaves: joins)
    let apartHead = tokenCapacity > Engine.headChunkTokenCount
    apart = joins ? 4 * (lookupCount + (apartHead ? shape.vocabularySize * shape.modelWidth : 0)) : 0
    activations =
      tokenCapacity * Transformer.activationByteCount(shape: shape, precision: plan.precision)
  }
}
