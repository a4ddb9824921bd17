import KernelSupport
import Operators
import System
import Tensors

/// The names of the variants this processor runs; a variant that it lacks is not an argument.
let variantNames = KernelVariant.available.map(\.name)

/// Uniform in `-1 ..< 1`.
func draws(_ count: Int, _ purpose: UInt64) -> [Float] {
  let stream = RandomStream(seed: 7, purpose: purpose)
  return (0..<count).map { 2 * stream.uniform(at: UInt64($0)) - 1 }
}

/// Runs `body` with an engine and ends its threads. Not to be nested.
func withEngine<Result>(
  _ variant: String = "scalar", members: Int = 1, precision: Precision = .f32,
  _ body: (Engine) throws -> Result
) throws -> Result {
  guard let variant = KernelVariant(named: variant) else { throw MissingVariant(name: variant) }
  return try withTeam(members: members) { team in
    try body(Engine(team: team, variant: variant, precision: precision))
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
