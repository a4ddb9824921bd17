import KernelSupport
import Operators
import Tensors
import Testing

@Suite struct `Low-rank sum` {
  @Test(arguments: [1, 15, 16, 17, 45], [1, 3, 16])
  func `is one chain of fused multiply-adds on every variant and team`(
    columns: Int, rank: Int
  ) throws {
    let rows = 7, scale: Float = 1.7
    let base = draws(rows * columns, 1)
    let left = draws(rows * rank, 2), right = draws(rank * columns, 3)
    let expected = (0..<rows * columns).map { element -> Float in
      let (n, k) = element.quotientAndRemainder(dividingBy: columns)
      let sum = (0..<rank).reduce(Float(0)) {
        $0.addingProduct(left[n * rank + $1], right[$1 * columns + k])
      }
      return base[element].addingProduct(sum, scale)
    }
    for variant in variantNames {
      for members in 1...3 {
        let output = filled(rows * columns, with: .nan)
        try withEngine(variant, members: members) {
          $0.addLowRank(
            base: window(base), left: window(left), right: window(right), rank: rank,
            scale: scale, output: output)
        }
        #expect(bits(output.array) == bits(expected))
      }
    }
    // Against f64: a rounding for each term, one for the scale and one for the sum.
    for (element, found) in expected.enumerated() {
      let (n, k) = element.quotientAndRemainder(dividingBy: columns)
      let terms = (0..<rank).map { Double(left[n * rank + $0]) * Double(right[$0 * columns + k]) }
      let exact = Double(base[element]) + Double(scale) * terms.reduce(0, +)
      let size = Double(base[element]).magnitude
        + Double(scale) * terms.reduce(0) { $0 + $1.magnitude }
      #expect(abs(Double(found) - exact) <= Double(rank + 2) * roundoff * size)
    }
  }
}
