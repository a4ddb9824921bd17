internal import Operators
internal import Tensors
internal import Transformer

/// Reads sequences with a model, as many at once as there are rows.
struct RowReading {
  private let transformer: Transformer
  private var batch: Microbatch

  /// - Parameter rowCapacity: At least the longest sequence's positions.
  init(_ weights: ModelWeights, _ engine: Engine, rowCapacity: Int) {
    transformer = Transformer(
      weights: weights, engine: engine, tokenCapacity: rowCapacity, lookupRowCapacity: 0)
    batch = Microbatch(tokenCapacity: rowCapacity)
  }

  /// The values of each sequence's rows: losses, or scores.
  ///
  /// - Parameter progress: Told how many sequences have been read.
  mutating func values(
    of sequences: [TokenSlice.Sequence], progress: (Int) -> Void = { _ in }
  ) -> [[Double]] {
    let slice = TokenSlice(sequences: sequences)
    var found: [[Double]] = []
    while found.count < sequences.count {
      var (end, rowCount) = (found.count, 0)
      while end < sequences.count, rowCount + sequences[end].count <= transformer.tokenCapacity {
        rowCount += sequences[end].count
        end += 1
      }
      precondition(end > found.count, "a sequence of \(sequences[end].count) positions")
      batch.load(found.count..<end, of: slice, firstToken: 0)
      let values = transformer.values(batch)
      var start = 0
      for sequence in sequences[found.count..<end] {
        found.append(values[start..<start + sequence.count].array)
        start += sequence.count
      }
      progress(end)
    }
    return found
  }
}
