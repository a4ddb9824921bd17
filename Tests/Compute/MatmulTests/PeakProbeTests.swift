import Operators
import Tensors
import Testing

@Suite struct `Peak probe` {
  @Test(arguments: Kind.all) func `it measures something`(kind: Kind) {
    let peak = Engine.peakGigaflops(
      variant: kind.variant, precision: kind.precision, seconds: 0.01)
    // One multiply-add per four cycles of 1 GHz at the least; no core reaches 10 TFLOP/s.
    #expect(peak > 0.5 && peak < 10_000)
  }

  @Test func `only a plain difference of speed changes the order of variants`() {
    let holder = KernelVariant.available[KernelVariant.available.count - 1]
    let challenger = KernelVariant.available[0]
    func isFaster(_ rates: [(challenger: Double, holder: Double)]) -> Bool {
      var round = 0
      // Asked in turn, the challenger first; what is not listed repeats the last.
      return KernelVariant.isFaster(challenger, than: holder) { _ in
        defer { round += 1 }
        let pair = rates[min(round / 2, rates.count - 1)]
        return round % 2 == 0 ? pair.challenger : pair.holder
      }
    }
    #expect(isFaster([(200, 100)]))
    #expect(!isFaster([(100, 100)]) && !isFaster([(139, 100)]) && isFaster([(141, 100)]))
    // A busy neighbour takes half of three samples.
    #expect(!isFaster([(100, 50), (100, 50), (100, 50), (100, 100)]))
    #expect(isFaster([(100, 100), (100, 100), (100, 100), (200, 100)]))
  }
}
