import KernelSupport
import Operators
import System
import Tensors
import Testing

@Suite struct `Drawn tokens` {
  /// Ids in less and more than a block of 1,024, a vector, a panel.
  static let sizes = [1, 2, 17, 64, 1024, 1025, 5000]

  @Test(arguments: KernelVariant.available, sizes)
  func `the running sum of weights passes the draw at the token`(
    variant: KernelVariant, size: Int
  ) {
    let rows = (0..<9).map { randomLogits(size, seed: UInt64($0)) }
    let draws = (0..<9).map { row in
      TokenDraw(
        temperature: [1, 0.5, 3][row % 3], topP: 1, uniform: [0, 0.3, 1 - 0x1p-24][row / 3])
    }
    for (row, token) in draw(draws, from: rows, variant).enumerated() {
      let weights = reference(rows[row], draws[row])
      let total = weights.reduce(0, +), before = weights[..<Int(token)].reduce(0, +)
      // 7 additions of a block's tree and exp round the f32 sums, by less than 16 units in all.
      let slack = 16 * roundoff * total
      #expect(before <= draws[row].uniform * total + slack, "\(row)")
      #expect(before + weights[Int(token)] >= draws[row].uniform * total - slack, "\(row)")
      #expect(weights[Int(token)] > 0)
    }
  }

  @Test(arguments: KernelVariant.available, sizes)
  func `every variant and any number of threads draws the tokens of scalar`(
    variant: KernelVariant, size: Int
  ) {
    let rows = (0..<16).map { randomLogits(size, seed: UInt64($0)) }
    let draws = (0..<16).map { row in
      TokenDraw(
        temperature: [1, 0.7, 0, 2][row % 4], topP: [1, 0.9, 0.5, 0.1][row / 4],
        uniform: Double(RandomStream(seed: 1, purpose: 2).uniform(at: UInt64(row))))
    }
    let scalar = KernelVariant.available[KernelVariant.available.count - 1]
    let expected = draw(draws, from: rows, scalar)
    for members in 1...3 {
      #expect(draw(draws, from: rows, variant, members: members) == expected)
    }
  }

  @Test(arguments: KernelVariant.available, sizes)
  func `top-p leaves the smallest set of likeliest tokens`(variant: KernelVariant, size: Int) {
    // Whole numbers, so that many ids have the same weight.
    let logits = randomLogits(size, seed: 3).map { $0.rounded() }
    for topP in [0.05, 0.5, 0.95] {
      let draws = (0..<40).map { step in
        TokenDraw(temperature: 1, topP: topP, uniform: Double(step) / 40)
      }
      let weights = reference(logits, draws[0])
      let total = weights.reduce(0, +)
      var (kept, sum) = ([Int](), 0.0)
      for id in weights.indices.sorted(by: { (weights[$0], $1) > (weights[$1], $0) })
      where sum < topP * total {
        kept.append(id)
        sum += weights[id]
      }
      let drawn = draw(draws, from: Array(repeating: logits, count: 40), variant).map(Int.init)
      // Rounding may decide about the last one.
      #expect(Set(drawn).isSubset(of: Set(kept)), "\(topP)")
      #expect(drawn[0] == kept[0])
      for (step, id) in drawn.enumerated() {
        let before = kept.prefix { $0 != id }.reduce(0) { $0 + weights[$1] }
        let threshold = draws[step].uniform * sum
        #expect(before <= threshold + 1e-5 * sum && before + weights[id] >= threshold - 1e-5 * sum)
      }
    }
  }

  @Test(arguments: KernelVariant.available)
  func `temperature 0 takes the likeliest token, the first of equals`(variant: KernelVariant) {
    let greedy = TokenDraw(temperature: 0, topP: 1, uniform: 0.9)
    #expect(draw([greedy], from: [[1, 3, 3, 2]], variant) == [1])
    // So near to 0 that its inverse is no f32.
    let cold = TokenDraw(temperature: 1e-300, topP: 0.9, uniform: 0.9)
    #expect(draw([cold], from: [[1, 3, 3, 2]], variant) == [1])
  }

  @Test(arguments: KernelVariant.available)
  func `no logits make it draw a token that may not be`(variant: KernelVariant) {
    let rows: [[Float]] = [
      Array(repeating: .nan, count: 1500), Array(repeating: -.infinity, count: 1500),
      [0, .infinity] + Array(repeating: 1, count: 1498), [.nan] + Array(repeating: 1, count: 1499),
    ]
    for draw in [(0.0, 1.0), (1, 1), (1, 0.9)] {
      let draws = rows.map { _ in
        TokenDraw(temperature: draw.0, topP: draw.1, uniform: 1 - 0x1p-24)
      }
      let drawn = self.draw(draws, from: rows, variant, idCount: 1400)
      #expect(drawn.allSatisfy { $0 < 1400 }, "\(draw)")
    }
  }

  private func randomLogits(_ count: Int, seed: UInt64) -> [Float] {
    let stream = RandomStream(seed: seed, purpose: 7)
    return (0..<count).map { 12 * stream.uniform(at: UInt64($0)) - 6 }
  }

  private func reference(_ logits: [Float], _ draw: TokenDraw) -> [Double] {
    let top = Double(logits.max() ?? 0)
    return logits.map { PortableMath.exp((Double($0) - top) / draw.temperature) }
  }

  private func draw(
    _ draws: [TokenDraw], from rows: [[Float]], _ variant: KernelVariant, members: Int = 1,
    idCount: Int? = nil
  ) -> [UInt32] {
    let logits = LogitRows(rowCount: rows.count, vocabularySize: rows[0].count)
    for (index, row) in rows.enumerated() { logits[index].copy(from: row) }
    let tokens = AlignedStorage<UInt32>(count: rows.count, filledWith: .max).rows
    withTeam(members: members) { team in
      Engine(team: team, variant: variant).draw(
        draws, from: logits, idCount: idCount ?? rows[0].count, into: tokens,
        workspace: DrawWorkspace(vocabularySize: rows[0].count, memberCount: members))
    }
    return tokens.array
  }
}
