import Tensors
import Testing

@Suite struct `Rounding to BFloat16` {
  @Test func `every pattern comes back, but a NaN is quiet`() {
    for pattern in UInt16.min...UInt16.max {
      let value = BFloat16(bitPattern: pattern).float
      let back = BFloat16(value).bitPattern
      #expect(back == (value.isNaN ? pattern | 0x0040 : pattern))
    }
  }

  @Test func `a tie goes to the even neighbour`() {
    // 1 and 1 + 2^-7 are neighbours; half of the way belongs to 1, whose last bit is 0.
    #expect(BFloat16(1 + 0x1p-8).float == 1)
    #expect(BFloat16(1 + 0x1.8p-7).float == 1 + 0x1p-6)
    #expect(BFloat16(-1 - 0x1.8p-7).float == -1 - 0x1p-6)
    // A last bit of f32 beside the tie decides.
    #expect(BFloat16((1 + 0x1p-8 as Float).nextUp).float == 1 + 0x1p-7)
    #expect(BFloat16((1 + 0x1.8p-7 as Float).nextDown).float == 1 + 0x1p-7)
  }

  @Test func `what is nearer to 2^128 than to the greatest is infinite`() {
    let greatest: Float = 0x1.FEp127
    #expect(BFloat16(greatest).float == greatest)
    #expect(BFloat16((0x1.FFp127 as Float).nextDown).float == greatest)
    #expect(BFloat16(0x1.FFp127 as Float).float == .infinity)
    #expect(BFloat16(-Float.greatestFiniteMagnitude).float == -.infinity)
    #expect(BFloat16(Float.infinity).float == .infinity)
  }

  @Test func `a NaN whose payload would be cut off stays one`() {
    #expect(BFloat16(Float(bitPattern: 0x7F80_0001)).float.isNaN)
    #expect(BFloat16(Float(bitPattern: 0xFFFF_FFFF)).float.isNaN)
  }

  @Test func `subnormals and the sign of zero are kept`() {
    #expect(BFloat16(0x1p-133 as Float).bitPattern == 1)
    #expect(BFloat16(-0.0 as Float).bitPattern == 0x8000)
  }
}
