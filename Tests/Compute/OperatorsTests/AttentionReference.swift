import KernelSupport
import Operators
import Tensors

/// Attention in f64, straight from the formulas, with a bound on what a kernel may differ by.
///
/// The bounds follow the rounding points. With u = 2^-24 the unit roundoff of f32 and r that of
/// the operand type (2^-8 for bf16; 0 in f32, where nothing is rounded):
/// - a score: a sum over H of products, (H + 2) u sum |q k| / sqrt(H);
/// - a probability, relatively: twice the score's error, plus (L + 16) u for exp, sum and division,
///   plus r when it becomes an operand;
/// - a product over n terms: the terms' errors plus n u times the sum of their magnitudes;
/// - a stored operand: r of its value.
struct AttentionReference {
  /// A value and how far a kernel may be from it.
  struct Bounded {
    var value = 0.0
    var error = 0.0
  }

  let output: [Bounded]      // [T, N H]
  let logSumExp: [Bounded]   // [N, T]
  let gradient: [Bounded]    // [T, (N + 2G) H], rotation undone

  static let roundoff = 0x1p-24

  init(_ problem: AttentionProblem) {
    let shape = problem.shape
    var pass = Pass(problem)
    for segment in problem.segments {
      for head in 0..<shape.headCount { pass.attend(head: head, segment: segment) }
    }
    pass.undoRotation()
    output = pass.output
    logSumExp = pass.logSumExp
    gradient = pass.gradient
  }

  /// Row t of one head, seen from key-value head g.
  private struct Pass {
    let problem: AttentionProblem
    let width: Int
    let qkv: [Double]
    let dOutput: [Double]
    let operandRoundoff: Double
    var output: [Bounded]
    var logSumExp: [Bounded]
    var gradient: [Bounded]

    init(_ problem: AttentionProblem) {
      self.problem = problem
      width = problem.shape.headWidth
      qkv = problem.qkv.values.map(Double.init)
      dOutput = problem.dOutput.values.map(Double.init)
      operandRoundoff = problem.qkv.precision == .bf16 ? 0x1p-8 : 0
      output = Array(repeating: Bounded(), count: dOutput.count)
      logSumExp = Array(
        repeating: Bounded(), count: problem.shape.headCount * problem.tokenCount)
      gradient = Array(repeating: Bounded(), count: qkv.count)
    }

    mutating func attend(head: Int, segment: Range<Int>) {
      let shape = problem.shape
      let group = shape.headCount / shape.keyValueHeadCount
      let stride = shape.queryKeyValueWidth
      let keyColumn = (shape.headCount + head / group) * width
      let valueColumn = keyColumn + shape.keyValueHeadCount * width
      let u = AttentionReference.roundoff
      let r = operandRoundoff
      let length = Double(segment.count)
      let scale = 1 / Double(width).squareRoot()
      for t in segment {
        let query = t * stride + head * width
        let out = (t * shape.headCount + head) * width
        let keys = Array(segment.lowerBound...t)
        var scores: [Double] = []
        var scoreError = 0.0
        for key in keys.map({ $0 * stride + keyColumn }) {
          var sum = 0.0
          var magnitude = 0.0
          for d in 0..<width {
            sum += qkv[query + d] * qkv[key + d]
            magnitude += abs(qkv[query + d] * qkv[key + d])
          }
          scores.append(sum * scale)
          scoreError = max(scoreError, (Double(width) + 2) * u * magnitude * scale)
        }
        let largest = scores.max()!
        var probabilities = scores.map { PortableMath.exp($0 - largest) }
        let sum = probabilities.reduce(0, +)
        for index in probabilities.indices { probabilities[index] /= sum }
        let relative = 2 * scoreError + (length + 16) * u
        logSumExp[head * problem.tokenCount + t] = Bounded(
          value: largest + PortableMath.log(sum),
          error: relative + 4 * u * (abs(largest) + PortableMath.log(sum) + 1))

        var delta = 0.0
        var deltaError = 0.0
        for d in 0..<width {
          var value = 0.0
          var magnitude = 0.0
          for (index, key) in keys.enumerated() {
            let term = probabilities[index] * qkv[key * stride + valueColumn + d]
            value += term
            magnitude += abs(term)
          }
          let error = (relative + r + (length + 4) * u) * magnitude + r * abs(value)
          output[out + d] = Bounded(value: value, error: error)
          delta += value * dOutput[out + d]
          deltaError += error * abs(dOutput[out + d])
            + Double(width) * u * abs(value * dOutput[out + d])
        }
        for (index, key) in keys.enumerated() {
          let p = probabilities[index]
          var dp = 0.0
          var dpError = 0.0
          for d in 0..<width {
            let term = dOutput[out + d] * qkv[key * stride + valueColumn + d]
            dp += term
            dpError += (Double(width) + 2) * u * abs(term)
            add(
              p * dOutput[out + d],
              error: (relative + r + (length * Double(group) + 4) * u) * p * abs(dOutput[out + d]),
              to: key * stride + valueColumn + d)
          }
          let ds = p * (dp - delta)
          let dsError = p * (relative * abs(dp - delta) + dpError + deltaError) + r * abs(ds)
            + (length * Double(group) + 8) * u * abs(ds)
          for d in 0..<width {
            let k = qkv[key * stride + keyColumn + d]
            let q = qkv[query + d]
            add(scale * ds * k, error: scale * dsError * abs(k), to: query + d)
            add(scale * ds * q, error: scale * dsError * abs(q), to: key * stride + keyColumn + d)
          }
        }
      }
    }

    private mutating func add(_ value: Double, error: Double, to index: Int) {
      gradient[index].value += value
      gradient[index].error += error
    }

    /// Turns the gradients of q and k back and adds the rounding of the result.
    mutating func undoRotation() {
      let shape = problem.shape
      let rotated = (shape.headCount + shape.keyValueHeadCount) * width
      for t in 0..<problem.tokenCount {
        for column in stride(from: 0, to: rotated, by: 2) {
          let pair = column % width / 2
          let position = Int(problem.positions[t])
          let c = Double(problem.rotary.cosine(position: position, pair: pair))
          let s = Double(problem.rotary.sine(position: position, pair: pair))
          let index = t * shape.queryKeyValueWidth + column
          let (even, odd) = (gradient[index], gradient[index + 1])
          let error = even.error + odd.error
            + 4 * AttentionReference.roundoff * (abs(even.value) + abs(odd.value))
          gradient[index] = Bounded(value: even.value * c + odd.value * s, error: error)
          gradient[index + 1] = Bounded(value: odd.value * c - even.value * s, error: error)
        }
      }
      for index in gradient.indices {
        let magnitude = abs(gradient[index].value) + gradient[index].error
        gradient[index].error += operandRoundoff * magnitude
      }
    }
  }
}
