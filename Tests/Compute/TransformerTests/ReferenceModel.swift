import Tensors

#if canImport(Glibc)
  import Glibc
#endif

/// The model written plainly in f64, one loop per formula, from the Hugging Face names and orders
/// of the layout. Nothing of it is shared with the code under test but the layout and the streams.
struct ReferenceModel {
  let layout: ParameterLayout
  var weights: [Double]
  /// Of adapters, if there are any, their flat space, and s.
  var adapterLayout: ParameterLayout?
  var adapters: [Double] = []
  var scale = 0.0
  /// Keep rule of dropout, or nil.
  var dropout: (rate: Double, stream: (_ site: UInt64, _ layer: Int) -> RandomStream)?

  var shape: ModelShape { layout.shape }

  func matrix(_ role: ParameterRole) -> (Int, Int) -> Double {
    let parameter = layout[role]
    let columns = parameter.shape.count > 1 ? parameter.shape[1] : 1
    return { weights[parameter.offset + $0 * columns + $1] }
  }

  func product(_ x: [[Double]], _ role: ParameterRole) -> [[Double]] {
    let parameter = layout[role]
    let (rows, columns) = (parameter.shape[0], parameter.shape[1])
    return x.map { row in
      let low = lowRank(row, role)
      return (0..<rows).map { n in
        var sum = low[n]
        for k in 0..<columns { sum += row[k] * weights[parameter.offset + n * columns + k] }
        return sum
      }
    }
  }

  /// `s B (A x)` of a matrix; nothing where it has no adapter.
  func lowRank(_ x: [Double], _ role: ParameterRole) -> [Double] {
    let rows = layout[role].shape[0]
    guard let layer = role.layer, let adapterLayout,
      let target = AdapterTarget.allCases.first(where: { $0.role(inLayer: layer) == role }),
      let a = adapterLayout.parameters.first(where: { $0.role == .adapterA(target, layer: layer) }),
      let b = adapterLayout.parameters.first(where: { $0.role == .adapterB(target, layer: layer) })
    else { return Array(repeating: 0, count: rows) }
    let rank = a.shape[0]
    let narrow = (0..<rank).map { j in
      x.indices.reduce(0.0) { $0 + adapters[a.offset + j * x.count + $1] * x[$1] }
    }
    return (0..<rows).map { n in
      scale * (0..<rank).reduce(0.0) { $0 + adapters[b.offset + n * rank + $1] * narrow[$1] }
    }
  }

  func norm(_ x: [[Double]], _ role: ParameterRole) -> [[Double]] {
    let gain = matrix(role)
    return x.map { row in
      let square = row.reduce(0) { $0 + $1 * $1 } / Double(row.count)
      let rms = 1 / (square + shape.normEpsilon).squareRoot()
      return row.indices.map { row[$0] * rms * gain($0, 0) }
    }
  }

  /// Half-split rotation of the first `heads` heads of each row.
  func rotate(_ x: [[Double]]) -> [[Double]] {
    let (width, half) = (shape.headWidth, shape.headWidth / 2)
    return x.indices.map { t in
      var row = x[t]
      for start in stride(from: 0, to: row.count, by: width) {
        for i in 0..<half {
          let angle = Double(t) * pow(shape.ropeTheta, -2 * Double(i) / Double(width))
          let (a, b) = (x[t][start + i], x[t][start + i + half])
          row[start + i] = a * cos(angle) - b * sin(angle)
          row[start + i + half] = b * cos(angle) + a * sin(angle)
        }
      }
      return row
    }
  }

  func attention(
    _ q: [[Double]], _ k: [[Double]], _ v: [[Double]], segmentStart: [Int]
  ) -> [[Double]] {
    let (width, group) = (shape.headWidth, shape.headCount / shape.keyValueHeadCount)
    return q.indices.map { t in
      var out = [Double](repeating: 0, count: shape.attentionWidth)
      for head in 0..<shape.headCount {
        let (qStart, kStart) = (head * width, head / group * width)
        let scores = (segmentStart[t]...t).map { s in
          (0..<width).reduce(0.0) { $0 + q[t][qStart + $1] * k[s][kStart + $1] }
            / Double(width).squareRoot()
        }
        let top = scores.max() ?? 0
        let weights = scores.map { exp($0 - top) }
        let total = weights.reduce(0, +)
        for (index, weight) in weights.enumerated() {
          let s = segmentStart[t] + index
          for i in 0..<width { out[qStart + i] += weight / total * v[s][kStart + i] }
        }
      }
      return out
    }
  }

  func drop(_ x: [[Double]], site: UInt64, layer: Int, firstRow: Int) -> [[Double]] {
    guard let dropout else { return x }
    let stream = dropout.stream(site, layer)
    return x.indices.map { t in
      x[t].indices.map { d in
        let index = UInt64((firstRow + t) * x[t].count + d)
        let isKept = Double(stream.uniform(at: index)) >= dropout.rate
        return isKept ? x[t][d] / (1 - dropout.rate) : 0
      }
    }
  }

  func add(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] {
    zip(a, b).map { zip($0, $1).map { $0 + $1 } }
  }

  /// Logits (or the one score) of every position of a sequence whose first row is row `firstRow`
  /// of its slice.
  func logits(_ sequence: TokenSlice.Sequence, firstRow: Int) -> [[Double]] {
    let embedding = layout[.embedding]
    var starts: [Int] = []
    for t in 0..<sequence.count {
      starts.append(Int(sequence.segmentStarts.last { Int($0) <= t } ?? 0))
    }
    var x = (0..<sequence.count).map { t in
      (0..<shape.modelWidth).map {
        weights[embedding.offset + Int(sequence.tokens[t]) * shape.modelWidth + $0]
      }
    }
    x = drop(x, site: 1, layer: 0, firstRow: firstRow)
    for layer in 0..<shape.layerCount {
      let normed = norm(x, .attentionNorm(layer: layer))
      let attended = attention(
        rotate(product(normed, .query(layer: layer))), rotate(product(normed, .key(layer: layer))),
        product(normed, .value(layer: layer)), segmentStart: starts)
      let branch = product(attended, .attentionOutput(layer: layer))
      x = add(x, drop(branch, site: 2, layer: layer, firstRow: firstRow))
      let second = norm(x, .feedForwardNorm(layer: layer))
      let gate = product(second, .gate(layer: layer))
      let up = product(second, .up(layer: layer))
      let hidden = zip(gate, up).map { zip($0, $1).map { $0 / (1 + exp(-$0)) * $1 } }
      let forward = product(hidden, .down(layer: layer))
      x = add(x, drop(forward, site: 3, layer: layer, firstRow: firstRow))
    }
    return product(norm(x, .finalNorm), layout.isHeadTied ? .embedding : .head)
  }

  /// What the head makes of each row of a slice: the loss of its target, nats, 0 where there is
  /// none; or its score.
  func values(_ slice: TokenSlice) -> [Double] {
    var values: [Double] = []
    for sequence in slice.sequences {
      let all = logits(sequence, firstRow: values.count)
      values += (0..<sequence.count).map { t in
        guard layout.head == .language else { return all[t][0] }
        guard sequence.isTarget[t] else { return 0 }
        let top = all[t].max() ?? 0
        let total = all[t].reduce(0) { $0 + exp($1 - top) }
        return top + log(total) - all[t][Int(sequence.tokens[t + 1])]
      }
    }
    return values
  }

  /// Sum of the losses of the valid targets of a slice, nats.
  func lossSum(_ slice: TokenSlice) -> Double { values(slice).reduce(0, +) }
}
