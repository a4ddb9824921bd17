import KernelSupport
import Operators
import System
import Tensors
import Testing

/// One kind of engine that this processor can run.
struct Kind: CustomTestStringConvertible, Sendable {
  let variant: KernelVariant
  let precision: Precision
  var blas: BlasLibrary?
  var testDescription: String {
    "\(variant) \(precision)" + (blas.map { ", \($0.profile)" } ?? "")
  }

  /// Our own tiles.
  static let builtin = KernelVariant.available.flatMap { variant in
    Precision.allCases.map { Kind(variant: variant, precision: $0) }
  }

  /// The system's BLAS, if it has one, and a reference that every machine has: with scalar kernels
  /// through sgemm, with bf16 dot products through sbgemm.
  static let blas: [Kind] = {
    let scalar = KernelVariant.available[KernelVariant.available.count - 1]
    let pairs = [
      (KernelVariant.best, SystemBlas.library), (.best, ReferenceBlas.library),
      (scalar, ReferenceBlas.library),
    ]
    return pairs.filter { $0.1 != nil }.flatMap { variant, library in
      Precision.allCases.map { Kind(variant: variant, precision: $0, blas: library) }
    }
  }()

  static let all = builtin + blas

  /// Kinds that promise the bits of scalar.
  static let portable = builtin.filter { $0.precision == .f32 || $0.variant.profile == "portable" }

  /// The best variant at both precisions.
  static let best = Precision.allCases.map { Kind(variant: .best, precision: $0) } + blas

  /// Runs `body` with an engine of this kind and ends its threads. Not to be nested.
  func withEngine<Result>(
    members: Int = 1, apart: Set<Fusion> = [], _ body: (Engine) throws -> Result
  ) rethrows -> Result {
    try withTeam(members: members) { team in
      try body(
        Engine(
          team: team, variant: variant, precision: precision,
          matmul: blas.map { .blas($0) } ?? .builtin, apart: apart))
    }
  }
}

/// A matrix of exact values: what tests compute with.
struct Matrix {
  let rowCount, columnCount: Int
  var values: [Float]

  /// Uniform in `-1 ..< 1`, rounded to bf16 if asked, so that operands hold them exactly.
  init(_ rowCount: Int, _ columnCount: Int, purpose: UInt64, _ precision: Precision) {
    let stream = RandomStream(seed: 11, purpose: purpose)
    self.rowCount = rowCount
    self.columnCount = columnCount
    values = (0..<rowCount * columnCount).map {
      let value = 2 * stream.uniform(at: UInt64($0)) - 1
      return precision == .bf16 ? BFloat16(value).float : value
    }
  }

  subscript(row: Int, column: Int) -> Double { Double(values[row * columnCount + column]) }

  func operands(_ precision: Precision) -> OperandRows {
    let rows = OperandStorage(
      rowCount: rowCount, columnCount: columnCount, precision: precision).rows
    for row in 0..<rowCount {
      for column in 0..<columnCount {
        rows.set(row: row, column: column, values[row * columnCount + column])
      }
    }
    return rows
  }

  /// Packed weights whose row n starts at n * columnCount of a master with these values.
  func packed(by engine: Engine) -> PackedWeights {
    let weights = PackedWeights(
      rowOffsets: (0..<rowCount).map { $0 * columnCount }, columnCount: columnCount,
      form: engine.form)
    engine.pack(weights, from: window(values))
    return weights
  }

  func pairs(by engine: Engine) -> PackedPairs {
    let pairs = PackedPairs(
      rowCapacity: rowCount + 3, columnCount: columnCount, form: engine.form)
    engine.packPairs(operands(engine.precision), into: pairs)
    return pairs
  }
}

/// A sum of products in f64 and how far f32 may be from it.
struct Sum {
  var value = 0.0
  var magnitude = 0.0
  var count = 0

  mutating func add(_ a: Double, _ b: Double) {
    value += a * b
    magnitude += abs(a * b)
    count += 1
  }

  /// Every step rounds a partial sum, which is at most the sum of magnitudes, once (vdpbf16ps:
  /// once per product too); one more for the epilogue's addition.
  var tolerance: Double { Double(count + 1) * roundoff * magnitude * 1.01 }

  func matches(_ actual: Float) -> Bool { abs(Double(actual) - value) <= tolerance }
}
