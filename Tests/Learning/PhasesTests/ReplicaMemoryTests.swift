import Phases
import Settings
import Tensors
import Testing

@Suite struct `Replica memory` {
  private func plan(
    _ layers: Int, _ width: Int, _ heads: Int, _ forward: Int, _ vocabulary: Int, _ length: Int,
    sequences: Int, slices: Int
  ) -> ResolvedPlan {
    var plan = tinyPlan(sequences: sequences, slices: slices, microbatch: sequences / slices)
    plan.model = ModelShape(
      layerCount: layers, modelWidth: width, headCount: heads, keyValueHeadCount: heads,
      headWidth: width / heads, feedForwardWidth: forward, vocabularySize: vocabulary,
      sequenceLength: length, isHeadTied: true)
    return plan
  }

  /// 16 bytes per parameter, 4 more for each subtree held and for the sum, 34 D + 8 F bytes per
  /// token and layer of one micro-batch, and 64 MiB for everything else.
  @Test(arguments: [1, 3])
  func `shapes small and gpt2 stay within the bound`(workerCount: Int) {
    for plan in [
      plan(6, 384, 6, 1024, 8192, 256, sequences: 16, slices: 8),
      plan(12, 768, 12, 2048, 32768, 512, sequences: 4, slices: 4),
    ] {
      let shape = plan.model
      let parameterCount = ParameterLayout(shape).parameterCount
      let slices = 0..<(plan.batch.slices + workerCount - 1) / workerCount
      let memory = ReplicaMemory(plan: plan, slices: slices)
      let subtreeCount = workerCount == 1 ? 1 : 2
      let activations = 34 * shape.modelWidth + 8 * shape.feedForwardWidth
      let tokenCount = plan.batch.microbatch * shape.sequenceLength
      #expect(memory.activations <= activations * shape.layerCount * tokenCount)
      // The worker that holds the root itself needs no other memory for the sum.
      let sum = workerCount == 1 ? 0 : memory.gradient
      let bound = (16 + 4 * (subtreeCount + 1)) * parameterCount
      #expect(
        memory.total + sum
          <= bound + activations * shape.layerCount * tokenCount + (64 << 20))
    }
  }
}
