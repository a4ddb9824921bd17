internal import System
internal import Tensors

extension Engine {
  /// SHA-256 of a fixed run of the kernels on a member's own thread, 64 hex digits.
  ///
  /// Two workers whose digests are equal compute the same bits: products at odd shapes, the norm,
  /// attention, and the head with its gradients. Takes a few milliseconds.
  public func selfTestDigest() -> String {
    let (rows, width, vocabulary) = (13, 40, 70)
    let draws = RandomStream(seed: 20_261_123, purpose: 77)
    func floats(_ count: Int, _ salt: Int) -> SharedRows<Float> {
      let storage = AlignedStorage(count: count, filledWith: Float(0)).rows
      for index in 0..<count {
        storage[index] = draws.uniform(at: UInt64(salt << 20 + index)) - 0.5
      }
      return storage
    }
    var digest = SHA256()
    func take(_ values: SharedRows<Float>) { values.withBytes { digest.update($0) } }

    let stream = floats(rows * width, 1)
    let inverse = floats(rows, 2)
    let normed = OperandStorage(rowCount: rows, columnCount: width, precision: precision).rows
    rmsNormForward(
      stream, gain: floats(width, 3), epsilon: 1e-5, output: normed, inverseRMS: inverse)
    take(inverse)

    let master = floats(vocabulary * width, 4)
    let weights = PackedWeights(
      rowOffsets: (0..<vocabulary).map { $0 * width }, columnCount: width, precision: precision)
    pack(weights, from: master)
    let product = floats(rows * vocabulary, 5)
    matmul(normed, weights, .store(product))
    take(product)

    let shape = AttentionShape(headCount: 3, keyValueHeadCount: 1, headWidth: 8)
    let projections = OperandStorage(rowCount: rows, columnCount: width, precision: precision).rows
    roundToOperand(stream, output: projections, dropout: nil)
    let attended = OperandStorage(rowCount: rows, columnCount: 24, precision: precision).rows
    let logSumExp = floats(3 * rows, 6)
    attentionForward(
      qkv: projections, shape: shape, segments: [0..<5, 5..<rows], output: attended,
      logSumExp: logSumExp,
      workspace: AttentionWorkspace(
        shape: shape, segmentLength: rows, precision: precision, memberCount: team.memberCount))
    take(logSumExp)

    let gradient = floats(vocabulary * width, 7)
    let backward = floats(rows * width, 8)
    let statistics = headLoss(
      normed: normed, head: weights,
      targets: (0..<rows).map { UInt32($0 * 5 % vocabulary) },
      isTarget: [Bool](repeating: true, count: rows), lossScale: 1, dNormed: backward,
      headGradient: gradient, accumulate: false,
      workspace: HeadWorkspace(width: width, vocabularySize: vocabulary, engine: self))
    take(backward)
    take(gradient)
    digest.update(statistics.lossSum.bitPattern)
    return digest.hexDigest
  }
}
