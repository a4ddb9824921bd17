internal import CKernels

extension Engine {
  /// Appends new tokens to the caches of their streams and attends from them.
  ///
  /// A row gets the bits that
  /// ``attentionForward(qkv:shape:segments:output:logSumExp:workspace:)`` gives it at the end of
  /// its prefix, whatever streams are computed beside it and in whatever portions the prefix came.
  /// - Parameters:
  ///   - qkv: `[rows, (N + 2G) H]`, q and k rotated. The new tokens of stream 0 in order, then
  ///     those of stream 1, and so on.
  ///   - newTokenCounts: Of every stream, at least 1. Nil: one each.
  ///   - caches: One for every stream, all different.
  ///   - output: `[rows, N H]`. Overwritten.
  public func attentionDecode(
    qkv: OperandRows, shape: AttentionShape, newTokenCounts: [Int]? = nil, caches: [KeyValueCache],
    output: OperandRows
  ) {
    let counts = newTokenCounts ?? Array(repeating: 1, count: caches.count)
    precondition(counts.count == caches.count, "\(counts.count) counts, \(caches.count) caches")
    let rowCount = counts.reduce(0, +)
    checkOperand(qkv, "qkv", rowCount: rowCount, columnCount: shape.queryKeyValueWidth)
    checkOperand(output, "output", rowCount: rowCount, columnCount: shape.outputWidth)
    var streams: [ck_attention_stream] = unsafe []
    unsafe streams.reserveCapacity(caches.count)
    var firstRow = 0
    for (cache, count) in zip(caches, counts) {
      precondition(count > 0, "a stream has \(count) new tokens")
      precondition(
        cache.shape == shape && cache.precision == precision,
        "the cache is of \(cache.shape) in \(cache.precision)")
      let tokenCount = cache.tokenCount
      cache.append(count)
      unsafe streams.append(
        ck_attention_stream(
          tiles: cache.baseAddress, token_count: tokenCount, first_row: firstRow,
          row_count: count))
      firstRow += count
    }
    unsafe streams.withUnsafeBufferPointer { buffer in
      guard let first = buffer.baseAddress else { return }
      // SAFETY: the windows were checked and live until `run` has returned, as do the caches.
      let arguments = unsafe ck_attention_decode_args(
        shape: kernelShape(shape), streams: first, stream_count: buffer.count,
        qkv: qkv.baseAddress, output: output.baseAddress)
      unsafe run(
        attentionKernels.decode, arguments, .attention,
        moving: caches.reduce(qkv.byteCount + output.byteCount) { $0 + $1.filledByteCount })
    }
  }
}
