import Operators

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
    let (aRow, aK) = aForm == 112 ? (1, Int(aStride)) : (Int(aStride), 1)
    let (bK, bColumn) = bForm == 112 ? (1, Int(bStride)) : (Int(bStride), 1)
    for row in 0..<Int(m) {
      for column in 0..<Int(n) {
        var sum = 0.0
        for index in 0..<Int(k) {
          sum += unsafe Double(a[row * aRow + index * aK])
            * Double(b[index * bK + column * bColumn])
        }
        let place = row * Int(cStride) + column
        unsafe c[place] = Float(sum) + (beta == 0 ? 0 : c[place])
      }
    }
  }

  static let sbgemm: BlasLibrary.HalfGemm = {
    order, aForm, bForm, m, n, k, alpha, a, aStride, b, bStride, beta, c, cStride in
    precondition(order == 101 && alpha == 1, "only what the engine asks for")
    let (aRow, aK) = aForm == 112 ? (1, Int(aStride)) : (Int(aStride), 1)
    let (bK, bColumn) = bForm == 112 ? (1, Int(bStride)) : (Int(bStride), 1)
    for row in 0..<Int(m) {
      for column in 0..<Int(n) {
        var sum = 0.0
        for index in 0..<Int(k) {
          sum += unsafe widened(a[row * aRow + index * aK])
            * widened(b[index * bK + column * bColumn])
        }
        let place = row * Int(cStride) + column
        unsafe c[place] = Float(sum) + (beta == 0 ? 0 : c[place])
      }
    }
  }

  private static func widened(_ half: UInt16) -> Double {
    Double(Float(bitPattern: UInt32(half) << 16))
  }
}
