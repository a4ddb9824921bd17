import KernelSupport
import Operators
import Tensors
import Testing

/// Kinds with large shapes: the system's library only, as the reference is slow.
private let systemKinds = Kind.blas.filter { $0.blas === SystemBlas.library }

@Suite struct `Matmul by a BLAS` {
  /// [M, N, K] past a panel of 128 x 256 and a block of 1024, with rests of every kind.
  static let shapes = [[128, 256, 1024], [129, 257, 1025], [300, 530, 70], [40, 1030, 2100]]

  @Test(.enabled(if: SystemBlas.library != nil, "no sound CBLAS on this system"))
  func `this system's library passes its trial and has a name`() throws {
    let profile = try #require(SystemBlas.library).profile
    #expect(profile.split(separator: ":").count == 4, "\(profile)")
    #expect(profile.hasPrefix("blas:"))
  }

  @Test(
    .enabled(if: SystemBlas.library != nil, "no sound CBLAS on this system"),
    arguments: systemKinds, shapes)
  func `panels and blocks of all sizes match f64`(kind: Kind, shape: [Int]) {
    let a = Matrix(shape[0], shape[2], purpose: 1, kind.precision)
    let w = Matrix(shape[1], shape[2], purpose: 2, kind.precision)
    let dY = Matrix(shape[0], shape[1], purpose: 3, kind.precision)
    let y = filled(shape[0] * shape[1], with: .nan)
    let dX = filled(shape[0] * shape[2], with: .nan)
    let dW = filled(shape[1] * shape[2], with: .nan)
    kind.withEngine {
      let weights = w.packed(by: $0)
      $0.matmul(a.operands(kind.precision), weights, .store(y))
      $0.matmulInput(dY.operands(kind.precision), weights, .store(dX))
      $0.matmulWeight(
        dY: dY.pairs(by: $0), x: a.pairs(by: $0), into: dW,
        rowOffsets: (0..<shape[1]).map { $0 * shape[2] }, accumulate: false)
    }
    // Every 37th row and 29th column, and the last ones.
    func some(_ count: Int, by step: Int) -> [Int] {
      Array(stride(from: 0, to: count - 1, by: step)) + [count - 1]
    }
    for m in some(shape[0], by: 37) {
      for n in some(shape[1], by: 29) {
        var sum = Sum()
        for k in 0..<shape[2] { sum.add(a[m, k], w[n, k]) }
        #expect(sum.matches(y[m * shape[1] + n]), "Y \(m), \(n)")
      }
      for k in some(shape[2], by: 29) {
        var sum = Sum()
        for n in 0..<shape[1] { sum.add(dY[m, n], w[n, k]) }
        #expect(sum.matches(dX[m * shape[2] + k]), "dX \(m), \(k)")
      }
    }
    for n in some(shape[1], by: 37) {
      for k in some(shape[2], by: 29) {
        var sum = Sum()
        for t in 0..<shape[0] { sum.add(dY[t, n], a[t, k]) }
        #expect(sum.matches(dW[n * shape[2] + k]), "dW \(n), \(k)")
      }
    }
  }

  @Test(
    .enabled(if: SystemBlas.library != nil, "no sound CBLAS on this system"),
    arguments: systemKinds)
  func `the bits of a row depend on no thread and on no row beside it`(kind: Kind) {
    let (rowCount, width, depth) = (300, 530, 1100)
    let a = Matrix(rowCount, depth, purpose: 1, kind.precision)
    let w = Matrix(width, depth, purpose: 2, kind.precision)
    func product(members: Int, _ range: Range<Int>) -> [UInt32] {
      let output = filled(range.count * width)
      kind.withEngine(members: members) {
        $0.matmul(a.operands(kind.precision).rows(range), w.packed(by: $0), .store(output))
      }
      return bits(output.array)
    }
    let all = product(members: 1, 0..<rowCount)
    for members in [2, 3, 5] { #expect(product(members: members, 0..<rowCount) == all) }
    for range in [0..<1, 5..<18, 100..<140, 127..<300, 299..<300] {
      #expect(
        product(members: 2, range)
          == Array(all[range.lowerBound * width..<range.upperBound * width]), "rows \(range)")
    }
  }

  // What a broken library does.

  @Test func `wrong numbers are found before they are used`() {
    #expect(throws: BlasError.wrong(
      library: "bad 1 with kernels for x", product: "forward product")
    ) {
      try unsafe BlasLibrary(
        name: "bad", version: "1", core: "x",
        sgemm: { order, aForm, bForm, m, n, k, alpha, a, aStride, b, bStride, beta, c, cStride in
          unsafe ReferenceBlas.sgemm(
            order, aForm, bForm, m, n, k, alpha, a, aStride, b, bStride, beta, c, cStride)
          // One element of a panel lacks one of its products.
          unsafe c[17] -= a[0] * b[0]
        }, sbgemm: nil)
    }
  }

  @Test func `a crash is an error and not the end`() {
    #expect(throws: BlasError.crashed(
      library: "bad 2 with kernels for x", product: "forward product", signal: 11)
    ) {
      try unsafe BlasLibrary(
        name: "bad", version: "2", core: "x",
        sgemm: { _, _, _, _, _, _, _, _, _, _, _, _, c, _ in
          unsafe UnsafeMutablePointer<Float>(bitPattern: 64)?.pointee = unsafe c[0]
        }, sbgemm: nil)
    }
  }

  @Test func `an unsound sbgemm leaves sgemm in use and is told`() throws {
    let library = try unsafe BlasLibrary(
      name: "half", version: "1", core: "Cooperlake", sgemm: ReferenceBlas.sgemm,
      sbgemm: { _, _, _, _, _, _, _, _, _, _, _, _, _, _ in })
    #expect(library.routine(for: .best) == .sgemm)
    #expect(library.description.contains("its cblas_sbgemm computed wrong numbers"))
    #expect(library.profile == "blas:half:1:cooperlake")
  }

  @Test func `sbgemm serves kernels with bf16 dot products only`() throws {
    let library = try #require(ReferenceBlas.library)
    for variant in KernelVariant.available {
      #expect(library.routine(for: variant) == (variant.name == "avx512bf16" ? .sbgemm : .sgemm))
    }
  }

  @Test func `auto is a rule and says why`() throws {
    let best = try MatmulBackend.decide(.auto, variant: .best)
    if KernelVariant.best.name != "scalar" {
      #expect(best.backend.isBuiltin)
      #expect(best.reason.hasPrefix("builtin (auto: "))
    }
    let scalar = try MatmulBackend.decide(
      .auto, variant: try #require(KernelVariant(named: "scalar")))
    #expect(scalar.backend.isBuiltin == (SystemBlas.library == nil), "\(scalar.reason)")
    #expect(scalar.reason.contains("auto: "))
  }

  @Test(.enabled(if: SystemBlas.library == nil, "this system has a sound CBLAS"))
  func `what is missing is named with its package`() {
    #expect(throws: BlasError.self) { try MatmulBackend.decide(.blas, variant: .best) }
    #expect("\(BlasError.noLibrary)".contains("apt-get install libopenblas0"))
  }
}
