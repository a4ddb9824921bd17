internal import CKernels
internal import Tensors

/// The shape of a product, `[M, N]`.
struct ProductShape {
  let rowCount: Int
  let columnCount: Int

  func check(_ rows: SharedRows<Float>) {
    precondition(
      rows.count == rowCount * columnCount, "\(rows.count) elements are not [\(self)]")
  }

  /// - Parameter multiple: Columns per column of the product, times 2: 1 is half as many.
  func check(_ rows: OperandRows, halves multiple: Int = 2, _ precision: Precision) {
    precondition(
      rows.rowCount == rowCount && 2 * rows.columnCount == multiple * columnCount,
      "[\(rows.rowCount), \(rows.columnCount)] does not fit a product [\(self)]")
    precondition(rows.precision == precision, "\(rows.precision) rows in a \(precision) engine")
  }
}

extension ProductShape: CustomStringConvertible {
  var description: String { "\(rowCount), \(columnCount)" }
}

/// A C epilogue and its arguments.
@safe
struct PreparedEpilogue {
  let function: ck_epilogue
  let arguments: ck_epilogue_args
  /// What it reads and writes beside the product.
  let byteCount: Int
  /// What it fuses to the product, if that can be taken apart.
  var fusion: Fusion?
}

extension Engine {
  func prepare(_ epilogue: ForwardEpilogue, for shape: ProductShape) -> PreparedEpilogue {
    switch epilogue {
    case .store(let output): return prepareStore(output, shape)
    case .operand(let output): return prepareOperand(output, shape)
    case .residual(let input, let output, let mask):
      shape.check(input)
      shape.check(output)
      var arguments = unsafe emptyArguments(shape)
      unsafe arguments.input = UnsafePointer(input.baseAddress)
      unsafe arguments.output = output.baseAddress
      unsafe arguments.dropout = mask.kernelMask
      return unsafe PreparedEpilogue(
        function: stores.residual, arguments: arguments,
        byteCount: input.byteCount + output.byteCount)
    case .rotary(let output, let table, let positions, let rotaryColumnCount):
      return prepareRotary(output, table, positions, rotaryColumnCount, shape)
    case .swiglu(let gateUp, let hidden):
      shape.check(gateUp, precision)
      shape.check(hidden, halves: 1, precision)
      var arguments = unsafe emptyArguments(shape)
      unsafe arguments.gate_up = gateUp.baseAddress
      unsafe arguments.hidden = hidden.baseAddress
      return unsafe PreparedEpilogue(
        function: fused.swiglu, arguments: arguments,
        byteCount: gateUp.byteCount + hidden.byteCount, fusion: .swiglu)
    }
  }

  func prepare(_ epilogue: BackwardEpilogue, for shape: ProductShape) -> PreparedEpilogue {
    switch epilogue {
    case .store(let output): return prepareStore(output, shape)
    case .operand(let output): return prepareOperand(output, shape)
    case .swigluBackward(let gateUp, let dGateUp):
      shape.check(gateUp, halves: 4, precision)
      shape.check(dGateUp, halves: 4, precision)
      var arguments = unsafe emptyArguments(shape)
      unsafe arguments.gate_up = gateUp.baseAddress
      unsafe arguments.d_gate_up = dGateUp.baseAddress
      return unsafe PreparedEpilogue(
        function: fused.swiglu_backward, arguments: arguments,
        byteCount: gateUp.byteCount + dGateUp.byteCount, fusion: .swiglu)
    }
  }

  private func emptyArguments(_ shape: ProductShape) -> ck_epilogue_args {
    var arguments = unsafe ck_epilogue_args()
    unsafe arguments.column_count = shape.columnCount
    unsafe arguments.is_f32 = isFloat
    return unsafe arguments
  }

  private func prepareStore(
    _ output: SharedRows<Float>, _ shape: ProductShape
  ) -> PreparedEpilogue {
    shape.check(output)
    var arguments = unsafe emptyArguments(shape)
    unsafe arguments.output = output.baseAddress
    return unsafe PreparedEpilogue(
      function: stores.store, arguments: arguments, byteCount: output.byteCount)
  }

  private func prepareOperand(_ output: OperandRows, _ shape: ProductShape) -> PreparedEpilogue {
    shape.check(output, precision)
    var arguments = unsafe emptyArguments(shape)
    unsafe arguments.operand = output.baseAddress
    return unsafe PreparedEpilogue(
      function: stores.operand, arguments: arguments, byteCount: output.byteCount)
  }

  private func prepareRotary(
    _ output: OperandRows, _ table: RotaryTable, _ positions: SharedRows<Int32>,
    _ rotaryColumnCount: Int, _ shape: ProductShape
  ) -> PreparedEpilogue {
    shape.check(output, precision)
    precondition(
      positions.count >= shape.rowCount, "\(positions.count) positions, \(shape.rowCount) rows")
    precondition(
      rotaryColumnCount % table.headWidth == 0 && rotaryColumnCount <= shape.columnCount,
      "\(rotaryColumnCount) of \(shape.columnCount) columns are not heads of \(table.headWidth)")
    for row in 0..<shape.rowCount {
      precondition(
        positions[row] >= 0 && positions[row] < table.positionCount,
        "position \(positions[row]) is not in the table's \(table.positionCount)")
    }
    var arguments = unsafe emptyArguments(shape)
    unsafe arguments.operand = output.baseAddress
    unsafe arguments.cosines = UnsafePointer(table.cosines.baseAddress)
    unsafe arguments.sines = UnsafePointer(table.sines.baseAddress)
    unsafe arguments.positions = UnsafePointer(positions.baseAddress)
    unsafe arguments.rotary_row_stride = table.rowStride
    unsafe arguments.rotary_column_count = rotaryColumnCount
    unsafe arguments.head_width = table.headWidth
    return unsafe PreparedEpilogue(
      function: fused.rotary, arguments: arguments, byteCount: output.byteCount, fusion: .rotary)
  }

  /// `Y [shape] = A B` through a prepared epilogue, in a pass of its own where that is wanted.
  func multiply(
    _ a: OperandRows, _ right: RightOperand, depth: Int, _ shape: ProductShape,
    _ epilogue: PreparedEpilogue, _ part: OperatorPart = .matmul
  ) {
    precondition(a.precision == precision, "\(a.precision) rows in a \(precision) engine")
    if let fusion = epilogue.fusion, apart.contains(fusion) {
      let product = apartMemory.floats(shape.rowCount * shape.columnCount)
      multiply(a, right, depth: depth, shape, prepareStore(product, shape), part)
      return finish(product, shape, epilogue)
    }
    unsafe runProduct(
      ck_matmul_args(
        tiles: tiles, epilogue: epilogue.function, epilogue_args: epilogue.arguments,
        a: a.baseAddress, b: right.storage.baseAddress, row_count: shape.rowCount,
        column_count: shape.columnCount, k_count: depth, a_row_stride: a.rowByteCount,
        a_is_packed: 0, is_f32: isFloat, sums: nil, space: nil),
      right, part, moving: epilogue.byteCount)
  }

  /// A prepared epilogue on a product that lies in memory: the bits of both in one pass.
  func finish(
    _ product: SharedRows<Float>, _ shape: ProductShape, _ epilogue: PreparedEpilogue
  ) {
    shape.check(product)
    unsafe run(
      ck_finish,
      ck_finish_args(
        epilogue: epilogue.function, epilogue_args: epilogue.arguments,
        product: product.baseAddress, row_count: shape.rowCount, column_count: shape.columnCount),
      .elementwise, moving: product.byteCount + epilogue.byteCount)
  }
}
