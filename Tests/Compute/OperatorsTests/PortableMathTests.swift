import Glibc
import KernelSupport
import Operators
import Tensors
import Testing

@Suite struct `Portable mathematics` {
  private let grid = (0...20_000).map { Double($0) / 20_000 }

  @Test func `exp is within 2 units of the library's`() {
    for u in grid {
      let x = 1400 * u - 700, expected = Glibc.exp(x)
      #expect(abs(PortableMath.exp(x) - expected) <= 2 * expected.ulp)
    }
    #expect(PortableMath.exp(0) == 1)
  }

  @Test func `log is within 2 units of the library's`() {
    for u in grid {
      let x = Glibc.exp(1400 * u - 700), expected = Glibc.log(x)
      #expect(abs(PortableMath.log(x) - expected) <= 2 * max(expected.ulp, 0x1p-54))
    }
    #expect(PortableMath.log(1) == 0)
  }

  @Test func `sine and cosine are within 2^-52 of the library's`() {
    for u in grid {
      for scale in [1.0, 10, 1000, 0x1p21] {
        let x = scale * (u - 0.5), (sine, cosine) = PortableMath.sinCos(x)
        #expect(abs(sine - Glibc.sin(x)) <= 0x1p-52)
        #expect(abs(cosine - Glibc.cos(x)) <= 0x1p-52)
      }
    }
    #expect(PortableMath.sinCos(0) == (0, 1))
  }

  @Test func `a power is the repeated product`() {
    // exp turns an error of 2 units in y log x into y log x times as many.
    #expect(abs(PortableMath.power(0.9, 10) - 0.3486784401) < 1e-15)
    #expect(abs(PortableMath.power(10_000, 0.5) - 100) < 1e-12)
  }
}

@Suite struct `Rotary table` {
  @Test func `it turns pair i of position p by p theta^(-2 i / H)`() {
    let table = RotaryTable(headWidth: 12, positionCount: 300)
    for position in [0, 1, 7, 299] {
      for pair in 0..<6 {
        let angle = Double(position) * Glibc.pow(10_000, -Double(2 * pair) / 12)
        // The frequency is rounded twice and the angle once, each by at most 2^-24 of the angle.
        let bound = 3 * roundoff * angle + roundoff
        let cosine = Double(table.cosine(position: position, pair: pair))
        let sine = Double(table.sine(position: position, pair: pair))
        #expect(abs(cosine - Glibc.cos(angle)) <= bound)
        #expect(abs(sine - Glibc.sin(angle)) <= bound)
      }
    }
  }

  @Test func `it holds the longest sequence that a plan may ask for`() {
    let last = ModelShape.sequenceLengthMax - 1
    let table = RotaryTable(headWidth: 2, positionCount: ModelShape.sequenceLengthMax)
    #expect(table.sine(position: last, pair: 0) == Float(Glibc.sin(Double(last))))
  }

  @Test func `a row goes on periodically for eight pairs`() {
    let table = RotaryTable(headWidth: 6, positionCount: 5)
    #expect(table.rowStride == 11)
    for column in 3..<11 {
      #expect(table.cosines[4 * 11 + column] == table.cosine(position: 4, pair: column % 3))
      #expect(table.sines[4 * 11 + column] == table.sine(position: 4, pair: column % 3))
    }
  }
}
