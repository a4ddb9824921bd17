internal import Operators
package import Tensors

extension RandomStream {
  /// A draw from the normal distribution with mean 0 and deviation 1: the quantile function at
  /// `(bits + 1/2) / 2^32`, so at most 6.3 deviations away.
  ///
  /// Algorithm AS 241, PPND7 (Wichura 1988): rational functions, relative error about 1e-7. Only
  /// + - * / and sqrt are used, and a logarithm of our own: libm's `log` and `cos` differ between
  /// machines, and initial weights must not.
  package func normal(at index: UInt64) -> Double {
    let probability = (Double(bits(at: index)) + 0.5) * 0x1p-32
    let q = probability - 0.5
    if q.magnitude <= 0.425 {
      let r = 0.180625 - q * q
      let top =
        ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
      let bottom = ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1
      return q * top / bottom
    }
    // Below 5 for every probability above 1.4e-11; ours end at 1.2e-10.
    let r = (-PortableMath.log(q < 0 ? probability : 1 - probability)).squareRoot() - 1.6
    let top = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
    let bottom = (0.12021132975 * r + 0.73700164250) * r + 1
    return q < 0 ? -top / bottom : top / bottom
  }
}
