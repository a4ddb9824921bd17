internal import Operators
internal import System
internal import Tensors

/// Memory that operators need while they run, and gradients that are made apart.
final class Workspaces {
  let head: HeadWorkspace
  let attention: AttentionWorkspace
  let norm: SharedRows<Float>
  /// What the head makes of each row, `[T]`, and the weights of its gradients, `[T]`.
  let values: SharedRows<Double>
  let rowWeights: SharedRows<Float>
  /// The row of the look-up part of each token of the micro-batch.
  private(set) var rows: [Int] = []
  private let headEnd: Int
  private let lookupCapacity: Int
  private var headStorage: AlignedStorage<Float>?
  private var lookupStorage: AlignedStorage<Float>?

  init(layout: ParameterLayout, engine: Engine, tokenCapacity: Int, lookupRowCapacity: Int) {
    let shape = layout.shape
    headEnd = layout[layout.isHeadTied ? .embedding : .head].range.upperBound
    lookupCapacity = lookupRowCapacity * shape.modelWidth
    head = HeadWorkspace(
      width: shape.modelWidth, vocabularySize: layout.headRowCount, engine: engine,
      tokenCapacity: tokenCapacity)
    attention = AttentionWorkspace(
      shape: AttentionShape(shape), segmentLength: shape.sequenceLength,
      precision: engine.precision, memberCount: engine.team.memberCount)
    norm = AlignedStorage(
      count: Engine.rmsNormScratchCount(rowCount: tokenCapacity, width: shape.modelWidth),
      filledWith: 0
    ).rows
    values = AlignedStorage(count: tokenCapacity, filledWith: 0).rows
    rowWeights = AlignedStorage(count: tokenCapacity, filledWith: 0).rows
    rows.reserveCapacity(tokenCapacity)
  }

  func loadRows(of ids: [UInt32], _ rowOfToken: [Int32]) {
    rows.removeAll(keepingCapacity: true)
    for id in ids {
      let row = Int(rowOfToken[Int(id)])
      precondition(row >= 0, "token \(id) is not among the touched rows of the step")
      rows.append(row)
    }
  }

  /// A head gradient `[V, D]` apart from the others. The head lies first in the flat space, so it
  /// keeps its offsets. Allocated when first used.
  func headGradient() -> SharedRows<Float> {
    let storage = headStorage ?? AlignedStorage(count: headEnd, filledWith: 0)
    headStorage = storage
    return storage.rows
  }

  /// A look-up part of `count` elements apart from the others. Allocated when first used.
  func lookup(_ count: Int) -> SharedRows<Float> {
    let storage = lookupStorage ?? AlignedStorage(count: lookupCapacity, filledWith: 0)
    lookupStorage = storage
    return storage.rows[0..<count]
  }
}
