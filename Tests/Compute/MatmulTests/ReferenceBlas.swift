import Operators
import Tensors

/// The BLAS of this machine, if there is a sound one.
enum SystemBlas {
  static let library = try? BlasLibrary.shared.get()
}

/// A CBLAS in a few lines, so that the walk over panels is tested where no library is installed.
enum ReferenceBlas {
  static let library = try? unsafe BlasLibrary(
    name: "reference", version: "1", core: "cooperlake", sgemm: sgemm, sbgemm: sbgemm)

  static let sgemm: BlasLibrary.SingleGemm = {
    order, aForm, bForm, m, n, k, alpha, a, aStride, b, bStride, beta, c, cStride in
    precondition(order == 101 && alpha == 1, "only what the engine asks for")
    unsafe multiply(
      m, n, k, Factor(a, aForm, aStride), Factor(b, bForm, bStride), beta, c, cStride
    ) { Double($0) }
  }

  static let sbgemm: BlasLibrary.HalfGemm = {
    order, aForm, bForm, m, n, k, alpha, a, aStride, b, bStride, beta, c, cStride in
    precondition(order == 101 && alpha == 1, "only what the engine asks for")
    unsafe multiply(
      m, n, k, Factor(a, aForm, aStride), Factor(b, bForm, bStride), beta, c, cStride
    ) { Double(BFloat16(bitPattern: $0).float) }
  }

  /// A matrix as CBLAS gets it: its form is 111, as it is, or 112, transposed.
  @unsafe
  private struct Factor<Element> {
    let start: UnsafePointer<Element>
    let rowStride, columnStride: Int

    init(_ start: UnsafePointer<Element>, _ form: Int32, _ stride: Int32) {
      unsafe self.start = start
      unsafe (rowStride, columnStride) = form == 112 ? (1, Int(stride)) : (Int(stride), 1)
    }
  }

  /// `c = a b + c` in f64, rounded once; with `beta` 0 what `c` held is not read.
  private static func multiply<Element>(
    _ m: Int32, _ n: Int32, _ k: Int32, _ a: Factor<Element>, _ b: Factor<Element>, _ beta: Float,
    _ c: UnsafeMutablePointer<Float>, _ cStride: Int32, _ value: (Element) -> Double
  ) {
    for row in 0..<Int(m) {
      for column in 0..<Int(n) {
        var sum = 0.0
        for index in 0..<Int(k) {
          sum += unsafe value(a.start[row * a.rowStride + index * a.columnStride])
            * value(b.start[index * b.rowStride + column * b.columnStride])
        }
        let place = row * Int(cStride) + column
        unsafe c[place] = Float(sum) + (beta == 0 ? 0 : c[place])
      }
    }
  }
}
