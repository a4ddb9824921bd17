internal import CKernels
public import Tensors

extension Engine {
  /// Looks up each token's row, dropping and scaling elements on the way.
  ///
  ///     y[t, d] = table[ids[t], d] * mask[t, d]
  ///
  /// - Parameters:
  ///   - ids: `[T]`, each below V.
  ///   - table: shape `[V, D]`.
  ///   - output: `y`, shape `[T, D]`. Overwritten.
  ///   - dropout: Element `t D + d` of the mask belongs to `y[t, d]`.
  public func embeddingForward(
    ids: [UInt32], table: SharedRows<Float>, output: SharedRows<Float>,
    dropout: DropoutMask? = nil
  ) {
    guard let idMax = ids.max() else { return }
    let width = output.count / ids.count
    precondition(output.count == ids.count * width, "output \(output.count), tokens \(ids.count)")
    precondition(
      width > 0 && table.count >= (Int(idMax) + 1) * width,
      "id \(idMax) is outside a table of \(table.count) elements in rows of \(width)")
    unsafe ids.withUnsafeBufferPointer { ids in
      guard let start = ids.baseAddress else { return }
      // SAFETY: every id's row lies in the table; all windows outlive the dispatch.
      let arguments = unsafe ck_embedding_forward_args(
        ids: start, table: table.baseAddress, output: output.baseAddress,
        dropout: dropout.kernelMask, token_count: ids.count, width: width)
      unsafe run(
        rowKernels.embedding.forward, arguments, .elementwise, moving: 2 * output.byteCount)
    }
  }

  /// Adds each token's gradient to the row of its id, in the order of the tokens.
  ///
  ///     dTable[rows[t], d] += dy[t, d] * mask[t, d]
  ///
  /// - Parameters:
  ///   - rows: `[T]`, each token's row in `lookupGradient`.
  ///   - dOutput: `dy`, shape `[T, D]`.
  ///   - lookupGradient: shape `[R, D]`; added to.
  ///   - dropout: The forward pass's.
  public func embeddingBackward(
    rows: [Int], dOutput: SharedRows<Float>, lookupGradient: SharedRows<Float>,
    dropout: DropoutMask? = nil
  ) {
    guard let rowMax = rows.max(), let rowMin = rows.min() else { return }
    let width = dOutput.count / rows.count
    precondition(
      dOutput.count == rows.count * width, "dOutput \(dOutput.count), tokens \(rows.count)")
    precondition(
      width > 0 && rowMin >= 0 && lookupGradient.count >= (rowMax + 1) * width,
      "rows \(rowMin)...\(rowMax) are outside \(lookupGradient.count) elements in rows of \(width)")
    unsafe rows.withUnsafeBufferPointer { rows in
      guard let start = rows.baseAddress else { return }
      // SAFETY: every row lies in the gradient; all windows outlive the dispatch.
      let arguments = unsafe ck_embedding_backward_args(
        rows: start, d_output: dOutput.baseAddress, d_table: lookupGradient.baseAddress,
        dropout: dropout.kernelMask, token_count: rows.count, width: width)
      unsafe run(
        rowKernels.embedding.backward, arguments, .elementwise, moving: 3 * dOutput.byteCount)
    }
  }
}
