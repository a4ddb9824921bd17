import ForeignBytes
import Testing

@Suite struct `Every parser of foreign bytes` {
  /// About a tenth of a second each in release. The fuzzer (`launch/soak fuzz`) goes on for longer.
  static let damageCount = 4000

  @Test(arguments: ForeignParser.all.map(\.name))
  func `takes its own seeds and returns or throws on damaged ones`(name: String) async throws {
    // In a process of its own, so that a trap is one failed test and not the end of all tests.
    await #expect(processExitsWith: .success) { [name] in
      let parser = try #require(ForeignParser.named(name))
      let seeds = parser.seeds
      var damage = Damage(seed: 20)
      for seed in seeds { parser.parse(seed) }
      for index in 0..<Self.damageCount {
        let bytes = damage.apply(
          to: seeds[index % seeds.count], other: seeds[(index / seeds.count) % seeds.count])
        parser.parse(bytes)
      }
    }
  }

  @Test func `has a name of its own and something to start from`() {
    let names = ForeignParser.all.map(\.name)
    #expect(Set(names).count == names.count)
    for parser in ForeignParser.all {
      #expect(!parser.seeds.isEmpty && parser.seeds.allSatisfy { !$0.isEmpty }, "\(parser.name)")
    }
  }

  @Test func `meets the same damage every time, and not only little of it`() {
    let seed = Array("{\"a\": 12, \"b\": [1, 2, 3]}".utf8)
    var first = Damage(seed: 1), second = Damage(seed: 1)
    let damaged = (0..<500).map { _ in first.apply(to: seed, other: seed) }
    #expect(damaged == (0..<500).map { _ in second.apply(to: seed, other: seed) })
    #expect(Set(damaged).count > 400)
    // The number at which the arithmetic of 64 bits ends is among them.
    #expect(damaged.contains { $0.firstRange(of: Array("9223372036854775807".utf8)) != nil })
  }
}
