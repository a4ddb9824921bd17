import Operators
import Phases
import Planning
import Settings
import System
import Tensors
import Testing

/// Loss and gradient belong to the batch: into how many slices and micro-batches it is cut, and
/// whether its sequences are padded, changes nothing but the order of additions.
@Suite struct `Partitions of a batch` {
  /// Slices and sequences of a micro-batch.
  struct Cut: Sendable {
    var slices: Int
    var microbatch: Int
    static let whole = Cut(slices: 1, microbatch: 8)
    static let all = [1, 2, 4, 8].flatMap { slices in
      [8, 4, 2, 1].filter { $0 * slices <= 8 }.map { Cut(slices: slices, microbatch: $0) }
    }
  }

  struct Outcome {
    var statistics: SliceStatistics
    var update: UpdateOutcome
    /// Of the sum of the losses, flat.
    var gradient: [Float]
    var layout: ParameterLayout
  }

  /// One step over `sequences` with the weights of the fixture.
  private func step(
    _ sequences: [TokenSlice.Sequence], _ cut: Cut, precision: Precision, isHeadTied: Bool
  ) -> Outcome {
    let plan = tinyPlan(
      sequences: sequences.count, slices: cut.slices, microbatch: cut.microbatch,
      isHeadTied: isHeadTied, dropout: 0, precision: precision)
    return withReplica(plan) { replica in
      fill(replica.policy.master, replica.policy.layout)
      replica.repack()
      let slices = (0..<cut.slices).map { slice in
        let size = plan.batch.sequencesPerSlice
        return TokenSlice(sequences: Array(sequences[slice * size..<(slice + 1) * size]))
      }
      let gradients = Gradients(replica)
      let (root, sum) = gradients.whole(slices, step: 0)
      let update = replica.update(gradients.work.windows(of: root), statistics: sum, step: 0)
      return Outcome(
        statistics: sum, update: update, gradient: root.windows[0].array,
        layout: replica.policy.layout)
    }
  }

  /// The weights of Tests/Parity/padding.py: each tensor from the stream of its rank by name.
  private func fill(_ master: SharedRows<Float>, _ layout: ParameterLayout) {
    let byName = layout.parameters.sorted { $0.name < $1.name }
    for (rank, parameter) in byName.enumerated() {
      let stream = RandomStream(seed: 5, purpose: UInt64(rank))
      let center: Float = parameter.role.isGain ? 1 : 0
      for index in 0..<parameter.count {
        master[parameter.offset + index] = (stream.uniform(at: UInt64(index)) - 0.5) * 0.5 + center
      }
    }
  }

  private func norm(_ values: [Float]) -> Double {
    values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
  }

  /// The sum of the norms of what each prediction alone adds to the gradient.
  private func magnitude(_ precision: Precision, isHeadTied: Bool) throws -> Double {
    var sum = 0.0
    for sequence in try Fixture().sequences {
      for target in sequence.isTarget.indices where sequence.isTarget[target] {
        var alone = sequence
        alone.isTarget = sequence.isTarget.indices.map { $0 == target }
        let part = step(
          [alone], Cut(slices: 1, microbatch: 1), precision: precision, isHeadTied: isHeadTied)
        sum += norm(part.gradient)
      }
    }
    return sum
  }

  /// A row's forward and backward values have the same bits beside any other rows, so only the
  /// order of additions differs. Two orders of n numbers differ by at most 2 n u sum |number|;
  /// u = 2^-53 for losses, 2^-24 for gradients, n the rows of the batch.
  @Test(arguments: [Precision.f32, .bf16], [true, false])
  func `have the loss and the gradient of the whole`(
    precision: Precision, isHeadTied: Bool
  ) throws {
    let fixture = try Fixture()
    let whole = step(fixture.sequences, .whole, precision: precision, isHeadTied: isHeadTied)
    let rows = Double(fixture.padded.reduce(0) { $0 + $1.count })
    let lossBound = 2 * rows * 0x1p-53 * whole.statistics.lossSum
    let gradientBound =
      2 * rows * 0x1p-24 * (try magnitude(precision, isHeadTied: isHeadTied))
    for sequences in [fixture.sequences, fixture.padded] {
      for cut in Cut.all {
        let part = step(sequences, cut, precision: precision, isHeadTied: isHeadTied)
        let difference = norm(zip(part.gradient, whole.gradient).map { $0 - $1 })
        #expect(part.statistics.tokenCount == fixture.tokenCount, "\(cut)")
        #expect(abs(part.statistics.lossSum - whole.statistics.lossSum) <= lossBound, "\(cut)")
        #expect(difference <= gradientBound, "\(cut): norm \(norm(whole.gradient))")
        // What the update says is per token: a mean of means would differ in the first digits.
        let count = Double(fixture.tokenCount)
        #expect(abs(part.update.loss - whole.statistics.lossSum / count) <= 2 * lossBound / count)
        #expect(
          abs(part.update.gradNorm - norm(whole.gradient) / count) <= 2 * gradientBound / count)
      }
    }
  }

  /// Errors of some hundred f32 roundings, each 6e-8, are far below 1e-5 of a tensor's norm. A
  /// difference d moves a projection on random signs by its norm on average; four times that.
  @Test func `have the loss and the gradient that Hugging Face has on the padded batch`() throws {
    let fixture = try Fixture()
    for cut in Cut.all {
      let ours = step(fixture.padded, cut, precision: .f32, isHeadTied: true)
      #expect(ours.statistics.tokenCount == fixture.tokenCount)
      #expect(abs(ours.statistics.lossSum / fixture.lossSum - 1) < 1e-6)
      let byName = ours.layout.parameters.sorted { $0.name < $1.name }
      for (rank, parameter) in byName.enumerated() {
        let expected = try #require(fixture.gradient(of: parameter.name))
        let values = Array(ours.gradient[parameter.range])
        for (number, projection) in expected.projections.enumerated() {
          let stream = RandomStream(seed: 6, purpose: UInt64(1000 * number + rank))
          let found = values.indices.reduce(0.0) { sum, index in
            let value = Double(values[index])
            return stream.bits(at: UInt64(index)) & 1 == 1 ? sum - value : sum + value
          }
          #expect(
            abs(found - projection) < 4e-5 * expected.norm, "\(cut): \(parameter.name) \(number)")
        }
      }
    }
  }
}

/// Tests/Parity/padding.json: a batch and what Hugging Face's Llama makes of it.
private struct Fixture {
  let sequences: [TokenSlice.Sequence]
  let tokenCount: Int64
  let lossSum: Double
  private let node: JSONNode

  init() throws {
    node = try parityFile("padding.json")
    tokenCount = Int64(try #require(node["tokens"]?.int))
    lossSum = try #require(node["loss_sum"]?.double)
    sequences = try #require(node["sequences"]?.elements).map { sequence in
      func numbers(_ key: String) throws -> [Int] {
        try #require(sequence[key]?.elements).map { try #require($0.int) }
      }
      let (tokens, masked) = (try numbers("tokens"), try numbers("masked"))
      return TokenSlice.Sequence(
        tokens: tokens.map { UInt32($0) },
        isTarget: (0..<tokens.count - 1).map { !masked.contains($0) },
        segmentStarts: try numbers("segment_starts").map { UInt32($0) })
    }
  }

  /// The sequences at the full length of the window; what is added does not count.
  var padded: [TokenSlice.Sequence] {
    let length = sequences.map(\.count).max() ?? 0
    return sequences.map { sequence in
      let padding = length - sequence.count
      return TokenSlice.Sequence(
        tokens: sequence.tokens + Array(repeating: 0, count: padding),
        isTarget: sequence.isTarget + Array(repeating: false, count: padding),
        segmentStarts: sequence.segmentStarts)
    }
  }

  func gradient(of name: String) -> (norm: Double, projections: [Double])? {
    guard let tensor = node["gradient"]?[name], let norm = tensor["norm"]?.double,
      let projections = tensor["projections"]?.elements?.compactMap(\.double)
    else { return nil }
    return (norm, projections)
  }
}
