internal import Planning
internal import Tensors

/// Adds what the ranks hold along the slice tree, exactly: `sum[node] = sum[left] + sum[right]`.
///
/// The tree above the held nodes is compiled once into a list of steps; the steps then run over
/// cache-sized strips, so partial sums of any depth never reach memory.
struct TreeSum {
  private enum Operand {
    case input(Int)
    case scratch(Int)
  }

  /// Register 0 is the destination; the others are scratch strips.
  private enum Step {
    case copy(into: Int, input: Int)
    case set(into: Int, Operand, Operand)
  }

  /// 8 KiB: two operands and a result lie in the first-level cache together.
  static let stripCount = 2048

  let inputs: [SliceNode]
  private let steps: [Step]
  private let scratch: SharedRows<Float>

  /// - Parameter inputs: The held nodes, in the order in which their elements will be given.
  /// - Precondition: They cover every slice of `tree` exactly once.
  init(tree: SliceTree, inputs: [SliceNode]) {
    var positions: [SliceNode: Int] = [:]
    for (index, node) in inputs.enumerated() { positions[node] = index }
    precondition(
      positions.count == inputs.count
        && inputs.reduce(0) { $0 + $1.slices.count } == tree.sliceCount,
      "\(inputs) do not cover \(tree.sliceCount) slices exactly once")
    var steps: [Step] = []
    var registerCount = 1
    // Leaves the sum of `node` in register `register`, or says which input it is already.
    func compile(_ node: SliceNode, _ register: Int) -> Operand {
      if let position = positions[node] { return .input(position) }
      precondition(node.level > 0, "nobody holds slice \(node.index)")
      registerCount = max(registerCount, register + 1)
      let left = compile(node.left, register)
      // The left sum may occupy this register; the right one then takes the next.
      let next = if case .scratch = left { register + 1 } else { register }
      let right = compile(node.right, next)
      steps.append(.set(into: register, left, right))
      return .scratch(register)
    }
    if case .input(let position) = compile(tree.root, 0) {
      steps.append(.copy(into: 0, input: position))
    }
    self.inputs = inputs
    self.steps = steps
    scratch = AlignedStorage<Float>(
      count: registerCount * Self.stripCount, filledWith: 0).rows
  }

  /// Overwrites `destination` with the sum of `inputs`, which have its count.
  func run(_ inputs: [SharedRows<Float>], into destination: SharedRows<Float>) {
    var start = 0
    while start < destination.count {
      let range = start..<min(start + Self.stripCount, destination.count)
      func register(_ index: Int) -> SharedRows<Float> {
        if index == 0 { return destination[range] }
        let base = index * Self.stripCount
        return scratch[base..<(base + range.count)]
      }
      func rows(_ operand: Operand) -> SharedRows<Float> {
        switch operand {
        case .input(let index): inputs[index][range]
        case .scratch(let index): register(index)
        }
      }
      for step in steps {
        switch step {
        case .copy(let into, let input): register(into).copy(from: inputs[input][range])
        case .set(let into, let left, let right):
          Self.set(register(into), left, rows(left), right, rows(right), into)
        }
      }
      start = range.upperBound
    }
  }

  /// `target = left + right`, where the target may be one of the two.
  private static func set(
    _ target: SharedRows<Float>, _ left: Operand, _ leftRows: SharedRows<Float>,
    _ right: Operand, _ rightRows: SharedRows<Float>, _ into: Int
  ) {
    if case .scratch(into) = left { return add(rightRows, to: target) }
    if case .scratch(into) = right { return add(leftRows, to: target) }
    target.withMutableSpan { target in
      leftRows.withSpan { left in
        rightRows.withSpan { right in
          let count = target.count
          precondition(left.count == count && right.count == count, "strips differ in length")
          for index in 0..<count { target[index] = left[index] + right[index] }
        }
      }
    }
  }

  private static func add(_ rows: SharedRows<Float>, to target: SharedRows<Float>) {
    target.withMutableSpan { target in
      rows.withSpan { rows in
        let count = target.count
        precondition(rows.count == count, "strips differ in length")
        for index in 0..<count { target[index] += rows[index] }
      }
    }
  }
}

