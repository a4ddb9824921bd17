package import Operators
internal import Synchronization
package import System
package import Tensors

/// The relative error of one rounding to `f32`: half a unit in the last place of 1.
package let roundoff = 0x1p-24
/// The same for `bf16`, whose significand has 8 bits.
package let bf16Roundoff = 0x1p-8

/// A window onto a fresh copy of `values`.
package func window(_ values: [Float]) -> SharedRows<Float> {
  let rows = AlignedStorage<Float>(count: max(values.count, 1), filledWith: 0).rows
  let part = rows[0..<values.count]
  part.copy(from: values)
  return part
}

package func filled(_ count: Int, with value: Float = 0) -> SharedRows<Float> {
  window(Array(repeating: value, count: count))
}

package func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

extension OperandRows {
  /// All elements, row-major.
  package var floats: [Float] {
    (0..<rowCount).flatMap { row in (0..<columnCount).map { float(row: row, column: $0) } }
  }
}

/// Teams spin while they wait, so several at once on few processors wait for one another's time
/// slices: seconds instead of milliseconds. Tests run in parallel; their teams take turns.
private let turn = Mutex(())

/// Runs `body` with a team and ends its threads. Not to be nested.
package func withTeam<R>(members: Int, _ body: (ThreadTeam) throws -> R) rethrows -> R {
  try turn.withLock { _ in
    let team = ThreadTeam(memberCount: members)
    defer { team.stop() }
    return try body(team)
  }
}
