import Operators
import Synchronization
import System
import Tensors

/// Half a unit in the last place of 1: the relative error of one rounding to `f32`.
let roundoff = 0x1p-24
/// The same for `bf16`, whose significand has 8 bits.
let bf16Roundoff = 0x1p-8

/// The names of the variants this processor runs; a variant that it lacks is not an argument.
let variantNames = KernelVariant.available.map(\.name)

/// Uniform in `-1 ..< 1`.
func draws(_ count: Int, _ purpose: UInt64) -> [Float] {
  let stream = RandomStream(seed: 7, purpose: purpose)
  return (0..<count).map { 2 * stream.uniform(at: UInt64($0)) - 1 }
}

/// A window onto a fresh copy of `values`.
func window(_ values: [Float]) -> SharedRows<Float> {
  let storage = AlignedStorage<Float>(count: max(values.count, 1), filledWith: 0)
  let rows = storage.rows[0..<values.count]
  rows.copy(from: values)
  return rows
}

func zeros(_ count: Int) -> SharedRows<Float> { window(Array(repeating: 0, count: count)) }

func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

extension OperandRows {
  /// All elements, row-major.
  var floats: [Float] {
    (0..<rowCount).flatMap { row in (0..<columnCount).map { float(row: row, column: $0) } }
  }
}

/// Teams spin while they wait, so several at once on few processors wait for one another's time
/// slices: seconds instead of milliseconds. Tests run in parallel; their teams take turns.
private let turn = Mutex(())

/// Runs `body` with an engine and ends its threads. Not to be nested.
func withEngine<Result>(
  _ variant: String = "scalar", members: Int = 1, precision: Precision = .f32,
  _ body: (Engine) throws -> Result
) throws -> Result {
  guard let variant = KernelVariant(named: variant) else { throw MissingVariant(name: variant) }
  return try turn.withLock { _ in
    let team = ThreadTeam(memberCount: members)
    defer { team.stop() }
    return try body(Engine(team: team, variant: variant, precision: precision))
  }
}

struct MissingVariant: Error { let name: String }

/// Runs `body` on every variant with 1, 2 and 3 members and returns the results that differ from
/// the first in any bit, by name.
func disagreeing(_ body: (Engine) throws -> [Float]) throws -> [String] {
  let expected = try withEngine("scalar", members: 1) { bits(try body($0)) }
  var found: [String] = []
  for variant in variantNames {
    for members in 1...3 {
      let actual = try withEngine(variant, members: members) { bits(try body($0)) }
      if actual != expected { found.append("\(variant) with \(members)") }
    }
  }
  return found
}
