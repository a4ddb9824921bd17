import KernelSupport
import Operators
import Tensors
import Testing

@Suite struct `Probes of memory` {
  static let counts = [1, 15, 16, 17, 63, 64, 1000]

  @Test(arguments: counts) func `an update's touches every element once`(count: Int) throws {
    let values = (1...3).map { draws(count, UInt64($0)) }, gradient = draws(count, 4)
    func touched(_ engine: Engine) -> [Float] {
      let windows = values.map { window($0) }
      let packed = window([Float](repeating: .nan, count: count))
      engine.probeUpdate(windows, gradient: window(gradient), packed: packed)
      return windows.flatMap(\.array) + packed.array
    }
    let grown = values.flatMap { zip($0, gradient).map { $0 + $1 } }
    #expect(try withEngine { touched($0) } == grown + gradient)
    #expect(try disagreeing { touched($0) } == [])
  }

  /// Whole numbers, whose sum has the same bits in any order.
  @Test(arguments: counts) func `a reader's reads every element once`(count: Int) throws {
    let values = (0..<count).map { Float($0 % 101) }
    let sum = values.reduce(0, +)
    #expect(try withEngine { $0.probeRead(window(values)) } == sum)
    #expect(try disagreeing { [$0.probeRead(window(values))] } == [])
  }
}
