/// `1 / (1 + e^-x)`, with the same bits on every machine.
package func sigmoid(_ x: Double) -> Double {
  let tail = PortableMath.exp(-min(abs(x), 700))
  return x >= 0 ? 1 / (1 + tail) : tail / (1 + tail)
}

/// `ln sigmoid(x)`, which does not overflow: `min(x, 0) - ln(1 + e^-|x|)`.
package func logSigmoid(_ x: Double) -> Double {
  min(x, 0) - PortableMath.log(1 + PortableMath.exp(-min(abs(x), 700)))
}
