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
}
